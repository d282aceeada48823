//! Engines: what turns samples into text. Child side only; the server never calls one.
//!
//! A [`Session`] runs one chunk at a time; sessions of one load share the model's weights and
//! may run on different threads at once. Nothing carries over from one chunk to the next.

use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use crate::ipc::{ChunkOptions, Failure, LoadSpec};
use crate::language::Language;
use crate::transcript::Segment;

#[allow(unsafe_code)] // one setting of glibc
pub mod allocator;
mod words;

pub mod fake;
#[allow(unsafe_code)] // callbacks into whisper.cpp
pub mod whisper;
#[allow(unsafe_code)] // ggml's quantiser
pub mod quantise;
// what there is to run on
#[allow(unsafe_code)] // ggml's build flags
pub mod processor;
#[allow(unsafe_code)] // functions of NVIDIA's driver
mod driver;
#[allow(unsafe_code)] // ggml's list of devices
mod ggml;
pub mod probe;

/// Which engine a worker runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum EngineKind {
    /// whisper.cpp.
    #[default]
    Whisper,
    /// A deterministic stand-in that fails on command, for tests of everything around it.
    Fake(fake::Script),
}

impl FromStr for EngineKind {
    type Err = fake::ScriptError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "whisper" => Ok(Self::Whisper),
            "fake" => Ok(Self::Fake(fake::Script::default())),
            other => match other.strip_prefix("fake:") {
                Some(script) => script.parse().map(Self::Fake),
                None => Err(fake::ScriptError(other.to_owned())),
            },
        }
    }
}

/// A loaded and warmed-up model.
pub struct Loaded {
    /// One for each slot.
    pub sessions: Vec<Box<dyn Session>>,
    /// Whether the model knows more than English.
    pub multilingual: bool,
    /// Wall-clock seconds of reading the model.
    pub load_seconds: f64,
    /// Wall-clock seconds of warming up.
    pub warm_up_seconds: f64,
    /// Where the model is; `None` for the host's memory.
    pub gpu: Option<whisper::Gpu>,
}

/// What a session tells while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The decoder made another token or began another window.
    Progress,
    /// A piece of text, times in seconds from the start of the chunk.
    Segment(Segment),
}

/// One slot: runs one chunk at a time.
pub trait Session: Send {
    /// Finds the language of `samples` (mono f32 at 16 kHz), most probable first.
    ///
    /// # Errors
    /// A [`Failure`] of the engine.
    fn detect(&mut self, samples: &[f32]) -> Result<Vec<(Language, f32)>, Failure>;

    /// Transcribes `samples` (mono f32 at 16 kHz, at most 30 s), telling of each piece of text.
    /// Ends early with `FailureKind::Cancelled` soon after `cancel` is set.
    ///
    /// # Errors
    /// A [`Failure`] of the engine.
    fn transcribe(
        &mut self,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        tell: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure>;
}

/// Loads a model on the engine and warms up every slot.
///
/// # Errors
/// A [`Failure`]; with whisper.cpp a lack of memory more often ends the process instead.
pub fn load(kind: &EngineKind, spec: &LoadSpec) -> Result<Loaded, Failure> {
    match kind {
        EngineKind::Whisper => whisper::load(spec),
        EngineKind::Fake(script) => fake::load(script, spec),
    }
}
