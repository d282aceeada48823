//! The child's side: a loop that reads requests, runs chunks on its slots and writes events.
//!
//! It chooses nothing and recovers from nothing; the parent does. The end of its input ends it,
//! whatever its slots are doing, so a dead server leaves no orphan.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit};

use crate::device::Backend;
use crate::engine::whisper::Gpu;
use crate::engine::{self, EngineKind, Loaded, Session, SessionEvent};
use crate::ipc::{
    self, ChunkId, Event, Failure, FailureKind, Frame, LoadReport, Request, Vitals, Work,
};

mod stdio;

pub use stdio::{PrivatePipes, claim_stdio, end_with};

/// What this program was built to drive.
pub const BACKEND: Backend = if cfg!(feature = "cuda") { Backend::Cuda } else { Backend::Cpu };

/// Greets, loads and serves until `reader` ends. Threads that still run a chunk then are left
/// behind: the caller ends the process.
///
/// # Errors
/// Those of the pipes, and `InvalidData` when the parent breaks the protocol.
pub fn run(
    mut reader: impl Read,
    writer: impl Write + Send + 'static,
    kind: EngineKind,
) -> io::Result<()> {
    let out = Out(Arc::new(Mutex::new(Box::new(writer))));
    out.send(&Event::Hello {
        protocol: ipc::PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: BACKEND,
    })?;
    let Some(frame) = ipc::read_frame(&mut reader)? else { return Ok(()) };
    let Frame::Control(Request::Load(spec)) = frame else {
        return Err(violation("the first request is not a load"));
    };

    let cancels = Cancels::default();
    let slot_cancels = cancels.clone();
    // Loading happens beside the reader, so that the end of the input ends a load that hangs.
    let (queue, jobs) = mpsc::channel();
    let loader_out = out.clone();
    thread::Builder::new().name("load".to_owned()).spawn(move || {
        let served = engine::load(&kind, &spec).and_then(|loaded| {
            serve(loaded, jobs, &slot_cancels, &loader_out).map_err(|error| Failure {
                kind: FailureKind::Engine,
                message: format!("the slots cannot be started: {error}"),
            })
        });
        let sent = match served {
            Ok(()) => Ok(()),
            Err(failure) => loader_out.send(&Event::LoadFailed(failure)),
        };
        if let Err(error) = sent {
            tracing::debug!("the parent reads no more: {error}");
        }
    })?;
    receive(&mut reader, &queue, &cancels)
}

/// Lets a panic on any thread end the process with its message, as a crash in C does: a worker
/// with a dead slot would leave its parent waiting. Leaves no core file, which for a model of
/// gigabytes takes longer to write than the model to load.
pub fn die_of_panics() {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, nothing);
    std::panic::set_hook(Box::new(|panic| {
        let line = format!("{}{panic}\n", ipc::CRASH_PREFIX).replace(":\n", ": ");
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        std::process::abort();
    }));
}

/// Lets the kernel kill this process before the server when memory runs out: a worker costs time,
/// the server would take its requests with it. Where several programs share a machine this puts a
/// worker before what has up to half of the memory more. See proc(5).
pub fn go_first_when_memory_ends() {
    const FILE: &str = "/proc/self/oom_score_adj";
    const SCORE: i32 = 500;
    let now = fs::read_to_string(FILE).ok().and_then(|score| score.trim().parse().ok());
    // Without /proc, or where somebody has set more, it stays.
    if now.is_some_and(|now: i32| now < SCORE)
        && let Err(error) = fs::write(FILE, SCORE.to_string())
    {
        tracing::debug!("{FILE} cannot be written to: {error}");
    }
}

