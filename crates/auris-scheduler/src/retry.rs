//! What happens to a chunk whose worker failed. Pure.

use super::reason::FallbackReason;
use crate::supervisor::ExitKind;
use auris_core::ipc::FailureKind;

/// How many times a chunk's worker may be killed from outside. Such an exit says little about the
/// chunk, but the chunk may cause the memory pressure under which the kernel kills.
const MOST_KILLS: u32 = 16;

/// The same on GPUs; after that, only the CPU is left.
const MOST_GPU_KILLS: u32 = 2;

/// How many times the engine may report an error for a chunk, or run out of memory on it, on the
/// CPU.
const MOST_LAST_RESORTS: u32 = 2;

/// How many attempts on GPUs may fail.
const MOST_GPU_FAILURES: u32 = 2;

/// Where an attempt was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkAttempt {
    /// The device's index in the plan.
    pub(super) device: usize,
    /// Whether the device is the CPU, the last resort.
    pub(super) is_cpu: bool,
    /// Whether no other chunk ran on the worker.
    pub(super) alone: bool,
}

/// The history of a chunk's attempts.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Crashes of a worker that ran the chunk, caused by it or by a neighbour.
    crashes: u32,
    /// The last crash was on the CPU, without neighbours that could have caused it.
    crashed_alone_on_cpu: bool,
    /// How many times its worker was killed from outside, on the CPU and on GPUs.
    kills: u32,
    gpu_kills: u32,
    /// Crashes of GPU workers.
    pub(super) gpu_crashes: u32,
    /// Failures on GPUs, and how many of them were for lack of memory.
    gpu_failures: u32,
    gpu_ooms: u32,
    /// Errors and out-of-memory failures on the CPU.
    cpu_errors: u32,
    cpu_ooms: u32,
    /// GPUs on which it failed for a reason other than memory.
    avoided: Vec<usize>,
    /// Where the first attempt failed, and why.
    pub(super) first_failure: Option<(usize, FallbackReason)>,
}

/// What to do with the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Run it again.
    Retry,
    /// It has failed for good.
    GiveUp,
    /// It crashes workers: never run it again.
    Quarantine,
}

impl History {
    /// Its worker exited while it ran. A chunk is to blame only for a second crash that happened on
    /// the CPU and without neighbours: a crash on a GPU says nothing about the chunk.
    pub(super) fn after_end(&mut self, kind: ExitKind, attempt: ChunkAttempt) -> RetryDecision {
        self.first_failure.get_or_insert((attempt.device, FallbackReason::Exit(kind)));
        match kind {
            ExitKind::OutOfMemory if attempt.is_cpu => {
                self.cpu_ooms += 1;
                return decision(self.cpu_ooms >= MOST_LAST_RESORTS, RetryDecision::GiveUp);
            }
            ExitKind::OutOfMemory => {
                self.gpu_failures += 1;
                self.gpu_ooms += 1;
                return RetryDecision::Retry;
            }
            ExitKind::Aborted | ExitKind::Stalled | ExitKind::Protocol => {
                self.crashes += 1;
                self.gpu_crashes += u32::from(!attempt.is_cpu);
                self.failed_on(attempt);
                self.crashed_alone_on_cpu = attempt.is_cpu && attempt.alone;
            }
            _ if !attempt.is_cpu => {
                self.gpu_kills += 1;
                return RetryDecision::Retry;
            }
            _ => {
                self.kills += 1;
                return decision(self.kills >= MOST_KILLS, RetryDecision::GiveUp);
            }
        }
        // A stall may be the fault of a busy machine, so it is not remembered.
        let blame = if kind == ExitKind::Stalled {
            RetryDecision::GiveUp
        } else {
            RetryDecision::Quarantine
        };
        decision(self.crashes >= 2 && self.crashed_alone_on_cpu, blame)
    }

    /// The engine reported an error for it, and its worker is still alive.
    pub(super) fn after_error(
        &mut self,
        kind: FailureKind,
        attempt: ChunkAttempt,
    ) -> RetryDecision {
        self.first_failure.get_or_insert((attempt.device, FallbackReason::Engine(kind)));
        self.failed_on(attempt);
        self.cpu_errors += u32::from(attempt.is_cpu);
        decision(self.cpu_errors >= MOST_LAST_RESORTS, RetryDecision::GiveUp)
    }

    fn failed_on(&mut self, attempt: ChunkAttempt) {
        if !attempt.is_cpu {
            self.gpu_failures += 1;
            self.avoided.push(attempt.device);
        }
    }

    /// Restricts it to the CPU.
    pub(super) fn avoid_gpus(&mut self) {
        self.gpu_failures = u32::MAX / 2;
    }

