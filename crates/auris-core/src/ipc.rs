//! The protocol between the server and its worker processes.
//!
//! Both directions carry frames: a big-endian `u32` length, a tag byte, then either JSON (control)
//! or raw little-endian f32 samples. The child speaks first with [`Event::Hello`]; the parent
//! checks its version before anything else. The parent's side of the transport is in
//! `auris_scheduler::supervisor`, the child's in `auris_worker`. This module contains what they
//! share and knows no processes, no async runtime and no engine.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::device::Backend;
use crate::language::Language;
use crate::transcript::{Segment, Task};

/// The version of everything in this module. Raise it whenever a meaning changes.
pub const PROTOCOL_VERSION: u32 = 6;

/// The largest frame that either side accepts, in bytes: a full frame of samples, with room to
/// spare for control messages.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// The most samples that one frame carries: 1 MiB of f32.
pub const MAX_SAMPLES_PER_FRAME: usize = (1 << 20) / size_of::<f32>();

/// The start of the line on a worker's stderr with the reason why ggml ended the process.
pub const CRASH_PREFIX: &str = "auris-crash: ";

/// A chunk's number within its worker process.
pub type ChunkId = u64;

/// What the worker must load, once, when it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSpec {
    pub model: PathBuf,
    /// The device's index in the engine's own list; `None` for the host's CPU.
    pub gpu_index: Option<u32>,
    /// The device's UUID, if it has one. It takes precedence over the index, which may belong to
    /// another device by now.
    pub gpu_uuid: Option<String>,
    /// The number of chunks that run at once.
    pub slots: usize,
    pub threads: usize,
    /// Encode short audio in whole windows of 30 s, too.
    pub whole_windows: bool,
}

/// What to do with a chunk's samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Detect the spoken language.
    Detect,
    Transcribe(ChunkOptions),
}

/// How a chunk is transcribed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkOptions {
    pub task: Task,
    pub language: Language,
    pub prompt: Option<String>,
    /// Temperature from 0 to 1.
    pub temperature: f32,
    pub words: bool,
    pub logprobs: bool,
    /// Whether tokens for sounds other than speech, such as `♪` or `[`, are ruled out.
    pub suppress_non_speech: bool,
    /// Where there is speech, in seconds from the start of the chunk and in order; empty if
    /// unknown.
    pub speech: Vec<Range<f64>>,
}

impl ChunkOptions {
    /// Transcribes `language` with the usual options.
    pub fn new(language: Language) -> Self {
        Self {
            task: Task::Transcribe,
            language,
            prompt: None,
            temperature: 0.0,
            words: false,
            logprobs: false,
            suppress_non_speech: true,
            speech: Vec::new(),
        }
    }
}

/// Parent to child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Load the model. Sent once, first.
    Load(LoadSpec),
    /// Run a chunk; its samples follow in separate frames.
    Run {
        /// The chunk's number, never reused.
        id: ChunkId,
        /// The number of samples that follow: mono at 16 kHz.
        samples: usize,
        work: Work,
    },
    /// The chunk is no longer needed.
    Cancel { id: ChunkId },
}

/// Child to parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first frame.
    Hello {
        /// The child's [`PROTOCOL_VERSION`].
        protocol: u32,
        /// The child's package version, for the error message if the versions differ.
        version: String,
        /// What the child was built to drive.
        backend: Backend,
    },
    /// The model is loaded and has passed a warm-up.
    Loaded(LoadReport),
    /// The model could not be loaded; the child ends.
    LoadFailed(Failure),
    /// The decoder is alive: it produced another token or started another window.
    Progress { id: ChunkId },
    /// A piece of text, with times from the start of the chunk.
    Segment { id: ChunkId, segment: Segment },
    /// The result of [`Work::Detect`], most probable first.
    Languages { id: ChunkId, probabilities: Vec<(Language, f32)> },
    /// The chunk is finished; all of its text has been sent.
    Done {
        id: ChunkId,
        /// Wall-clock seconds in the engine.
        inference_seconds: f64,
        stats: WorkerStats,
    },
    /// The chunk failed; the worker is still alive.
    Failed { id: ChunkId, failure: Failure },
}

impl Event {
    /// Whether all of its numbers are finite: a large one in JSON becomes infinite, which could be
    /// stored but not be read again.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Segment { segment, .. } => segment.is_finite(),
            Self::Languages { probabilities, .. } => {
                probabilities.iter().all(|(_, probability)| probability.is_finite())
            }
            Self::Done { inference_seconds, .. } => inference_seconds.is_finite(),
            Self::Loaded(report) => {
                report.load_seconds.is_finite() && report.warm_up_seconds.is_finite()
            }
            Self::Hello { .. }
            | Self::LoadFailed(_)
            | Self::Progress { .. }
            | Self::Failed { .. } => true,
        }
    }
}

