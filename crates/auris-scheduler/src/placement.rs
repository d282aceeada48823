//! Which device a chunk runs on. Pure.
//!
//! The candidate with the earliest estimated finish wins, even if that means waiting for a fast
//! device instead of starting at once on a slow one. Waiting chunks are counted: the next chunk
//! sees a later finish there, so once the queue is long enough, the slow device becomes the better
//! choice.

use std::cmp::Ordering;
use std::collections::HashMap;

/// A device that could run the chunk's model, as seen by placement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The caller's indices of the device and of the model's instance there.
    pub(super) place: (usize, usize),
    /// Whether the instance can take the chunk now.
    pub(super) ready: bool,
    /// Otherwise, seconds until it can: until its model is loaded or one of its chunks is finished.
    /// An estimate of 0 does not mean ready.
    pub(super) wait_seconds: f64,
    /// The number of chunks that the instance runs at once.
    pub(super) slots: usize,
    /// The estimated seconds that the chunk takes there.
    pub(super) takes_seconds: f64,
    /// The share of the device's slots that are busy, from 0 to 1.
    pub(super) busy: f64,
    /// The driver's utilisation, from 0 to 100. Missing does not mean idle.
    pub(super) utilisation: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// It runs there now.
    Run((usize, usize)),
    /// It waits for that place, or for any place.
    Wait(Option<(usize, usize)>),
}

/// When each slot of each device is expected to be free, in seconds from now.
#[derive(Debug)]
pub(super) struct Board {
    slots: Vec<Vec<f64>>,
    /// The same for instances that chunks wait for although the device has free slots: while a
    /// model is loading, the other models use the device.
    instances: HashMap<(usize, usize), Vec<f64>>,
}

impl Board {
    /// Takes the usable slots of each device.
    pub(super) fn new(slots: Vec<Vec<f64>>) -> Self {
        Self { slots, instances: HashMap::new() }
    }

    /// Finds a place for a chunk, and reserves it.
    pub(super) fn offer(&mut self, candidates: &[Candidate]) -> Offer {
        let timed = candidates.iter().filter_map(|candidate| {
            let start = self.next_free(candidate.place.0)?.max(self.instance_free(candidate));
            Some((start, start + candidate.takes_seconds, candidate))
        });
        let Some((start, finish, best)) = timed.min_by(earlier) else {
            return Offer::Wait(None);
        };
        let runs_now = best.ready && start <= 0.0;
        let slots = if !runs_now && self.next_free(best.place.0) <= Some(0.0) {
            let slots = || vec![best.wait_seconds; best.slots.max(1)];
            self.instances.entry(best.place).or_insert_with(slots)
        } else {
            &mut self.slots[best.place.0]
        };
        if let Some(slot) = slots.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *slot = finish;
        }
        if runs_now { Offer::Run(best.place) } else { Offer::Wait(Some(best.place)) }
    }

    /// When the instance can take another chunk.
    fn instance_free(&self, candidate: &Candidate) -> f64 {
        let reserved = self.instances.get(&candidate.place);
        let free = reserved.and_then(|slots| slots.iter().copied().reduce(f64::min));
        free.unwrap_or(if candidate.ready { 0.0 } else { candidate.wait_seconds })
    }

    /// When the first slot of a device is free; `None` if no slot may be used.
    pub(super) fn next_free(&self, device: usize) -> Option<f64> {
        self.slots.get(device)?.iter().copied().reduce(f64::min)
    }
}

/// Orders by finish, then by the share of busy slots, then by the driver's utilisation.
fn earlier(a: &(f64, f64, &Candidate), b: &(f64, f64, &Candidate)) -> Ordering {
    let utilisation = |candidate: &Candidate| candidate.utilisation.unwrap_or(100);
    a.1.total_cmp(&b.1)
        .then(a.2.busy.total_cmp(&b.2.busy))
        .then(utilisation(a.2).cmp(&utilisation(b.2)))
}

