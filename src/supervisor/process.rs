//! One worker process: start, handshake, frames both ways, end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::ending::{EndKind, Ending, diagnose};
use crate::ipc::{self, ChunkId, Event, FailureKind, Frame, LoadReport, LoadSpec, Request, Work};

/// How many of the last lines of stderr are kept for the diagnosis.
const STDERR_LINES: usize = 20;

/// How long a worker that was asked to end may take.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long a killed worker is waited for.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// What is started as a worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// How long the steps of a start may take.
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

/// What a worker tells its owner, in this order: `Loaded` at most once, chunk events, `Ended`
/// exactly once and last.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The model is loaded; chunks may be sent.
    Loaded(LoadReport),
    /// One of the chunk events of [`Event`].
    Chunk(Event),
    /// The process is gone.
    Ended(Ending),
}

/// The owner's end of a worker. Dropping it closes the worker's input, which ends it.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: mpsc::UnboundedSender<ToWorker>,
}

/// What the owner of a [`WorkerHandle`] wants done.
#[derive(Debug)]
pub(crate) enum ToWorker {
    /// Run a chunk.
    Run {
        /// Its number.
        id: ChunkId,
        /// What to do.
        work: Work,
        /// Mono f32 at 16 kHz.
        samples: Arc<[f32]>,
    },
    /// Nobody wants the chunk any more.
    Cancel {
        /// Its number.
        id: ChunkId,
    },
    /// End the worker by force.
    Kill {
        /// Why.
        reason: String,
    },
}

impl WorkerHandle {
    /// A handle, and the end at which its wishes arrive: a process's driver, or a simulation.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<ToWorker>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        (Self { commands }, receiver)
    }

    /// Sends a chunk (mono f32 at 16 kHz). The worker must have a free slot.
    pub fn run(&self, id: ChunkId, work: Work, samples: Arc<[f32]>) {
        self.send(ToWorker::Run { id, work, samples });
    }

    /// Tells the worker that nobody wants the chunk any more.
    pub fn cancel(&self, id: ChunkId) {
        self.send(ToWorker::Cancel { id });
    }

    /// Kills the worker because it makes no progress.
    pub fn kill(&self, reason: String) {
        self.send(ToWorker::Kill { reason });
    }

    fn send(&self, command: ToWorker) {
        // The worker may just have ended; its `Ended` event is on the way.
        let _ = self.commands.send(command);
    }
}

/// Starts a worker. Its events go to `events`, each through `wrap`, until its end.
pub fn start<T: Send + 'static>(
    program: &WorkerProgram,
    spec: LoadSpec,
    limits: StartLimits,
    events: mpsc::UnboundedSender<T>,
    wrap: impl Fn(WorkerEvent) -> T + Send + Sync + 'static,
) -> WorkerHandle {
    let (handle, receiver) = WorkerHandle::channel();
    let program = program.clone();
    tokio::spawn(async move {
        // The owner may be gone; then there is nobody to tell.
        let tell = |event| drop(events.send(wrap(event)));
        let ending = match spawn(&program) {
            Ok(child) => drive(child, spec, limits, receiver, &tell).await,
            Err(error) => Ending {
                kind: EndKind::NotStarted,
                detail: format!("{} cannot be started: {error}", program.path.display()),
            },
        };
        tell(WorkerEvent::Ended(ending));
    });
    handle
}

fn spawn(program: &WorkerProgram) -> io::Result<Child> {
    Command::new(&program.path)
        .args(&program.arguments)
        .env("GGML_NO_BACKTRACE", "1") // ggml would start a debugger to print one
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0) // Ctrl-C is for the server, which still needs its workers to drain
        .kill_on_drop(true)
        .spawn()
}

/// Sees a worker through to its end.
async fn drive(
    mut child: Child,
    spec: LoadSpec,
    limits: StartLimits,
    commands: mpsc::UnboundedReceiver<ToWorker>,
    tell: &(impl Fn(WorkerEvent) + Sync),
) -> Ending {
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        let detail = "the worker's pipes are missing".to_owned();
        return Ending { kind: EndKind::NotStarted, detail };
    };
    let last_words = tokio::spawn(collect_stderr(stderr));
    let verdict = converse(stdin, stdout, spec, limits, commands, tell).await;

    // Whatever ended the conversation, the process must be gone before anything is reported.
    // One that stopped on its own or was asked to is given time to do so.
    let own_end = matches!(verdict.kind, EndKind::Exited | EndKind::Stopped);
    if !own_end || timeout(STOP_GRACE, child.wait()).await.is_err() {
        let _ = child.start_kill();
    }
    // A process in an uninterruptible call of a driver survives even SIGKILL for a while; its
    // chunks must not wait for it.
    let Ok(status) = timeout(REAP_LIMIT, child.wait()).await else {
        tracing::error!("a killed worker does not end; it is left to the system");
        tokio::spawn(async move { child.wait().await });
        return verdict;
    };
    let stderr = timeout(STOP_GRACE, last_words).await;
    let stderr = stderr.ok().and_then(Result::ok).unwrap_or_default();
    match (verdict.kind, status) {
        (EndKind::Exited, Ok(status)) => diagnose(status, &stderr),
        _ => verdict,
    }
}

