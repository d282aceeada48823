//! The decoding threads: how many work at once, and what happens to one that never returns.
//!
//! Decoding is bounded in time wherever it checks a clock (`crates/auris-audio/src/budget.rs`). A
//! thread that hangs in between cannot be ended; it is abandoned, and another may take its turn.
//! At most twice the number given to [`Decoders::new`] can be lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{self, JoinHandle};
use tokio::time::timeout;

use super::PipelineError;
use auris_core::shortage::Shortage;

/// When a thread is abandoned. A 30 s chunk that is decoded as slowly as allowed takes half of
/// this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Limits how many files are decoded at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Decoders {
    turns: Arc<Semaphore>,
    /// How many threads may still be abandoned and replaced.
    spares: Arc<Semaphore>,
    patience: Duration,
}

impl Decoders {
    /// Lets `at_once` files be decoded at the same time.
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            spares: Arc::new(Semaphore::new(at_once)),
            patience: PATIENCE,
        }
    }

    /// Runs `work` on the blocking pool when its turn comes. If the caller leaves, the work still
    /// runs to its end and keeps its turn, so that no more threads than allowed work at once.
    ///
    /// # Errors
    /// [`PipelineError::DecoderPanicked`], [`PipelineError::DecoderHangs`],
    /// [`PipelineError::NoDecoder`] if all threads hang, and [`Shortage::Processes`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PipelineError> {
        let turn = self.turn().await?;
        let decoders = self.clone();
        let watched = task::spawn(async move { decoders.watch(turn, work).await });
        // Only the runtime panics there, when it cannot start a thread.
        watched.await.unwrap_or(Err(Shortage::Processes.into()))
    }

    /// Waits for a turn; fails once every thread hangs.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, PipelineError> {
        loop {
            match timeout(self.patience, Arc::clone(&self.turns).acquire_owned()).await {
                Ok(turn) => return turn.map_err(|_| PipelineError::NoDecoder),
                Err(_) if self.spares.available_permits() == 0 => {
                    return Err(PipelineError::NoDecoder);
                }
                Err(_) => {}
            }
        }
    }

    async fn watch<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PipelineError> {
        let mut thread = task::spawn_blocking(work);
        match timeout(self.patience, &mut thread).await {
            Ok(result) => result.map_err(|_| PipelineError::DecoderPanicked),
            Err(_) => {
                self.give_up(turn, thread);
                Err(PipelineError::DecoderHangs)
            }
        }
    }

    /// Passes on the turn of a hanging thread once there is a spare one. The spare is free again
    /// if the thread ever ends.
    fn give_up<T: Send + 'static>(&self, turn: OwnedSemaphorePermit, mut thread: JoinHandle<T>) {
        let left = self.spares.available_permits();
        tracing::error!(left, "a thread hangs on a file and is given up; restart if none is left");
        let spares = Arc::clone(&self.spares);
        task::spawn(async move {
            let spare = tokio::select! {
                _ = &mut thread => return,
                spare = spares.acquire_owned() => spare,
            };
            drop(turn);
            let _ = thread.await;
            drop(spare);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn impatient(at_once: usize) -> Decoders {
        Decoders { patience: Duration::from_secs(1), ..Decoders::new(at_once) }
    }

    /// Work that hangs until the sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, released) = mpsc::channel::<()>();
        let hang = move || {
            let _ = released.recv();
        };
        (release, hang)
    }

    #[tokio::test]
    async fn a_thread_that_hangs_is_replaced() {
        let decoders = impatient(1);
        let (release, hang) = hanging();
        let result = decoders.run(hang).await;
        assert!(matches!(result, Err(PipelineError::DecoderHangs)), "{result:?}");
        assert_eq!(decoders.run(|| 7).await.unwrap(), 7);
        assert_eq!(decoders.spares.available_permits(), 0);
        drop(release);
        let _spare = decoders.spares.acquire().await.unwrap();
        assert_eq!(decoders.turns.available_permits(), 1, "as many as at first");
    }

    #[tokio::test]
    async fn only_so_many_threads_can_be_lost() {
        let decoders = impatient(1);
        let (release, first) = hanging();
        let (_keep, second) = hanging();
        decoders.run(first).await.unwrap_err();
        decoders.run(second).await.unwrap_err();
        let result = decoders.run(|| 7).await;
        assert!(matches!(result, Err(PipelineError::NoDecoder)), "{result:?}");
        // It works again when one of them returns.
        drop(release);
        assert_eq!(decoders.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_abandoned_thread_keeps_its_turn_until_it_ends() {
        let decoders = Decoders::new(1);
        let (started, is_started) = tokio::sync::oneshot::channel();
        let (release, hang) = hanging();
        let work = move || {
            let _ = started.send(());
            hang();
        };
        let caller = task::spawn({
            let decoders = decoders.clone();
            async move { decoders.run(work).await }
        });
        is_started.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!(decoders.turns.available_permits(), 0);
        drop(release);
        drop(decoders.turns.acquire().await.unwrap());
    }

    #[tokio::test]
    async fn a_panic_affects_only_its_file() {
        let decoders = Decoders::new(1);
        let result = decoders.run(|| panic!("a decoder's slip")).await;
        assert!(matches!(result, Err(PipelineError::DecoderPanicked)), "{result:?}");
        assert_eq!(decoders.run(|| 7).await.unwrap(), 7);
    }
}