/// What the worker knows after loading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    pub multilingual: bool,
    /// Wall-clock seconds that reading the model took.
    pub load_seconds: f64,
    /// Wall-clock seconds of the warm-up, which encodes one full window.
    pub warm_up_seconds: f64,
    /// The device memory that the worker took, in bytes, measured as the drop of the driver's free
    /// memory; `None` for the host's CPU.
    pub device_bytes: Option<u64>,
    /// The state of the worker and its device afterwards.
    pub stats: WorkerStats,
}

/// The state of a worker and its device at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerStats {
    /// The worker's resident memory in bytes.
    pub resident_bytes: u64,
    /// The device's free memory in bytes, if the driver reports it.
    pub device_free_bytes: Option<u64>,
    /// How busy the device is, from 0 to 100, if the driver reports it. Under WSL2 it does not.
    pub utilisation_percent: Option<u8>,
}

/// Why a load or a chunk failed, as far as the engine knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    /// Decides where it is tried next.
    pub kind: FailureKind,
    /// The engine's own message.
    pub message: String,
}

impl Failure {
    /// A failure with the engine's own message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Classes of failure that are handled differently.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "kebab-case")]
pub enum FailureKind {
    /// The device lacks memory.
    OutOfMemory,
    /// The model file cannot be used; another attempt would fail the same way.
    BadModel,
    /// The engine put the model on a device other than the requested one.
    WrongDevice,
    /// The parent cancelled it.
    Cancelled,
    /// Any other error that the engine reported.
    #[strum(serialize = "engine-error")]
    Engine,
}

/// The content of a frame, without the length.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame<M> {
    /// A control message.
    Control(M),
    /// Samples of a chunk, in order.
    Samples {
        id: ChunkId,
        /// Mono f32 at 16 kHz.
        samples: Vec<f32>,
    },
}

const TAG_CONTROL: u8 = 0;
const TAG_SAMPLES: u8 = 1;

/// Why bytes are not a frame of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// There is nothing after the length.
    #[error("an empty frame")]
    Empty,
    /// The tag is unknown to this version.
    #[error("a frame with the unknown tag {0}")]
    Tag(u8),
    /// The length is not a whole number of samples.
    #[error("a frame of samples of a broken length, {0} bytes")]
    Samples(usize),
    /// The JSON is not a valid message.
    #[error("a control frame that cannot be read: {0}")]
    Control(#[from] serde_json::Error),
}

/// Encodes a control message as a frame's content, without the length.
///
/// # Errors
/// [`FrameError::Control`] if the message has no JSON form; all messages of this protocol have one.
/// Numbers must be finite: JSON has no others, and the other side would not understand them.
pub fn encode_control<M: Serialize>(message: &M) -> Result<Bytes, FrameError> {
    let mut content = BytesMut::new().writer();
    content.write_all(&[TAG_CONTROL]).map_err(serde_json::Error::io)?;
    serde_json::to_writer(&mut content, message)?;
    Ok(content.into_inner().freeze())
}

/// Encodes samples as the contents of frames, without the length; no frames for no samples.
pub fn encode_samples(id: ChunkId, samples: &[f32]) -> impl Iterator<Item = Bytes> {
    samples.chunks(MAX_SAMPLES_PER_FRAME).map(move |part| {
        let mut content = BytesMut::with_capacity(1 + 8 + size_of_val(part));
        content.put_u8(TAG_SAMPLES);
        content.put_u64_le(id);
        for sample in part {
            content.put_f32_le(*sample);
        }
        content.freeze()
    })
}

/// Decodes a frame's content, without the length.
///
/// # Errors
/// [`FrameError`] if it is not a frame of this protocol.
pub fn decode<M: for<'de> Deserialize<'de>>(mut content: &[u8]) -> Result<Frame<M>, FrameError> {
    if content.is_empty() {
        return Err(FrameError::Empty);
    }
    match content.get_u8() {
        TAG_CONTROL => Ok(Frame::Control(serde_json::from_slice(content)?)),
        TAG_SAMPLES if content.len() < 8 || !content.len().is_multiple_of(4) => {
            Err(FrameError::Samples(content.len()))
        }
        TAG_SAMPLES => {
            let id = content.get_u64_le();
            let samples = content
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect();
            Ok(Frame::Samples { id, samples })
        }
        tag => Err(FrameError::Tag(tag)),
    }
}

/// Reads one frame, blocking. Returns `None` at a clean end between frames.
///
/// # Errors
/// The reader's errors, and `InvalidData` for anything that is not a frame.
pub fn read_frame<M: for<'de> Deserialize<'de>>(
    reader: &mut impl Read,
) -> io::Result<Option<Frame<M>>> {
    let mut length = [0; 4];
    match reader.read(&mut length[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => reader.read_exact(&mut length[1..])?,
        // A signal does not mean that the pipe is broken.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return read_frame(reader),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        let message = format!("a frame of {length} bytes, more than {MAX_FRAME_BYTES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut content = vec![0; length];
    reader.read_exact(&mut content)?;
    decode(&content).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one frame with its length, blocking, and flushes.
pub fn write_frame(writer: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    writer.write_all(&length.to_be_bytes())?;
    writer.write_all(content)?;
    writer.flush()
}

#[cfg(test)]
mod tests;