fn violation(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A chunk with all of its samples.
struct Job {
    id: ChunkId,
    work: Work,
    samples: Vec<f32>,
    cancel: Arc<AtomicBool>,
}

/// The flags of the chunks that are not finished.
#[derive(Clone, Default)]
struct Cancels(Arc<Mutex<HashMap<ChunkId, Arc<AtomicBool>>>>);

impl Cancels {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChunkId, Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads requests until the input ends.
fn receive(reader: &mut impl Read, queue: &Sender<Job>, cancels: &Cancels) -> io::Result<()> {
    let mut incoming: HashMap<ChunkId, (Job, usize)> = HashMap::new();
    while let Some(frame) = ipc::read_frame(reader)? {
        let id = match frame {
            Frame::Control(Request::Load(_)) => return Err(violation("a second load")),
            Frame::Control(Request::Cancel { id }) => {
                if let Some(cancel) = cancels.lock().get(&id) {
                    cancel.store(true, Ordering::Relaxed);
                }
                continue;
            }
            Frame::Control(Request::Run { id, samples, work }) => {
                let cancel = Arc::new(AtomicBool::new(false));
                cancels.lock().insert(id, Arc::clone(&cancel));
                incoming.insert(id, (Job { id, work, samples: Vec::new(), cancel }, samples));
                id
            }
            Frame::Samples { id, mut samples } => {
                let Some((job, _)) = incoming.get_mut(&id) else {
                    return Err(violation("samples of an unknown chunk"));
                };
                job.samples.append(&mut samples);
                id
            }
        };
        if incoming.get(&id).is_some_and(|(job, expected)| job.samples.len() >= *expected)
            && let Some((job, _)) = incoming.remove(&id)
        {
            // The slots are gone only after a failed load, which the parent has been told of.
            let _ = queue.send(job);
        }
    }
    Ok(())
}

/// Reports the load and starts a thread for each slot.
fn serve(loaded: Loaded, jobs: Receiver<Job>, cancels: &Cancels, out: &Out) -> io::Result<()> {
    let report = LoadReport {
        multilingual: loaded.multilingual,
        load_seconds: loaded.load_seconds,
        warm_up_seconds: loaded.warm_up_seconds,
        device_bytes: loaded.gpu.as_ref().map(Gpu::taken_bytes),
        vitals: vitals(loaded.gpu.as_ref()),
    };
    let shared = Arc::new(Shared {
        jobs: Mutex::new(jobs),
        cancels: cancels.clone(),
        out: out.clone(),
        gpu: loaded.gpu,
    });
    for (slot, session) in loaded.sessions.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("slot-{slot}"))
            .spawn(move || run_slot(session, &shared))?;
    }
    out.send(&Event::Loaded(report))
}

/// What the slots share.
struct Shared {
    jobs: Mutex<Receiver<Job>>,
    cancels: Cancels,
    out: Out,
    gpu: Option<Gpu>,
}

fn run_slot(mut session: Box<dyn Session>, shared: &Shared) {
    loop {
        let next = shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let id = job.id;
        let event = match run_job(session.as_mut(), job, &shared.out) {
            Ok(inference_seconds) => {
                Event::Done { id, inference_seconds, vitals: vitals(shared.gpu.as_ref()) }
            }
            Err(failure) => Event::Failed { id, failure },
        };
        shared.cancels.lock().remove(&id);
        if shared.out.send(&event).is_err() {
            return;
        }
    }
}

fn run_job(session: &mut dyn Session, job: Job, out: &Out) -> Result<f64, Failure> {
    let started = Instant::now();
    let id = job.id;
    match job.work {
        Work::Detect => {
            let probabilities = session.detect(&job.samples)?;
            out.tell(&Event::Languages { id, probabilities })?;
        }
        Work::Transcribe(options) => {
            // A broken pipe shows again at the end of the chunk; nobody reads until then.
            session.transcribe(&job.samples, &options, &job.cancel, &mut |event| {
                let _ = out.send(&match event {
                    SessionEvent::Progress => Event::Progress { id },
                    SessionEvent::Segment(segment) => Event::Segment { id, segment },
                });
            })?;
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The way to the parent, shared by the slots.
#[derive(Clone)]
struct Out(Arc<Mutex<Box<dyn Write + Send>>>);

impl Out {
    fn send(&self, event: &Event) -> io::Result<()> {
        let content = ipc::encode_control(event).map_err(io::Error::other)?;
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ipc::write_frame(&mut *writer, &content)
    }

    fn tell(&self, event: &Event) -> Result<(), Failure> {
        self.send(event).map_err(|error| Failure {
            kind: FailureKind::Engine,
            message: format!("the answer cannot be sent: {error}"),
        })
    }
}

/// How this process and its GPU are.
fn vitals(gpu: Option<&Gpu>) -> Vitals {
    Vitals {
        resident_bytes: resident_bytes(),
        device_free_bytes: gpu.map(Gpu::free_bytes),
        utilisation_percent: gpu.and_then(Gpu::utilisation_percent),
    }
}

/// This process's resident memory in bytes; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests;
