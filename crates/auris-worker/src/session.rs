//! The interface that an engine implements.

use std::sync::atomic::AtomicBool;

use auris_core::ipc::{ChunkOptions, Failure};
use auris_core::language::Language;
use auris_core::transcript::Segment;

/// A loaded and warmed-up model.
pub struct Loaded {
    /// One for each slot.
    pub sessions: Vec<Box<dyn Session>>,
    pub multilingual: bool,
    /// Wall-clock seconds that reading the model took.
    pub load_seconds: f64,
    /// Wall-clock seconds that the warm-up took.
    pub warm_up_seconds: f64,
    /// The GPU that holds the model; `None` for the host's memory.
    pub gpu: Option<Box<dyn GpuUsage>>,
}

pub trait GpuUsage: Send + Sync {
    /// Bytes of its memory that this process has taken.
    fn taken_bytes(&self) -> u64;

    /// Bytes of its memory that are free.
    fn free_bytes(&self) -> u64;

    /// How busy it is, from 0 to 100; `None` if the driver does not report it.
    fn utilisation_percent(&self) -> Option<u8>;
}

/// What a session reports while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The decoder produced another token or started another window.
    Progress,
    /// A piece of text, with times in seconds from the start of the chunk.
    Segment(Segment),
}

/// One slot: runs one chunk at a time. Sessions share the weights of their model and may run on
/// different threads at the same time; nothing carries over from one chunk to the next.
pub trait Session: Send {
    /// Detects the language of `samples` (mono f32 at 16 kHz), most probable first.
    fn detect(&mut self, samples: &[f32]) -> Result<Vec<(Language, f32)>, Failure>;

    /// Transcribes `samples` (mono f32 at 16 kHz, at most 30 s) and reports each piece of text.
    /// Returns `FailureKind::Cancelled` soon after `cancel` is set.
    fn transcribe(
        &mut self,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        report: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure>;
}
