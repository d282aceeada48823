//! The worker's side of the protocol: reads requests, runs chunks on slots, writes events. A
//! [`Session`] runs the chunks: whisper.cpp, or in tests an engine that fails on command.
//!
//! A worker makes no decisions and recovers from nothing; its parent does. It exits when its input
//! ends, whatever its slots are doing, so a dead server leaves no orphans.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use auris_core::device::Backend;
use auris_core::ipc::{
    self, ChunkId, Event, Failure, FailureKind, Frame, LoadReport, LoadSpec, Request, Work,
    WorkerStats,
};

mod process;
mod session;
mod stdio;

pub use process::{abort_on_panic, prefer_as_oom_victim};
pub use session::{GpuUsage, Loaded, Session, SessionEvent};
pub use stdio::{PrivatePipes, claim_stdio, end_with};

/// A program's engine.
pub struct Engine<C, L> {
    /// What the program was built for.
    pub backend: Backend,
    /// Takes from the process what it does not need to run this model, before it has a second thread.
    /// An error ends the worker.
    pub confine: C,
    /// Loads the model.
    pub load: L,
}

/// Sends the greeting, loads a model on `engine` and serves until `reader` ends. Threads that still
/// run a chunk then are left behind: the caller ends the process.
///
/// # Errors
/// Errors of the pipes and of the confinement, and `InvalidData` if the parent breaks the protocol.
pub fn run(
    mut reader: impl Read,
    writer: impl Write + Send + 'static,
    engine: Engine<
        impl FnOnce(&LoadSpec) -> io::Result<()>,
        impl FnOnce(&LoadSpec) -> Result<Loaded, Failure> + Send + 'static,
    >,
) -> io::Result<()> {
    let Engine { backend, confine, load } = engine;
    let writer = EventWriter(Arc::new(Mutex::new(Box::new(writer))));
    writer.send(&Event::Hello {
        protocol: ipc::PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend,
    })?;
    let Some(frame) = ipc::read_frame(&mut reader)? else { return Ok(()) };
    let Frame::Control(Request::Load(spec)) = frame else {
        return Err(violation("the first request is not a load"));
    };
    process::open_memory_report();
    // Held until the end: in file systems such as 9p (WSL's), a file that nobody has open is another
    // one each time, to which no rule of the confinement applies. The load reports its errors.
    let _model = File::open(&spec.model);
    confine(&spec)?;

    let cancels = Cancels::default();
    let slot_cancels = cancels.clone();
    // Load concurrently with reading, so that the end of the input ends a load that hangs.
    let (queue, tasks) = mpsc::channel();
    let loader_writer = writer.clone();
    thread::Builder::new().name("load".to_owned()).spawn(move || {
        let served = load(&spec).and_then(|loaded| {
            serve(loaded, tasks, &slot_cancels, &loader_writer).map_err(|error| {
                let message = format!("the slots cannot be started: {error}");
                Failure::new(FailureKind::Engine, message)
            })
        });
        let sent = served.or_else(|failure| loader_writer.send(&Event::LoadFailed(failure)));
        if let Err(error) = sent {
            tracing::debug!("the parent reads no more: {error}");
        }
    })?;
    receive(&mut reader, &queue, &cancels)
}

fn violation(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A chunk with all of its samples.
struct ChunkTask {
    id: ChunkId,
    work: Work,
    samples: Vec<f32>,
    cancel: Arc<AtomicBool>,
}

/// The cancel flags of the unfinished chunks.
#[derive(Clone, Default)]
struct Cancels(Arc<Mutex<HashMap<ChunkId, Arc<AtomicBool>>>>);

impl Cancels {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChunkId, Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(reader: &mut impl Read, queue: &Sender<ChunkTask>, cancels: &Cancels) -> io::Result<()> {
    let mut incoming: HashMap<ChunkId, (ChunkTask, usize)> = HashMap::new();
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
                incoming.insert(id, (ChunkTask { id, work, samples: Vec::new(), cancel }, samples));
                id
            }
            Frame::Samples { id, mut samples } => {
                let Some((task, _)) = incoming.get_mut(&id) else {
                    return Err(violation("samples of an unknown chunk"));
                };
                task.samples.append(&mut samples);
                id
            }
        };
        if incoming.get(&id).is_some_and(|(task, expected)| task.samples.len() >= *expected)
            && let Some((task, _)) = incoming.remove(&id)
        {
            // The slots are gone only after a failed load, which has already been reported.
            let _ = queue.send(task);
        }
    }
    Ok(())
}