/// Talks to the worker until one side ends it. The kind is `Exited` when the worker closed its
/// end, of which its exit status tells more.
async fn converse(
    stdin: ChildStdin,
    stdout: ChildStdout,
    spec: LoadSpec,
    limits: StartLimits,
    mut commands: mpsc::UnboundedReceiver<ToWorker>,
    tell: &(impl Fn(WorkerEvent) + Sync),
) -> Ending {
    let codec =
        || LengthDelimitedCodec::builder().max_frame_length(ipc::MAX_FRAME_BYTES).new_codec();
    let mut events = Events(FramedRead::new(stdout, codec()));
    let mut frames = FramedWrite::new(stdin, codec());

    let Ok(greeting) = timeout(limits.greeting, events.next()).await else {
        let detail = format!("the worker did not greet within {:?}", limits.greeting);
        return Ending { kind: EndKind::StartTimeout, detail };
    };
    match greeting {
        Ok(Event::Hello { protocol: ipc::PROTOCOL_VERSION, .. }) => {}
        Ok(Event::Hello { protocol, version, .. }) => {
            let detail = format!(
                "the worker is auris {version} with protocol {protocol}, this server speaks \
                 {}: install both from the same release",
                ipc::PROTOCOL_VERSION
            );
            return Ending { kind: EndKind::Protocol, detail };
        }
        Ok(other) => return protocol_error(&format!("{other:?} instead of a greeting")),
        Err(ending) => return ending,
    }

    // Writing beside reading: a worker that is busy telling must not block on being told.
    let (writes, mut queued) = mpsc::unbounded_channel::<Outgoing>();
    tokio::spawn(async move {
        while let Some(outgoing) = queued.recv().await {
            // One that ended is seen by the reading side.
            if outgoing.send(&mut frames).await.is_err() {
                return;
            }
        }
    });
    let write = |request, samples| drop(writes.send(Outgoing { request, samples }));

    write(Request::Load(spec), None);
    match timeout(limits.load, load(&mut events, &mut commands)).await {
        Ok(Ok(report)) => tell(WorkerEvent::Loaded(report)),
        Ok(Err(ending)) => return ending,
        Err(_) => {
            let detail = format!("the model was not loaded within {:?}", limits.load);
            return Ending { kind: EndKind::StartTimeout, detail };
        }
    }
    loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(event) => tell(WorkerEvent::Chunk(event)),
                Err(ending) => return ending,
            },
            command = commands.recv() => match command {
                Some(ToWorker::Run { id, work, samples }) => {
                    let request = Request::Run { id, samples: samples.len(), work };
                    write(request, Some((id, samples)));
                }
                Some(ToWorker::Cancel { id }) => write(Request::Cancel { id }, None),
                Some(ToWorker::Kill { reason }) => {
                    return Ending { kind: EndKind::Stalled, detail: reason };
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
    /// Sends it frame by frame, so that no second copy of the samples exists as a whole.
    async fn send(
        &self,
        frames: &mut FramedWrite<ChildStdin, LengthDelimitedCodec>,
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

/// Waits for the model, unless the owner loses interest.
async fn load(
    events: &mut Events,
    commands: &mut mpsc::UnboundedReceiver<ToWorker>,
) -> Result<LoadReport, Ending> {
    let event = tokio::select! {
        event = events.next() => event?,
        command = commands.recv() => return Err(match command {
            Some(ToWorker::Kill { reason }) => Ending { kind: EndKind::Stalled, detail: reason },
            _ => stopped(),
        }),
    };
    match event {
        Event::Loaded(report) => Ok(report),
        Event::LoadFailed(failure) => {
            let kind = match failure.kind {
                FailureKind::BadModel => EndKind::BadModel,
                FailureKind::OutOfMemory => EndKind::OutOfMemory,
                FailureKind::WrongDevice => EndKind::WrongDevice,
                FailureKind::Cancelled | FailureKind::Engine => EndKind::LoadFailed,
            };
            Err(Ending { kind, detail: failure.message })
        }
        other => Err(protocol_error(&format!("{other:?} instead of a loaded model"))),
    }
}

fn stopped() -> Ending {
    Ending { kind: EndKind::Stopped, detail: "the worker was asked to end".to_owned() }
}

fn protocol_error(found: &str) -> Ending {
    let found: String = found.chars().take(120).collect();
    Ending { kind: EndKind::Protocol, detail: format!("the worker sent {found}") }
}

/// The worker's side of the conversation.
struct Events(FramedRead<ChildStdout, LengthDelimitedCodec>);

impl Events {
    /// The next event; the end of the stream and what is no event are endings.
    async fn next(&mut self) -> Result<Event, Ending> {
        match self.0.next().await {
            Some(Ok(content)) => match ipc::decode(&content) {
                Ok(Frame::Control(event)) => Ok(event),
                Ok(Frame::Samples { .. }) => Err(protocol_error("samples")),
                Err(error) => Err(protocol_error(&error.to_string())),
            },
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(protocol_error("something that is not a frame"))
            }
            Some(Err(_)) | None => {
                let detail = "the worker closed its output".to_owned();
                Err(Ending { kind: EndKind::Exited, detail })
            }
        }
    }
}

/// Passes stderr on to the log, and returns its last lines when it ends.
pub(super) async fn collect_stderr(stderr: ChildStderr) -> Vec<String> {
    let mut last = VecDeque::with_capacity(STDERR_LINES);
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        tracing::debug!(target: "auris::worker", "{line}");
        if last.len() == STDERR_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}
