//! One worker process: start, handshake, frames in both directions, exit.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, DuplexStream};
use tokio::process::{Child, ChildStderr};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::exit::{ExitKind, WorkerExit, diagnose};
use auris_core::ipc::{
    self, ChunkId, Event, FailureKind, Frame, LoadReport, LoadSpec, Request, Work,
};

/// The last lines of stderr that are kept for the diagnosis.
const STDERR_LINES: usize = 20;

/// How long a worker may take to exit after its input was closed.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the exit of a killed worker.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// The program that is started as a worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Time limits for the steps of a start.
#[derive(Debug, Clone, Copy)]
pub struct StartLimits {
    /// From the start to the greeting.
    pub greeting: Duration,
    /// From the greeting to the loaded and warmed-up model.
    pub load: Duration,
}

impl Default for StartLimits {
    fn default() -> Self {
        Self { greeting: Duration::from_secs(15), load: Duration::from_secs(600) }
    }
}

/// The events of a worker, in this order: `Loaded` at most once, chunk events, and finally `Ended`
/// exactly once.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The model is loaded; chunks may be sent.
    Loaded(LoadReport),
    /// One of the chunk events of [`Event`].
    Chunk(Event),
    Ended(WorkerExit),
}

/// The owner's handle to a worker. Dropping it closes the worker's input, which ends the worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Unbounded, but short: the owner sends chunks to free slots only, and cancels each once.
    commands: mpsc::UnboundedSender<ToWorker>,
}

/// Commands from the owner of a [`WorkerHandle`].
#[derive(Debug)]
pub(crate) enum ToWorker {
    Run {
        id: ChunkId,
        work: Work,
        /// Mono f32 at 16 kHz.
        samples: Arc<[f32]>,
    },
    /// The chunk is no longer needed.
    Cancel {
        id: ChunkId,
    },
    Kill {
        reason: String,
    },
}

impl WorkerHandle {
    /// Returns a handle and the receiver of its commands, which a process's driver or a simulation
    /// uses.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<ToWorker>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        (Self { commands }, receiver)
    }

    /// Sends a chunk (mono f32 at 16 kHz). The worker must have a free slot.
    pub fn run(&self, id: ChunkId, work: Work, samples: Arc<[f32]>) {
        self.send(ToWorker::Run { id, work, samples });
    }

    /// Cancels a chunk that is no longer needed.
    pub fn cancel(&self, id: ChunkId) {
        self.send(ToWorker::Cancel { id });
    }

    /// Kills the worker because it makes no progress.
    pub fn kill(&self, reason: String) {
        self.send(ToWorker::Kill { reason });
    }

    fn send(&self, command: ToWorker) {
        // The worker may just have exited; its `Ended` event is on the way.
        let _ = self.commands.send(command);
    }
}

/// Starts a worker. Sends its events to `events`, each passed through `wrap`, until it exits. A
/// worker whose events are not received waits.
pub fn start<T: Send + 'static>(
    program: &WorkerProgram,
    spec: LoadSpec,
    limits: StartLimits,
    events: mpsc::Sender<T>,
    wrap: impl Fn(WorkerEvent) -> T + Send + Sync + 'static,
) -> WorkerHandle {
    let (handle, receiver) = WorkerHandle::channel();
    let program = program.clone();
    tokio::spawn(async move {
        let reporter = Reporter { events, wrap };
        let exit = match program.command().spawn() {
            Ok(child) => drive(child, spec, limits, receiver, &reporter).await,
            Err(error) => {
                let detail = format!("{} cannot be started: {error}", program.path.display());
                WorkerExit::new(ExitKind::NotStarted, detail)
            }
        };
        reporter.send(WorkerEvent::Ended(exit)).await;
    });
    handle
}

struct Reporter<T, F> {
    events: mpsc::Sender<T>,
    wrap: F,
}

impl<T, F: Fn(WorkerEvent) -> T> Reporter<T, F> {
    /// Drops the event if the owner is gone.
    async fn send(&self, event: WorkerEvent) {
        let _ = self.events.send((self.wrap)(event)).await;
    }
}

