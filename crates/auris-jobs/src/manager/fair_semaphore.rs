//! Decides which background job runs next. Owners take turns, so that one owner's jobs do not all
//! wait behind another's. Within an owner, the oldest job goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A semaphore that is fair between owners. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct FairSemaphore {
    state: Arc<Mutex<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    count: usize,
    /// How many of them are in use.
    taken: usize,
    /// Waiting jobs by owner; the first owner is next.
    waiting: VecDeque<(String, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A job's right to run. Dropping it passes it to the next job.
#[derive(Debug)]
pub(super) struct Turn {
    semaphore: FairSemaphore,
}

impl FairSemaphore {
    /// Raises the number of turns to `count`, if there are fewer.
    pub(super) fn widen(&self, count: usize) {
        let mut turns = self.lock();
        turns.count = turns.count.max(count);
        self.pass_on(turns);
    }

    /// A turn, if one is free and nobody waits for it.
    pub(super) fn try_take(&self, owner: &str) -> Option<Turn> {
        self.queue_up(owner).try_recv().ok()
    }

    /// Waits for a turn. Dropping the future leaves the queue.
    pub(super) async fn take(&self, owner: &str) -> Turn {
        loop {
            if let Ok(turn) = self.queue_up(owner).await {
                return turn;
            }
        }
    }

    fn queue_up(&self, owner: &str) -> oneshot::Receiver<Turn> {
        let (sender, turn) = oneshot::channel();
        let mut turns = self.lock();
        match turns.waiting.iter_mut().find(|(name, _)| name == owner) {
            Some((_, jobs)) => jobs.push_back(sender),
            None => turns.waiting.push_back((owner.to_owned(), [sender].into())),
        }
        self.pass_on(turns);
        turn
    }

    fn pass_on(&self, mut turns: MutexGuard<'_, Turns>) {
        while turns.taken < turns.count
            && let Some((owner, mut jobs)) = turns.waiting.pop_front()
        {
            jobs.retain(|job| !job.is_closed());
            let Some(next) = jobs.pop_front() else { continue };
            if !jobs.is_empty() {
                turns.waiting.push_back((owner, jobs));
            }
            turns.taken += 1;
            if let Err(unwanted) = next.send(Turn { semaphore: self.clone() }) {
                // Dropping the turn passes it on, which needs the lock.
                drop(turns);
                return drop(unwanted);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.semaphore.lock();
        turns.taken -= 1;
        self.semaphore.pass_on(turns);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    /// Everyone who waits for a turn, by name.
    type Waiting<'a> = Vec<(&'a str, BoxFuture<'a, Turn>)>;

    fn ask<'a>(semaphore: &'a FairSemaphore, jobs: &[&'a str]) -> Waiting<'a> {
        let mut waiting: Waiting<'_> = jobs
            .iter()
            .map(|job| (*job, semaphore.take(job.split('.').next().unwrap()).boxed()))
            .collect();
        assert!(served(&mut waiting).is_none(), "nobody has a turn yet");
        waiting
    }

    /// The first one that has received a turn, and the turn.
    fn served<'a>(waiting: &mut Waiting<'a>) -> Option<(&'a str, Turn)> {
        for index in 0..waiting.len() {
            if let Some(turn) = (&mut waiting[index].1).now_or_never() {
                return Some((waiting.remove(index).0, turn));
            }
        }
        None
    }

    fn order(semaphore: &FairSemaphore, mut waiting: Waiting<'_>) -> String {
        semaphore.widen(1);
        let mut order = Vec::new();
        while let Some((job, turn)) = served(&mut waiting) {
            order.push(job);
            assert!(served(&mut waiting).is_none(), "there is one turn");
            drop(turn);
        }
        order.join(" ")
    }

    #[test]
    fn owners_take_turns() {
        let semaphore = FairSemaphore::default();
        let waiting = ask(&semaphore, &["a.1", "a.2", "a.3", "b.1", "c.1", "b.2"]);
        assert_eq!(order(&semaphore, waiting), "a.1 b.1 c.1 a.2 b.2 a.3");
    }

    #[test]
    fn a_job_that_stops_waiting_is_skipped() {
        let semaphore = FairSemaphore::default();
        let mut waiting = ask(&semaphore, &["a.1", "a.2", "b.1"]);
        drop(waiting.remove(0));
        assert_eq!(order(&semaphore, waiting), "a.2 b.1");
    }

    #[test]
    fn a_turn_that_comes_too_late_is_passed_on() {
        let semaphore = FairSemaphore::default();
        let mut waiting = ask(&semaphore, &["a.1", "b.1"]);
        semaphore.widen(1);
        drop(waiting.remove(0)); // with its turn
        assert_eq!(order(&semaphore, waiting), "b.1");
    }

    #[test]
    fn a_turn_is_taken_at_once_only_if_it_is_free() {
        let semaphore = FairSemaphore::default();
        assert!(semaphore.try_take("a").is_none());
        semaphore.widen(1);
        let turn = semaphore.try_take("a").unwrap();
        assert!(semaphore.try_take("b").is_none());
        drop(turn);
        assert!(semaphore.try_take("b").is_some(), "who was refused does not wait");
    }

    #[test]
    fn more_turns_let_more_run() {
        let semaphore = FairSemaphore::default();
        let mut waiting = ask(&semaphore, &["a.1", "a.2", "a.3"]);
        semaphore.widen(2);
        semaphore.widen(1);
        let taken = [served(&mut waiting).unwrap(), served(&mut waiting).unwrap()];
        assert!(served(&mut waiting).is_none());
        drop(taken);
        assert!(served(&mut waiting).is_some());
    }
}
