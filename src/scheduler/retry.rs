//! What becomes of a chunk whose worker failed. Pure.

use crate::supervisor::EndKind;

/// How often a chunk may be on a worker that somebody else killed. Such an end says little
/// about the chunk, but the kernel's choice under memory pressure may be its doing.
const MOST_KILLS: u32 = 16;

/// How often the engine may report an error for a chunk.
const MOST_ERRORS: u32 = 2;

/// What a chunk has been through.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Crashes of a worker that ran the chunk, by itself or by a neighbour.
    crashes: u32,
    /// Times that its worker was killed from outside.
    kills: u32,
    /// Errors that the engine reported for it.
    errors: u32,
    /// Why the first attempt failed.
    pub(super) first_reason: Option<String>,
}

/// What to do with the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Run it again.
    Retry,
    /// It has failed for good.
    GiveUp,
}

impl History {
    /// Its worker ended while it ran. A second crash is the chunk's own: after the first one it
    /// [must run alone](Self::must_run_alone).
    pub(super) fn after_end(&mut self, kind: EndKind) -> Verdict {
        self.first_reason.get_or_insert_with(|| kind.to_string());
        match kind {
            EndKind::Aborted | EndKind::OutOfMemory | EndKind::Stalled | EndKind::Protocol => {
                self.crashes += 1;
            }
            _ => self.kills += 1,
        }
        if self.crashes >= 2 || self.kills >= MOST_KILLS { Verdict::GiveUp } else { Verdict::Retry }
    }

    /// The engine reported an error for it, and its worker lives.
    pub(super) fn after_error(&mut self, reason: &str) -> Verdict {
        self.first_reason.get_or_insert_with(|| reason.to_owned());
        self.errors += 1;
        if self.errors >= MOST_ERRORS { Verdict::GiveUp } else { Verdict::Retry }
    }

    /// Whether it may only run on a worker with no other chunk, so that an innocent neighbour is
    /// neither killed by it nor blamed for it.
    pub(super) fn must_run_alone(&self) -> bool {
        self.crashes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_crashes_two_workers_is_given_up() {
        let mut history = History::default();
        assert!(!history.must_run_alone());
        assert_eq!(history.after_end(EndKind::Aborted), Verdict::Retry);
        assert!(history.must_run_alone());
        assert_eq!(history.after_end(EndKind::Stalled), Verdict::GiveUp);
        assert_eq!(history.first_reason.as_deref(), Some("aborted"));
    }

    #[test]
    fn workers_killed_from_outside_are_no_fault_of_the_chunk() {
        let mut history = History::default();
        for _ in 1..MOST_KILLS {
            assert_eq!(history.after_end(EndKind::Killed), Verdict::Retry);
            assert!(!history.must_run_alone());
        }
        assert_eq!(history.after_end(EndKind::Killed), Verdict::GiveUp);
    }

    #[test]
    fn an_engine_error_is_tried_once_more() {
        let mut history = History::default();
        assert_eq!(history.after_error("engine-error"), Verdict::Retry);
        assert_eq!(history.after_error("engine-error"), Verdict::GiveUp);
    }
}
