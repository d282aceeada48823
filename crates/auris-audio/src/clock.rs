//! The clock of the container: where its timestamps leave a gap, silence keeps what follows in time.
//!
//! Audio is decoded packet by packet, and played without timestamps: each packet that was lost on
//! the way, and each pause of a recorder, would move all that follows towards the start. So the end
//! of what is decoded is compared with the timestamp of the next packet. The comparison is one of
//! absolute times, so that many small gaps add up, and jitter does not.
//!
//! Timestamps lie too. A jump back, and one too far ahead, is the start of another clock: what
//! follows joins without a gap. Where packets overlap, nothing is cut off, and no silence follows
//! until the timestamps have caught up.

use std::time::Duration;

/// The longest silence that a timestamp can ask for, in seconds. Longer pauses of recorders have not
/// been seen, and this much costs a second of work.
pub(super) const MAX_GAP_SECONDS: f64 = 3_600.0;

/// The bounds of what counts as jitter, in seconds: half a packet, since one that was lost leaves a
/// whole one. Timestamps of Matroska are rounded to 1 ms, those of live recordings vary by more.
const MIN_JITTER_SECONDS: f64 = 0.01;
const MAX_JITTER_SECONDS: f64 = 0.06;

/// Packets that are this much earlier than expected, in seconds, have another clock.
const MAX_OVERLAP_SECONDS: f64 = 1.0;

/// How much later than the header's length a timestamp may be, in seconds.
const DURATION_SLACK_SECONDS: f64 = 10.0;

/// Compares decoded audio with timestamps. Times are in seconds on the clock of the container.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// When the first packet began, whether it could be decoded or not.
    first: Option<f64>,
    /// Where the decoded audio ends; none before the first of it.
    end: Option<f64>,
    /// How long the last packet was that could be decoded.
    packet_seconds: f64,
}

impl Clock {
    /// The silence before a packet that begins at `start`, in seconds. It counts as decoded.
    ///
    /// `declared` is the length that the header claims, and `most` how much more there may be.
    pub(super) fn gap(&mut self, start: f64, declared: Option<Duration>, most: f64) -> f64 {
        let first = *self.first.get_or_insert(start);
        let Some(end) = self.end else { return 0.0 };
        let ahead = start - end;
        let jitter = (self.packet_seconds / 2.0).clamp(MIN_JITTER_SECONDS, MAX_JITTER_SECONDS);
        let latest = declared.map(|length| length.as_secs_f64() + DURATION_SLACK_SECONDS);
        let is_lie = ahead > MAX_GAP_SECONDS.min(most)
            || ahead > jitter && latest.is_some_and(|latest| start - first > latest);
        if ahead < -MAX_OVERLAP_SECONDS || is_lie {
            self.end = Some(start);
            return 0.0;
        }
        if ahead <= jitter {
            return 0.0;
        }
        self.end = Some(start);
        ahead
    }

    /// The time between the first packet and one that begins at `start`, if nothing between them
    /// could be decoded.
    pub(super) fn undecoded(&self, start: f64) -> Option<f64> {
        let first = self.first.filter(|_| self.end.is_none())?;
        Some(start - first)
    }

    /// Counts `seconds` that were decoded of a packet that begins at `start`.
    pub(super) fn count(&mut self, start: f64, seconds: f64) {
        self.end = Some(self.end.unwrap_or(start) + seconds);
        self.packet_seconds = seconds;
    }

    /// Forgets a packet that the decoder took without giving any samples, as some take the first.
    pub(super) fn skip(&mut self) {
        self.first = self.first.filter(|_| self.end.is_some());
    }

    /// How long the last packet was that could be decoded, in seconds; 0 before that.
    pub(super) fn packet_seconds(&self) -> f64 {
        self.packet_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The silence before each packet of 20 ms that begins at these milliseconds, in milliseconds.
    fn gaps(starts: impl IntoIterator<Item = f64>, declared: Option<u64>) -> Vec<f64> {
        let mut clock = Clock::default();
        let mut gaps = Vec::new();
        for start in starts {
            let start = start / 1_000.0;
            gaps.push(clock.gap(start, declared.map(Duration::from_secs), 7_000.0) * 1_000.0);
            clock.count(start, 0.02);
        }
        gaps.iter().map(|gap| gap.round()).collect()
    }

    #[test]
    fn a_gap_is_filled_where_it_is() {
        assert_eq!(gaps([500.0, 520.0, 5_000.0, 5_020.0], None), [0.0, 0.0, 4_460.0, 0.0]);
        assert_eq!(gaps([0.0, 20.0, 60.0, 80.0], None), [0.0, 0.0, 20.0, 0.0]);
    }

    #[test]
    fn jitter_adds_nothing_and_drift_adds_up() {
        let jittery = (0..1_000).map(|n| f64::from(n * 20 + n * 7_919 % 9));
        assert_eq!(gaps(jittery, None).iter().sum::<f64>(), 0.0);
        // A packet takes 20.4 ms on the container's clock.
        let slow = gaps((0..1_000).map(|n| f64::from(n) * 20.4), None).iter().sum::<f64>();
        assert!((380.0..=400.0).contains(&slow), "{slow} ms of 400");
    }

    #[test]
    fn overlaps_are_kept_and_caught_up() {
        assert_eq!(gaps([0.0, 20.0, 25.0, 45.0, 100.0], None), [0.0, 0.0, 0.0, 0.0, 20.0]);
    }

    #[test]
    fn another_clock_joins_without_a_gap() {
        assert_eq!(gaps([9e6, 9e6 + 20.0, 0.0, 20.0, 60.0], None), [0.0, 0.0, 0.0, 0.0, 20.0]);
        assert_eq!(gaps([0.0, 20.0, 9e12, 9e12 + 20.0], None), [0.0; 4]);
        // Within the longest gap, but not within the file.
        assert_eq!(gaps([0.0, 20.0, 90_000.0, 60.0], Some(60)), [0.0, 0.0, 0.0, 0.0]);
        assert_eq!(gaps([0.0, 20.0, 50_000.0, 50_020.0], Some(60)), [0.0, 0.0, 49_960.0, 0.0]);
    }
}
