//! A deterministic engine that fails on command, in a real worker process. It reproduces every
//! failure that was seen with an engine on a GPU, without a GPU.
//!
//! `auris serve --cpu-program 'auris-fake-worker SCRIPT'` runs it. Its text depends on the samples,
//! so a test can detect wrong, lost or duplicated transcripts.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use auris_core::device::Backend;
use auris_core::ipc::{self, CRASH_PREFIX, ChunkOptions, Event, Failure, FailureKind, LoadSpec};
use auris_core::language::Language;
use auris_core::transcript::{Segment, TokenLogprob, Word};
use auris_worker::{Loaded, Session, SessionEvent};

mod escape;
mod text;

pub use text::text_of;

/// What the fake engine does wrong, and when.
///
/// Written as `FAULT,key=value,…`, for example `abort,chunk=3,marker=/tmp/m,times=1`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    pub fault: Fault,
    /// The chunk at which it fails, counted from 1 in each process; 0 is every chunk.
    pub chunk: u64,
    /// Only a chunk with this text in its prompt triggers the fault.
    pub prompt: Option<String>,
    /// A folder that counts faults across processes, with one file per fault.
    pub marker: Option<PathBuf>,
    pub times: u64,
    /// Seconds of audio transcribed per second; 0 is as fast as possible. Language detection takes
    /// as long as half a second of audio.
    pub speed: f64,
    /// The detected language; English if `None`.
    pub language: Option<Language>,
    /// Only workers with more slots than this have the fault.
    pub over: usize,
    /// Only workers for a model file with this in its name have the fault.
    pub model: Option<String>,
    /// The percentage of chunks that have the fault, chosen by their samples, and each only once if
    /// there is a `marker`; `None` is every chunk selected by `chunk` and `prompt`.
    pub percent: Option<u32>,
}

/// Ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Fault {
    #[default]
    None,
    /// The load reports that the model is bad.
    LoadBad,
    /// The load runs out of memory with CUDA's message, and aborts.
    LoadOom,
    /// A state cannot be created, which whisper.cpp does not survive.
    StateOom,
    LoadHang,
    /// The load ends up on another device.
    LoadElsewhere,
    /// No handshake: text on the protocol's output.
    Garbage,
    /// A handshake with another version.
    Version,
    /// The process exits before the handshake, as when a shared library is missing.
    Exit,
    /// A chunk aborts as on a CUDA error.
    Abort,
    /// A chunk runs out of memory with CUDA's message, and aborts.
    Oom,
    /// A chunk never ends and reports nothing.
    Hang,
    /// A chunk fails, and the worker stays alive.
    Error,
    /// The process is killed as by the kernel.
    Kill,
    /// Each chunk selected by `percent` has one of the faults above.
    Any,
    /// A chunk tries to get out of the sandbox; its text lists what succeeded.
    Escape,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown script {0:?}: give `FAULT,key=value,…`")]
pub struct ScriptError(pub String);

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn parse<T: FromStr>(value: &str, text: &str) -> Result<T, ScriptError> {
            value.parse().map_err(|_| ScriptError(text.to_owned()))
        }
        let mut script = Self { chunk: 1, times: u64::MAX, ..Self::default() };
        for part in text.split(',') {
            match part.split_once('=') {
                None => script.fault = parse(part, text)?,
                Some(("chunk", value)) => script.chunk = parse(value, text)?,
                Some(("times", value)) => script.times = parse(value, text)?,
                Some(("speed", value)) => script.speed = parse(value, text)?,
                Some(("language", value)) => script.language = Some(parse(value, text)?),
                Some(("over", value)) => script.over = parse(value, text)?,
                Some(("percent", value)) => script.percent = Some(parse(value, text)?),
                Some(("model", value)) => script.model = Some(value.to_owned()),
                Some(("prompt", value)) => script.prompt = Some(value.to_owned()),
                Some(("marker", value)) => script.marker = Some(value.into()),
                Some(_) => return Err(ScriptError(text.to_owned())),
            }
        }
        Ok(script)
    }
}

impl Script {
    /// Whether `fault` occurs now; counts it if so.
    pub fn strikes(&self, fault: Fault) -> bool {
        if self.fault != fault {
            return false;
        }
        let Some(folder) = &self.marker else { return true };
        (0..self.times).any(|n| std::fs::File::create_new(folder.join(format!("{n}"))).is_ok())
    }

    /// The script for a worker that loads `spec`.
    fn of_load(&self, spec: &LoadSpec) -> Self {
        let file = spec.model.to_string_lossy();
        let named = self.model.as_ref().is_none_or(|model| file.contains(model.as_str()));
        let fault = if named && spec.slots > self.over { self.fault } else { Fault::None };
        Self { fault, ..self.clone() }
    }

    /// The fault of a chunk, if any.
    fn chunk_strikes(&self, chunk: u64, samples: &[f32], prompt: Option<&str>) -> Option<Fault> {
        let of_chunks = [Fault::Abort, Fault::Oom, Fault::Hang, Fault::Error, Fault::Kill];
        if let Some(percent) = self.percent {
            let sum = text::checksum(samples);
            let first = |folder: &PathBuf| {
                std::fs::File::create_new(folder.join(format!("{sum:08x}"))).is_ok()
            };
            let hundredth = sum.wrapping_mul(0x9e37_79b1) >> 16; // spreads similar sums
            if hundredth % 100 >= percent || !self.marker.as_ref().is_none_or(first) {
                return None;
            }
            let any = of_chunks[(hundredth / 100) as usize % of_chunks.len()];
            return Some(if self.fault == Fault::Any { any } else { self.fault });
        }
        let prompted = match &self.prompt {
            Some(wanted) => prompt.is_some_and(|prompt| prompt.contains(wanted)),
            None => self.chunk == 0 || self.chunk == chunk,
        };
        (of_chunks.contains(&self.fault) && prompted && self.strikes(self.fault))
            .then_some(self.fault)
    }
}

