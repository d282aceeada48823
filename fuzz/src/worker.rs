//! What a worker writes, read by the server's scheduler: a model file may have taken the worker over.

use std::sync::Arc;
use std::time::Duration;

use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::ipc::{
    ChunkOptions, Event, Frame, LoadReport, MAX_FRAME_BYTES, PROTOCOL_VERSION, Request, Work,
    WorkerStats, decode, encode_control,
};
use auris_core::language::Language;
use auris_scheduler::supervisor::WorkerProgram;
use auris_scheduler::{
    ChunkDone, ChunkRequest, DevicePlan, MemoryNeed, ModelPlan, Scheduler, Settings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

/// The most bytes that a worker writes here.
const MAX_BYTES: usize = 8 << 20;

/// Whatever a worker writes, it ends well: with a result that can be stored, or without. The lowest
/// bit of the first byte says whether the worker starts as it should, the next whether each line is
/// a message or all are bytes of any kind, and the others how often it writes them.
pub fn worker(data: &[u8]) {
    let [mode, output @ ..] = data else { return };
    let script = Script::new(*mode, output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let ended = async { tokio::time::timeout(Duration::from_secs(15), attend(script)).await };
    runtime.block_on(ended).expect("a worker's end is the end");
}

#[derive(Clone)]
struct Script {
    /// Whether it greets its server and loads its model.
    starts: bool,
    /// What it writes then.
    output: Arc<[u8]>,
    repeats: usize,
}

impl Script {
    fn new(mode: u8, output: &[u8]) -> Self {
        let output = match mode & 2 {
            0 => output.to_vec(),
            _ => output.split(|byte| *byte == b'\n').flat_map(frame).collect(),
        };
        let repeats = (1 << (mode >> 2)).min(MAX_BYTES / (output.len() + 256));
        Self { starts: mode & 1 == 1, output: output.into(), repeats }
    }
}

/// A frame with a control message.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = message.len() as u32 + 1;
    [&length.to_be_bytes()[..], &[0], message].concat()
}

async fn attend(script: Script) {
    let ended = Arc::new(Notify::new());
    let end = Arc::clone(&ended);
    let scheduler = Scheduler::start_on_pipes(Settings::default(), move || {
        let (server, worker) = tokio::io::duplex(64 << 10);
        let (script, end) = (script.clone(), Arc::clone(&end));
        tokio::spawn(async move {
            // The server has closed its side if this fails.
            let _ = write(script, worker).await;
            end.notify_one();
        });
        server
    });
    scheduler.add_devices(vec![device()]);
    scheduler.add_models(vec![model()]);
    let ticket = scheduler.admit("fuzz".into()).await.expect("there is room");
    ticket.measure(1.0).await.expect("there is room");
    let mut chunk = std::pin::pin!(ticket.run(chunk()));
    let result = tokio::select! {
        biased;
        result = &mut chunk => {
            ended.notified().await;
            Some(result)
        }
        () = ended.notified() => None,
    };
    if let Some(Ok(done)) = result {
        check(&done);
    }
    // The server has read all.
    scheduler.snapshot().await.expect("the scheduler goes on");
}

/// What is stored of a chunk can be read again.
fn check(done: &ChunkDone) {
    let stored = serde_json::to_string(done).expect("it can be stored");
    let read = serde_json::from_str::<ChunkDone>(&stored);
    assert!(read.is_ok(), "{read:?}");
}

/// Writes the script's output once a chunk has been sent to it, or at once.
async fn write(script: Script, mut pipe: DuplexStream) -> std::io::Result<()> {
    if script.starts {
        let (version, backend) = (String::new(), Backend::Cpu);
        send(&mut pipe, &Event::Hello { protocol: PROTOCOL_VERSION, version, backend }).await?;
        while !is_run(&mut pipe).await? {
            send(&mut pipe, &Event::Loaded(report())).await?;
        }
    }
    for _ in 0..script.repeats {
        pipe.write_all(&script.output).await?;
    }
    Ok(())
}

async fn send(pipe: &mut DuplexStream, event: &Event) -> std::io::Result<()> {
    let content = encode_control(event).map_err(std::io::Error::other)?;
    pipe.write_all(&frame(&content[1..])).await
}

/// Reads a request, and returns whether it is to run a chunk.
async fn is_run(pipe: &mut DuplexStream) -> std::io::Result<bool> {
    let length = pipe.read_u32().await? as usize;
    assert!(length <= MAX_FRAME_BYTES, "a request of {length} bytes");
    let mut content = vec![0; length];
    pipe.read_exact(&mut content).await?;
    let request = decode::<Request>(&content).expect("the server sends requests");
    Ok(matches!(request, Frame::Control(Request::Run { .. })))
}

fn report() -> LoadReport {
    LoadReport {
        multilingual: true,
        load_seconds: 0.1,
        warm_up_seconds: 0.1,
        device_bytes: None,
        stats: WorkerStats::default(),
    }
}

fn device() -> DevicePlan {
    let info = DeviceInfo {
        id: DeviceId::cpu(),
        backend: Backend::Cpu,
        name: String::new(),
        memory_total_bytes: 0,
        memory_free_bytes: 0,
        index: None,
        uuid: None,
        compute_capability: None,
    };
    let program = WorkerProgram { path: "worker".into(), arguments: Vec::new() };
    DevicePlan { info, program, slots: 1, threads: 1, warm: true }
}

fn model() -> ModelPlan {
    ModelPlan {
        name: "model".to_owned(),
        file: "model.bin".into(),
        need: MemoryNeed { weights_bytes: 0, state_bytes: 0 },
        whole_windows: false,
        variants: Vec::new(),
    }
}

fn chunk() -> ChunkRequest {
    ChunkRequest {
        model: "model".to_owned(),
        work: Work::Transcribe(ChunkOptions::new(Language::ENGLISH)),
        samples: vec![0.0; 1600].into(),
        stands_in: None,
    }
}