async fn drive<T>(
    mut child: Child,
    spec: LoadSpec,
    limits: StartLimits,
    commands: mpsc::UnboundedReceiver<ToWorker>,
    reporter: &Reporter<T, impl Fn(WorkerEvent) -> T>,
) -> WorkerExit {
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return WorkerExit::new(ExitKind::NotStarted, "the worker's pipes are missing");
    };
    let stderr_tail = tokio::spawn(collect_stderr(stderr));
    let exit = run_protocol(stdin, stdout, spec, limits, commands, reporter).await;

    // However the protocol ended, the process must be gone before anything is reported. A worker
    // that exited on its own or was stopped gets time to do so.
    let own_end = matches!(exit.kind, ExitKind::Exited | ExitKind::Stopped);
    if !own_end || timeout(STOP_GRACE, child.wait()).await.is_err() {
        let _ = child.start_kill();
    }
    // A process in an uninterruptible driver call survives even SIGKILL for a while; its chunks
    // must not wait for it.
    let Ok(status) = timeout(REAP_LIMIT, child.wait()).await else {
        tracing::error!("a killed worker does not end; it is left to the system");
        tokio::spawn(async move { child.wait().await });
        return exit;
    };
    let stderr = timeout(STOP_GRACE, stderr_tail).await;
    let stderr = stderr.ok().and_then(Result::ok).unwrap_or_default();
    match (exit.kind, status) {
        (ExitKind::Exited, Ok(status)) => diagnose(status, &stderr),
        _ => exit,
    }
}

/// Runs the protocol on pipes without a process behind them, for fuzzing.
pub(crate) fn start_on_pipes<T: Send + 'static>(
    pipes: DuplexStream,
    spec: LoadSpec,
    limits: StartLimits,
    events: mpsc::Sender<T>,
    wrap: impl Fn(WorkerEvent) -> T + Send + Sync + 'static,
) -> WorkerHandle {
    let (handle, receiver) = WorkerHandle::channel();
    let (stdout, stdin) = tokio::io::split(pipes);
    let reporter = Reporter { events, wrap };
    tokio::spawn(async move {
        let exit = run_protocol(stdin, stdout, spec, limits, receiver, &reporter).await;
        reporter.send(WorkerEvent::Ended(exit)).await;
    });
    handle
}

/// Runs the protocol until one side ends the connection. Returns the kind `Exited` if the worker
/// closed its end; its exit status then has the details.
async fn run_protocol<T>(
    stdin: impl AsyncWrite + Unpin + Send + 'static,
    stdout: impl AsyncRead + Unpin,
    spec: LoadSpec,
    limits: StartLimits,
    mut commands: mpsc::UnboundedReceiver<ToWorker>,
    reporter: &Reporter<T, impl Fn(WorkerEvent) -> T>,
) -> WorkerExit {
    let codec =
        || LengthDelimitedCodec::builder().max_frame_length(ipc::MAX_FRAME_BYTES).new_codec();
    let mut events = Events(FramedRead::new(stdout, codec()));
    let mut frames = FramedWrite::new(stdin, codec());

    let Ok(greeting) = timeout(limits.greeting, events.next()).await else {
        let detail = format!("the worker did not greet within {:?}", limits.greeting);
        return WorkerExit::new(ExitKind::StartTimeout, detail);
    };
    match greeting {
        Ok(Event::Hello { protocol: ipc::PROTOCOL_VERSION, .. }) => {}
        Ok(Event::Hello { protocol, version, .. }) => {
            let detail = format!(
                "the worker is auris {version} with protocol {protocol}, this server speaks \
                 {}: install both from the same release",
                ipc::PROTOCOL_VERSION
            );
            return WorkerExit::new(ExitKind::Protocol, detail);
        }
        Ok(other) => return protocol_error(&format!("{other:?} instead of a greeting")),
        Err(exit) => return exit,
    }

    // Write in a separate task: both sides must not block on full pipes at the same time. The queue
    // is as short as that of the commands.
    let (writes, mut queued) = mpsc::unbounded_channel::<Outgoing>();
    tokio::spawn(async move {
        while let Some(outgoing) = queued.recv().await {
            // The reading side notices a worker that has exited.
            if outgoing.send(&mut frames).await.is_err() {
                return;
            }
        }
    });
    let write = |request, samples| drop(writes.send(Outgoing { request, samples }));

    write(Request::Load(spec), None);
    match timeout(limits.load, load(&mut events, &mut commands)).await {
        Ok(Ok(loaded)) => reporter.send(WorkerEvent::Loaded(loaded)).await,
        Ok(Err(exit)) => return exit,
        Err(_) => {
            let detail = format!("the model was not loaded within {:?}", limits.load);
            return WorkerExit::new(ExitKind::StartTimeout, detail);
        }
    }
    loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(event) => reporter.send(WorkerEvent::Chunk(event)).await,
                Err(exit) => return exit,
            },
            command = commands.recv() => match command {
                Some(ToWorker::Run { id, work, samples }) => {
                    let request = Request::Run { id, samples: samples.len(), work };
                    write(request, Some((id, samples)));
                }
                Some(ToWorker::Cancel { id }) => write(Request::Cancel { id }, None),
                Some(ToWorker::Kill { reason }) => {
                    return WorkerExit::new(ExitKind::Stalled, reason);
                }
                None => return stopped(),
            },
        }
    }
}