/// "Loads" `spec`, or fails by the script.
///
/// # Errors
/// `BadModel` on [`Fault::LoadBad`], `WrongDevice` on [`Fault::LoadElsewhere`].
pub fn load(script: &Script, spec: &LoadSpec) -> Result<Loaded, Failure> {
    let script = &script.of_load(spec);
    if script.strikes(Fault::LoadBad) {
        let message = "whisper_init_from_file: invalid model data (bad magic)";
        return Err(Failure::new(FailureKind::BadModel, message));
    }
    if script.strikes(Fault::LoadOom) {
        out_of_memory();
    }
    if script.strikes(Fault::LoadElsewhere) {
        let message = "the model was loaded on the CPU instead of cuda:0";
        return Err(Failure::new(FailureKind::WrongDevice, message));
    }
    if script.strikes(Fault::StateOom) {
        write_stderr("ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 98 MB");
        die_by(Signal::SEGV);
    }
    if script.strikes(Fault::LoadHang) {
        hang();
    }
    let chunks = Arc::new(AtomicU64::new(0));
    let session = || FakeSession { script: script.clone(), chunks: Arc::clone(&chunks) };
    Ok(Loaded {
        sessions: (0..spec.slots).map(|_| Box::new(session()) as _).collect(),
        multilingual: true,
        load_seconds: 0.0,
        // The time for a second of audio, without actually waiting.
        warm_up_seconds: if script.speed > 0.0 { 1.0 / script.speed } else { 0.0 },
        gpu: None,
    })
}

/// Sends a wrong greeting for [`Fault::Garbage`] or [`Fault::Version`], and waits to be killed.
pub fn send_bad_greeting(script: &Script, mut events: impl Write) -> ! {
    if script.fault == Fault::Garbage {
        let _ = events.write_all(b"Hello, I am a C library that prints to standard output.\n");
    } else {
        let version = "0.0.0".to_owned();
        let hello = Event::Hello { protocol: u32::MAX, version, backend: Backend::Cpu };
        if let Ok(content) = ipc::encode_control(&hello) {
            let _ = ipc::write_frame(&mut events, &content);
        }
    }
    hang()
}

struct FakeSession {
    script: Script,
    chunks: Arc<AtomicU64>,
}

impl Session for FakeSession {
    fn detect(&mut self, _: &[f32]) -> Result<Vec<(Language, f32)>, Failure> {
        self.work(0.5, &AtomicBool::new(false), &mut |_| {})?;
        Ok(vec![(self.script.language.unwrap_or(Language::ENGLISH), 1.0)])
    }

    fn transcribe(
        &mut self,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        report: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        let chunk = self.chunks.fetch_add(1, Ordering::Relaxed) + 1;
        let seconds = samples.len() as f64 / 16_000.0;
        self.work(seconds / 2.0, cancel, report)?;
        self.strike(self.script.chunk_strikes(chunk, samples, options.prompt.as_deref()))?;
        self.work(seconds / 2.0, cancel, report)?;
        let text = match self.script.fault {
            Fault::Escape => escape::attempts(),
            _ => text_of(samples),
        };
        report(SessionEvent::Segment(segment(text, samples, options)));
        Ok(())
    }
}

impl FakeSession {
    fn strike(&self, fault: Option<Fault>) -> Result<(), Failure> {
        match fault {
            None => Ok(()),
            Some(Fault::Abort) => crash(
                "CUDA error: unspecified launch failure\n  current device: 0, in function \
                 ggml_backend_cuda_synchronize",
            ),
            Some(Fault::Oom) => out_of_memory(),
            Some(Fault::Hang) => hang(),
            Some(Fault::Kill) => die_by(Signal::KILL),
            Some(_) => Err(Failure::new(FailureKind::Engine, "whisper.cpp: failed to encode")),
        }
    }

    /// Takes as long as `seconds` of audio, checking `cancel` often.
    fn work(
        &self,
        seconds: f64,
        cancel: &AtomicBool,
        report: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        let needed = if self.script.speed > 0.0 { seconds / self.script.speed } else { 0.0 };
        let end = Instant::now() + Duration::from_secs_f64(needed);
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(Failure::new(FailureKind::Cancelled, "cancelled"));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            report(SessionEvent::Progress);
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

fn segment(text: String, samples: &[f32], options: &ChunkOptions) -> Segment {
    let end = samples.len() as f64 / 16_000.0;
    // One token: the whole text.
    let logprob = TokenLogprob { bytes: text.clone().into_bytes(), logprob: -0.25 };
    let word = Word { text: text.trim().to_owned(), start: 0.0, end, probability: 1.0 };
    Segment {
        end,
        text,
        tokens: vec![1],
        temperature: options.temperature,
        compression_ratio: 1.0,
        words: if options.words { vec![word] } else { Vec::new() },
        logprobs: if options.logprobs { vec![logprob] } else { Vec::new() },
        ..Segment::default()
    }
}

/// Prints what ggml prints when CUDA is out of memory (ggml-cuda.cu of ggml 0.9.5), and aborts.
fn out_of_memory() -> ! {
    write_stderr(
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1533.14 MiB on device 0: \
         cudaMalloc failed: out of memory",
    );
    crash("CUDA error: out of memory")
}

fn crash(message: &str) -> ! {
    write_stderr(&format!("{CRASH_PREFIX}{message}"));
    process::abort()
}

fn die_by(signal: Signal) -> ! {
    loop {
        // Rust's own SIGSEGV handler takes the first signal and leaves the second to the system.
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn write_stderr(line: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests;
