//! Limits on the cost of one file: how long it is decoded, and how much of it is read in one go.
//!
//! Container readers keep most of what they parse, so bytes read are memory used. Both limits are
//! checked between packets and whenever the file is read; code that computes for ever without
//! reading cannot be stopped here (`auris-jobs` stops waiting for it, in `pipeline/decoders.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::AudioError;
use super::codecs::Container;

/// How far decoding may fall behind real time. It is usually some hundred times faster.
pub(super) const MAX_BEHIND: Duration = Duration::from_secs(30);

const MIB: u64 = 1 << 20;

/// The most bytes that may be copied in one go, such as fonts and cover art, which are not used.
const MAX_COPIED_BYTES: u64 = 64 * MIB;

/// The decoding library reads by at most 32 KiB what it looks at, and by more than twice the size
/// of its 64 KiB buffer what it copies.
const COPY_BYTES: usize = 128 << 10;

/// The bounds on one file, shared by all that work on it.
#[derive(Clone)]
pub(super) struct Budget(Arc<Mutex<State>>);

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// All that comes before the first packet.
    Headers,
    /// One packet.
    Packets,
}

struct State {
    phase: Phase,
    /// `None` is never.
    deadline: Option<Instant>,
    /// What may still be parsed in this step, in bytes.
    parsed_left: u64,
    /// What may still be copied in this step, in bytes.
    copied_left: u64,
    max_parsed: u64,
}

/// A bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overrun {
    #[error("its time is up")]
    Time,
    #[error("more than {} MiB of it are no audio: leave out pictures and tags", .0 / MIB)]
    Bytes(u64),
}

impl Budget {
    /// For a file that is a `container`.
    pub(super) fn new(container: Container, deadline: Option<Instant>) -> Self {
        let max_parsed = max_parsed_bytes(container);
        Self(Arc::new(Mutex::new(State {
            phase: Phase::Headers,
            deadline,
            parsed_left: max_parsed,
            copied_left: MAX_COPIED_BYTES,
            max_parsed,
        })))
    }

    /// Sets when to stop; `None` is never.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.state().deadline = deadline;
    }

    /// Begins with the headers or another packet, for which the bytes are counted anew.
    ///
    /// # Errors
    /// [`AudioError::TooSlow`].
    pub(super) fn begin(&self, phase: Phase) -> Result<(), AudioError> {
        let mut state = self.state();
        state.phase = phase;
        state.parsed_left = state.max_parsed;
        state.copied_left = MAX_COPIED_BYTES;
        state.check_time().map_err(|_| AudioError::TooSlow)
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Pays for a read of up to `bytes`.
    pub(super) fn pay(&self, bytes: usize) -> Result<(), Overrun> {
        let mut state = self.state();
        state.check_time()?;
        let (left, max) = match bytes > COPY_BYTES {
            true => (&mut state.copied_left, MAX_COPIED_BYTES),
            false => {
                let max = state.max_parsed;
                (&mut state.parsed_left, max)
            }
        };
        *left = left.checked_sub(bytes as u64).ok_or(Overrun::Bytes(max))?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_time(&self) -> Result<(), Overrun> {
        let is_up = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_up { Err(Overrun::Time) } else { Ok(()) }
    }
}

/// The most bytes that may be parsed in one go. A tag of six bytes takes about 300 bytes of memory
/// (`tests/it/bombs`).
fn max_parsed_bytes(container: Container) -> u64 {
    match container {
        // A table of four bytes for each packet: 17 MB for a day of AAC.
        Container::Mp4 | Container::Caf => 32 * MIB,
        // Nothing of it is kept: this is how far a frame is looked for behind garbage.
        Container::Adts | Container::Mpeg => 64 * MIB,
        // Cover art in Ogg is text to be parsed.
        Container::Ogg => 4 * MIB,
        Container::Wav | Container::Aiff | Container::Flac | Container::Matroska => 3 * MIB,
    }
}

/// How long a file has been decoded, and how far it has come in that.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest that it may take in all.
    most: Duration,
    spent: Duration,
    behind: Duration,
}

impl Pace {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, spent: Duration::ZERO, behind: Duration::ZERO }
    }

    /// When a step that begins at `now` must end; what is beyond the clock's range is never.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.left())
    }

    /// Counts a step that took `spent` and gave `decoded` audio.
    ///
    /// # Errors
    /// [`AudioError::TooSlow`] if it took too long.
    pub(super) fn count(&mut self, spent: Duration, decoded: Duration) -> Result<(), AudioError> {
        self.spent += spent;
        self.behind = (self.behind + spent).saturating_sub(decoded);
        if self.left().is_zero() { Err(AudioError::TooSlow) } else { Ok(()) }
    }

    fn left(&self) -> Duration {
        MAX_BEHIND.saturating_sub(self.behind).min(self.most.saturating_sub(self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes steps of (spent, decoded) seconds, and checks how many are left; 0 is too slow.
    #[track_caller]
    fn check_left(most: u64, steps: &[(u64, u64)], left: u64) {
        let mut pace = Pace::new(Duration::from_secs(most));
        let mut result = Ok(());
        for (spent, decoded) in steps {
            result = pace.count(Duration::from_secs(*spent), Duration::from_secs(*decoded));
        }
        let now = Instant::now();
        assert_eq!(pace.deadline(now), Some(now + Duration::from_secs(left)), "{steps:?}");
        assert_eq!(matches!(result, Err(AudioError::TooSlow)), left == 0, "{steps:?}");
    }

    #[test]
    fn decoding_may_fall_behind_real_time_by_a_while_and_no_more() {
        check_left(1_000, &[], 30);
        check_left(1_000, &[(10, 0)], 20);
        check_left(1_000, &[(10, 10)], 30);
        check_left(1_000, &[(20, 1), (20, 1)], 0);
        // Earlier speed earns no credit: a hang is noticed just as soon.
        check_left(1_000, &[(1, 500), (29, 0)], 1);
    }

    #[test]
    fn decoding_may_take_so_long_in_all_and_no_longer() {
        check_left(100, &[(95, 200)], 5);
        check_left(100, &[(95, 200), (10, 20)], 0);
    }

    #[test]
    fn a_passed_deadline_ends_reading_and_stepping() {
        let budget = Budget::new(Container::Wav, Some(Instant::now()));
        assert!(matches!(budget.begin(Phase::Packets), Err(AudioError::TooSlow)));
        assert_eq!(budget.pay(1), Err(Overrun::Time));
        budget.set_deadline(None);
        budget.begin(Phase::Packets).unwrap();
    }

    #[test]
    fn bytes_are_counted_for_each_step() {
        let budget = Budget::new(Container::Wav, None);
        let parse = |times| (0..times).try_for_each(|_| budget.pay(COPY_BYTES));
        assert_eq!(parse(25), Err(Overrun::Bytes(3 * MIB)));
        budget.begin(Phase::Packets).unwrap();
        assert_eq!(parse(24), Ok(()));
        // What is copied is counted apart.
        assert_eq!(budget.pay(MAX_COPIED_BYTES as usize), Ok(()));
        assert_eq!(budget.pay(COPY_BYTES + 1), Err(Overrun::Bytes(MAX_COPIED_BYTES)));
    }
}
