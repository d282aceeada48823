//! On which device a chunk runs. Pure.
//!
//! The device with the earliest estimated finish wins, even if that means waiting for a fast one
//! to become free rather than starting at once on a slow one.

/// What placement looks at on one device that could run the chunk's model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The caller's indices of the device and of the model's lane there.
    pub(super) place: (usize, usize),
    /// Whether a worker with the model is ready there.
    pub(super) ready: bool,
    /// Whether a slot is free.
    pub(super) free: bool,
    /// Seconds until the first slot is likely to be free; 0 if one is.
    pub(super) wait_seconds: f64,
    /// Seconds of audio that a slot does in a second, measured or assumed.
    pub(super) speed: f64,
}

/// Where to run `seconds` of audio now; `None` is to wait.
pub(super) fn place(candidates: &[Candidate], seconds: f64) -> Option<(usize, usize)> {
    let finish =
        |candidate: &Candidate| candidate.wait_seconds + seconds / candidate.speed.max(1e-3);
    candidates
        .iter()
        .filter(|candidate| candidate.ready)
        .min_by(|a, b| finish(a).total_cmp(&finish(b)))
        .filter(|best| best.free)
        .map(|best| best.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: usize, free: bool, wait_seconds: f64, speed: f64) -> Candidate {
        Candidate { place: (index, 0), ready: true, free, wait_seconds, speed }
    }

    #[test]
    fn the_earliest_finish_wins() {
        let (slow, fast) = (candidate(0, true, 0.0, 1.0), candidate(1, true, 0.0, 20.0));
        assert_eq!(place(&[slow, fast], 30.0), Some((1, 0)));
    }

    #[test]
    fn a_long_chunk_waits_for_the_fast_device_and_a_long_wait_sends_it_to_the_slow_one() {
        let slow = candidate(0, true, 0.0, 1.0);
        assert_eq!(place(&[slow.clone(), candidate(1, false, 2.0, 20.0)], 30.0), None);
        assert_eq!(place(&[slow, candidate(1, false, 60.0, 20.0)], 30.0), Some((0, 0)));
    }

    #[test]
    fn a_device_that_is_not_ready_is_not_waited_for() {
        let mut fast = candidate(1, true, 0.0, 20.0);
        fast.ready = false;
        assert_eq!(place(&[candidate(0, true, 0.0, 1.0), fast.clone()], 30.0), Some((0, 0)));
        assert_eq!(place(&[fast], 30.0), None);
    }
}