    /// Whether it may run on a device. `variants` is the number of smaller variants of its model
    /// that a GPU may still try for lack of memory.
    pub(super) fn allows(&self, device: usize, is_cpu: bool, variants: usize) -> bool {
        let variants = if self.gpu_ooms > 0 { variants as u32 } else { 0 };
        is_cpu
            || (!self.avoided.contains(&device)
                && self.gpu_kills < MOST_GPU_KILLS
                && self.gpu_failures < MOST_GPU_FAILURES + variants)
    }

    /// Whether it may only run on a worker with no other chunk, so that it neither kills an
    /// innocent neighbour nor is blamed for one.
    pub(super) fn must_run_alone(&self) -> bool {
        self.crashes > 0 || self.cpu_ooms > 0
    }
}

fn decision(is_over: bool, blame: RetryDecision) -> RetryDecision {
    if is_over { blame } else { RetryDecision::Retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: ChunkAttempt = ChunkAttempt { device: 9, is_cpu: true, alone: true };

    fn gpu(device: usize) -> ChunkAttempt {
        ChunkAttempt { device, is_cpu: false, alone: true }
    }

    #[test]
    fn a_chunk_that_crashes_two_workers_is_quarantined() {
        let mut history = History::default();
        assert!(!history.must_run_alone());
        assert_eq!(history.after_end(ExitKind::Aborted, CPU), RetryDecision::Retry);
        assert!(history.must_run_alone());
        assert_eq!(history.after_end(ExitKind::Aborted, CPU), RetryDecision::Quarantine);
        assert_eq!(history.first_failure, Some((9, FallbackReason::Exit(ExitKind::Aborted))));

        let mut history = History::default();
        assert_eq!(history.after_end(ExitKind::Aborted, gpu(0)), RetryDecision::Retry);
        assert_eq!(history.after_end(ExitKind::Aborted, CPU), RetryDecision::Quarantine);
    }

    #[test]
    fn two_failing_gpus_do_not_quarantine_a_chunk() {
        let mut history = History::default();
        assert_eq!(history.after_end(ExitKind::Aborted, gpu(0)), RetryDecision::Retry);
        assert!(!history.allows(0, false, 0) && history.allows(1, false, 0));
        assert_eq!(history.after_end(ExitKind::Aborted, gpu(1)), RetryDecision::Retry);
        assert!(!history.allows(2, false, 0) && history.allows(9, true, 0));
    }

    #[test]
    fn a_neighbours_crash_on_the_cpu_does_not_quarantine_a_chunk() {
        let mut history = History::default();
        let beside_others = ChunkAttempt { alone: false, ..CPU };
        assert_eq!(history.after_end(ExitKind::Aborted, gpu(0)), RetryDecision::Retry);
        assert_eq!(history.after_end(ExitKind::Aborted, beside_others), RetryDecision::Retry);
        assert_eq!(history.after_end(ExitKind::Aborted, CPU), RetryDecision::Quarantine);
    }

    #[test]
    fn a_second_stall_ends_it_and_is_not_remembered() {
        let mut history = History::default();
        assert_eq!(history.after_end(ExitKind::Stalled, CPU), RetryDecision::Retry);
        assert_eq!(history.after_end(ExitKind::Stalled, CPU), RetryDecision::GiveUp);
    }

    #[test]
    fn a_lack_of_memory_may_be_tried_on_the_same_gpu_again_and_on_its_smaller_variants() {
        let mut history = History::default();
        assert_eq!(history.after_end(ExitKind::OutOfMemory, gpu(0)), RetryDecision::Retry);
        assert!(history.allows(0, false, 0) && !history.must_run_alone());
        assert_eq!(history.after_end(ExitKind::OutOfMemory, gpu(0)), RetryDecision::Retry);
        assert!(!history.allows(0, false, 0) && history.allows(0, false, 1));
    }

    #[test]
    fn workers_killed_from_outside_are_no_fault_of_the_chunk() {
        let mut history = History::default();
        for _ in 1..MOST_KILLS {
            assert_eq!(history.after_end(ExitKind::Killed, CPU), RetryDecision::Retry);
            assert!(!history.must_run_alone());
        }
        assert_eq!(history.after_end(ExitKind::Killed, CPU), RetryDecision::GiveUp);
    }

    #[test]
    fn a_gpu_whose_worker_is_killed_again_and_again_loses_no_chunk() {
        let mut history = History::default();
        for _ in 0..2 * MOST_KILLS {
            assert_eq!(history.after_end(ExitKind::Killed, gpu(0)), RetryDecision::Retry);
        }
        assert!(!history.allows(0, false, 0) && history.allows(9, true, 0));
    }

    #[test]
    fn an_engine_error_is_retried_elsewhere_then_twice_on_the_cpu() {
        let mut history = History::default();
        assert_eq!(history.after_error(FailureKind::Engine, gpu(0)), RetryDecision::Retry);
        assert!(!history.allows(0, false, 0));
        assert_eq!(history.after_error(FailureKind::Engine, CPU), RetryDecision::Retry);
        assert_eq!(history.after_error(FailureKind::Engine, CPU), RetryDecision::GiveUp);
    }
}
