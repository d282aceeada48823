//! What of a recording is not in the samples that came out of it.

use std::ops::AddAssign;
use std::time::Duration;

/// What is missing, and how much of what came out only takes its place. Final at the end of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets that could not be decoded, by the length that they claim. Silence takes their place,
    /// so that what follows keeps its time.
    pub undecodable: Duration,
    /// Silence where the timestamps of the container have a gap: packets were lost on the way, or
    /// the recording was paused. Where ffmpeg decodes, this includes what could not be decoded.
    pub gaps: Duration,
    /// The bytes at the end of the file that belong to no recording that could be read.
    pub unread_bytes: u64,
    /// Whether a recording broke off or something behind it could not be read; what there was has
    /// been decoded.
    pub truncated: bool,
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.undecodable += other.undecodable;
        self.gaps += other.gaps;
        self.unread_bytes += other.unread_bytes;
        self.truncated |= other.truncated;
    }
}