/// A request and the samples that follow it.
struct Outgoing {
    request: Request,
    samples: Option<(ChunkId, Arc<[f32]>)>,
}

impl Outgoing {
    /// Sends it frame by frame, to avoid a second complete copy of the samples.
    async fn send(
        &self,
        frames: &mut FramedWrite<impl AsyncWrite + Unpin, LengthDelimitedCodec>,
    ) -> io::Result<()> {
        frames.send(ipc::encode_control(&self.request).map_err(io::Error::other)?).await?;
        if let Some((id, samples)) = &self.samples {
            for frame in ipc::encode_samples(*id, samples) {
                frames.send(frame).await?;
            }
        }
        Ok(())
    }
}

/// Waits for the model to load, or until the owner drops the handle.
async fn load(
    events: &mut Events<impl AsyncRead + Unpin>,
    commands: &mut mpsc::UnboundedReceiver<ToWorker>,
) -> Result<LoadReport, WorkerExit> {
    let event = tokio::select! {
        event = events.next() => event?,
        command = commands.recv() => return Err(match command {
            Some(ToWorker::Kill { reason }) => WorkerExit::new(ExitKind::Stalled, reason),
            _ => stopped(),
        }),
    };
    match event {
        Event::Loaded(report) => Ok(report),
        Event::LoadFailed(failure) => {
            let kind = match failure.kind {
                FailureKind::BadModel => ExitKind::BadModel,
                FailureKind::OutOfMemory => ExitKind::OutOfMemory,
                FailureKind::WrongDevice => ExitKind::WrongDevice,
                FailureKind::Cancelled | FailureKind::Engine => ExitKind::LoadFailed,
            };
            Err(WorkerExit::new(kind, failure.message))
        }
        other => Err(protocol_error(&format!("{other:?} instead of a loaded model"))),
    }
}

fn stopped() -> WorkerExit {
    WorkerExit::new(ExitKind::Stopped, "the worker was stopped")
}

fn protocol_error(found: &str) -> WorkerExit {
    let found: String = found.chars().take(120).collect();
    WorkerExit::new(ExitKind::Protocol, format!("the worker sent {found}"))
}

struct Events<R>(FramedRead<R, LengthDelimitedCodec>);

impl<R: AsyncRead + Unpin> Events<R> {
    /// Returns the next event. The end of the stream and anything that is not an event are exits.
    async fn next(&mut self) -> Result<Event, WorkerExit> {
        match self.0.next().await {
            Some(Ok(content)) => match ipc::decode(&content) {
                Ok(Frame::Control::<Event>(event)) if !event.is_finite() => {
                    Err(protocol_error("a number that is not finite"))
                }
                Ok(Frame::Control(event)) => Ok(event),
                Ok(Frame::Samples { .. }) => Err(protocol_error("samples")),
                Err(error) => Err(protocol_error(&error.to_string())),
            },
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(protocol_error("something that is not a frame"))
            }
            Some(Err(_)) | None => {
                Err(WorkerExit::new(ExitKind::Exited, "the worker closed its output"))
            }
        }
    }
}

/// Forwards stderr to the log, and returns its last lines when it ends.
pub(super) async fn collect_stderr(stderr: ChildStderr) -> Vec<String> {
    let mut last = VecDeque::with_capacity(STDERR_LINES);
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        tracing::debug!(target: "auris_worker", "{line}");
        if last.len() == STDERR_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}