/// Reports the load and starts one thread per slot.
fn serve(
    loaded: Loaded,
    tasks: Receiver<ChunkTask>,
    cancels: &Cancels,
    writer: &EventWriter,
) -> io::Result<()> {
    let report = LoadReport {
        multilingual: loaded.multilingual,
        load_seconds: loaded.load_seconds,
        warm_up_seconds: loaded.warm_up_seconds,
        device_bytes: loaded.gpu.as_ref().map(|gpu| gpu.taken_bytes()),
        stats: stats(loaded.gpu.as_deref()),
    };
    let shared = Arc::new(Shared {
        tasks: Mutex::new(tasks),
        cancels: cancels.clone(),
        writer: writer.clone(),
        gpu: loaded.gpu,
    });
    for (slot, session) in loaded.sessions.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("slot-{slot}"))
            .spawn(move || run_slot(session, &shared))?;
    }
    writer.send(&Event::Loaded(report))
}

/// What the slots share.
struct Shared {
    tasks: Mutex<Receiver<ChunkTask>>,
    cancels: Cancels,
    writer: EventWriter,
    gpu: Option<Box<dyn GpuUsage>>,
}

fn run_slot(mut session: Box<dyn Session>, shared: &Shared) {
    loop {
        let next = shared.tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = next else { return };
        let id = task.id;
        let event = match run_task(session.as_mut(), task, &shared.writer) {
            Ok(inference_seconds) => {
                Event::Done { id, inference_seconds, stats: stats(shared.gpu.as_deref()) }
            }
            Err(failure) => Event::Failed { id, failure },
        };
        shared.cancels.lock().remove(&id);
        if shared.writer.send(&event).is_err() {
            return;
        }
    }
}

fn run_task(
    session: &mut dyn Session,
    task: ChunkTask,
    writer: &EventWriter,
) -> Result<f64, Failure> {
    let started = Instant::now();
    let id = task.id;
    match task.work {
        Work::Detect => {
            let probabilities = session.detect(&task.samples)?;
            writer.report(&Event::Languages { id, probabilities })?;
        }
        Work::Transcribe(options) => {
            // A broken pipe shows up again at the end of the chunk; until then there is no reader.
            session.transcribe(&task.samples, &options, &task.cancel, &mut |event| {
                let _ = writer.send(&match event {
                    SessionEvent::Progress => Event::Progress { id },
                    SessionEvent::Segment(segment) => Event::Segment { id, segment },
                });
            })?;
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The output to the parent, shared by the slots.
#[derive(Clone)]
struct EventWriter(Arc<Mutex<Box<dyn Write + Send>>>);

impl EventWriter {
    fn send(&self, event: &Event) -> io::Result<()> {
        let content = ipc::encode_control(event).map_err(io::Error::other)?;
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ipc::write_frame(&mut *writer, &content)
    }

    fn report(&self, event: &Event) -> Result<(), Failure> {
        self.send(event).map_err(|error| {
            Failure::new(FailureKind::Engine, format!("the answer cannot be sent: {error}"))
        })
    }
}

/// The state of this process and its GPU.
fn stats(gpu: Option<&dyn GpuUsage>) -> WorkerStats {
    WorkerStats {
        resident_bytes: process::resident_bytes(),
        device_free_bytes: gpu.map(GpuUsage::free_bytes),
        utilisation_percent: gpu.and_then(GpuUsage::utilisation_percent),
    }
}