/// The simple score that the simulation compares with: of the places that are free now, the one
/// with the smallest share of busy slots, then with the least utilisation.
#[cfg(test)]
pub(super) fn least_loaded(candidates: &[Candidate], board: &Board) -> Option<(usize, usize)> {
    let is_free =
        |candidate: &&Candidate| candidate.ready && board.next_free(candidate.place.0) == Some(0.0);
    let score = |candidate: &Candidate| (candidate.busy, candidate.utilisation.unwrap_or(100));
    let free = candidates.iter().filter(is_free);
    free.min_by(|a, b| score(a).partial_cmp(&score(b)).unwrap()).map(|best| best.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A candidate for a chunk of 30 s.
    fn candidate(device: usize, wait_seconds: f64, speed: f64) -> Candidate {
        let takes_seconds = 30.0 / speed;
        let place = (device, 0);
        let ready = wait_seconds == 0.0;
        Candidate {
            place,
            ready,
            wait_seconds,
            slots: 1,
            takes_seconds,
            busy: 0.0,
            utilisation: None,
        }
    }

    #[test]
    fn the_earliest_finish_wins() {
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        let both = [candidate(0, 0.0, 1.0), candidate(1, 0.0, 20.0)];
        assert_eq!(board.offer(&both), Offer::Run((1, 0)));
    }

    #[test]
    fn a_chunk_waits_for_the_fast_device_and_a_long_wait_sends_it_to_the_slow_one() {
        let both = [candidate(0, 0.0, 1.0), candidate(1, 0.0, 20.0)];
        let mut board = Board::new(vec![vec![0.0], vec![2.0]]);
        assert_eq!(board.offer(&both), Offer::Wait(Some((1, 0))));
        let mut board = Board::new(vec![vec![0.0], vec![60.0]]);
        assert_eq!(board.offer(&both), Offer::Run((0, 0)));
    }

    #[test]
    fn waiting_chunks_count_until_the_slow_device_wins() {
        let both = [candidate(0, 0.0, 1.0), candidate(1, 0.0, 10.0)];
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        let offers: Vec<Offer> = (0..12).map(|_| board.offer(&both)).collect();
        assert_eq!(offers[0], Offer::Run((1, 0)));
        assert!(offers[1..9].iter().all(|offer| *offer == Offer::Wait(Some((1, 0)))));
        assert!(offers[9..].contains(&Offer::Run((0, 0))), "{offers:?}");
    }

    #[test]
    fn a_model_that_is_still_loading_is_waited_for_if_that_is_quicker() {
        let loading = [candidate(0, 0.0, 1.0), candidate(1, 3.0, 20.0)];
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        assert_eq!(board.offer(&loading), Offer::Wait(Some((1, 0))));
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        let short = loading.map(|c| Candidate { takes_seconds: c.takes_seconds / 15.0, ..c });
        assert_eq!(board.offer(&short), Offer::Run((0, 0)));
    }

    #[test]
    fn a_loading_model_does_not_block_the_device() {
        let loading = Candidate { place: (0, 1), ..candidate(0, 3.0, 20.0) };
        let mut board = Board::new(vec![vec![0.0]]);
        assert_eq!(board.offer(&[loading]), Offer::Wait(Some((0, 1))));
        assert_eq!(board.offer(&[candidate(0, 0.0, 20.0)]), Offer::Run((0, 0)));
    }

    #[test]
    fn nothing_runs_where_nothing_is_ready_however_short_the_wait() {
        let mut board = Board::new(vec![vec![0.0]]);
        let stopping = Candidate { ready: false, ..candidate(0, 0.0, 20.0) };
        assert_eq!(board.offer(&[stopping]), Offer::Wait(Some((0, 0))));
    }

    #[test]
    fn a_tie_goes_to_the_less_busy_device_and_missing_utilisation_is_not_idle() {
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        let busy = Candidate { busy: 0.5, ..candidate(0, 0.0, 5.0) };
        assert_eq!(board.offer(&[busy, candidate(1, 0.0, 5.0)]), Offer::Run((1, 0)));
        let mut board = Board::new(vec![vec![0.0], vec![0.0]]);
        let idle = Candidate { utilisation: Some(3), ..candidate(1, 0.0, 5.0) };
        assert_eq!(board.offer(&[candidate(0, 0.0, 5.0), idle]), Offer::Run((1, 0)));
    }

    #[test]
    fn a_device_without_usable_slots_is_no_choice() {
        let mut board = Board::new(vec![vec![]]);
        assert_eq!(board.offer(&[candidate(0, 0.0, 5.0)]), Offer::Wait(None));
    }
}
