//! A real worker process on GPU 0 or on the CPU, and the work for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use auris_audio::{AudioStream, ChunkPolicy, Chunks, Limits};
use auris_core::ipc::{ChunkId, ChunkOptions, Event, LoadReport, LoadSpec, Work, WorkerStats};
use auris_core::language::Language;
use auris_models::{ModelFile, ModelStore};
use auris_scheduler::supervisor::{
    ExitKind, StartLimits, WorkerEvent, WorkerExit, WorkerHandle, WorkerProgram, start,
};
use serde_json::Value;
use tokio::sync::mpsc;

/// Samples of at most 30 s, mono at 16 kHz.
pub type Samples = Arc<[f32]>;

/// A worker process with a model loaded.
pub struct Worker {
    handle: WorkerHandle,
    events: mpsc::Receiver<WorkerEvent>,
    pub report: LoadReport,
    /// From the start of the process until it was ready.
    pub start_seconds: f64,
    slots: usize,
    next: ChunkId,
}

/// The results of some chunks.
pub struct Outcome {
    /// In the order of the chunks.
    pub texts: Vec<String>,
    /// From sending the first chunk to the end of the last one.
    pub wall_seconds: f64,
    /// What the worker reported after each chunk.
    pub stats: Vec<WorkerStats>,
}

impl Worker {
    /// Starts a worker with `slots` on GPU `gpu`, or on the CPU.
    pub async fn start(model: &Path, gpu: Option<u32>, slots: usize) -> Result<Self, WorkerExit> {
        let program = WorkerProgram {
            path: env!("CARGO_BIN_EXE_auris-worker").into(),
            arguments: Vec::new(),
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if gpu.is_some() { 1 } else { (threads / slots).max(1) };
        let spec = LoadSpec {
            model: model.into(),
            gpu_index: gpu,
            gpu_uuid: None,
            slots,
            threads,
            whole_windows: false,
        };
        let (sender, mut events) = mpsc::channel(16);
        let started = Instant::now();
        let handle = start(&program, spec, StartLimits::default(), sender, |event| event);
        match events.recv().await.unwrap() {
            WorkerEvent::Loaded(report) => {
                let start_seconds = started.elapsed().as_secs_f64();
                Ok(Self { handle, events, report, start_seconds, slots, next: 0 })
            }
            WorkerEvent::Ended(ending) => Err(ending),
            WorkerEvent::Chunk(event) => panic!("{event:?} before the model is loaded"),
        }
    }

    /// The same on GPU 0, which must be there.
    pub async fn on_gpu(model: &Path, slots: usize) -> Self {
        Self::start(model, Some(0), slots).await.unwrap_or_else(|ending| {
            panic!(
                "these tests need an NVIDIA GPU that the worker can use, but it reports: {} ({})",
                ending.detail, ending.kind
            )
        })
    }

    /// Transcribes `chunks` with every slot busy.
    pub async fn transcribe(&mut self, chunks: &[(Samples, Language)]) -> Outcome {
        let started = Instant::now();
        let first = self.next;
        let mut texts = vec![String::new(); chunks.len()];
        let mut stats = Vec::new();
        let mut waiting = chunks.iter();
        for (samples, language) in waiting.by_ref().take(self.slots) {
            self.send(samples, *language);
        }
        while stats.len() < chunks.len() {
            match self.events.recv().await.unwrap() {
                WorkerEvent::Chunk(Event::Segment { id, segment }) => {
                    texts[(id - first) as usize].push_str(&segment.text);
                }
                WorkerEvent::Chunk(Event::Done { stats: reported, .. }) => {
                    stats.push(reported);
                    if let Some((samples, language)) = waiting.next() {
                        self.send(samples, *language);
                    }
                }
                WorkerEvent::Chunk(Event::Progress { .. }) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        Outcome { texts, wall_seconds: started.elapsed().as_secs_f64(), stats }
    }

    /// Sends a chunk; a slot must be free.
    pub fn send(&mut self, samples: &Samples, language: Language) {
        let work = Work::Transcribe(ChunkOptions::new(language));
        self.handle.run(self.next, work, Arc::clone(samples));
        self.next += 1;
    }

    /// Waits for the first progress event of the chunk that was sent.
    pub async fn at_work(&mut self) {
        match self.events.recv().await.unwrap() {
            WorkerEvent::Chunk(Event::Progress { .. } | Event::Segment { .. }) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Waits for its exit.
    pub async fn end(mut self) -> WorkerExit {
        loop {
            if let WorkerEvent::Ended(ending) = self.events.recv().await.unwrap() {
                return ending;
            }
        }
    }

    /// Stops it, and waits until it is gone.
    pub async fn stop(self) {
        let Self { handle, mut events, .. } = self;
        drop(handle);
        while let Some(event) = events.recv().await {
            if let WorkerEvent::Ended(ending) = event {
                assert_eq!(ending.kind, ExitKind::Stopped, "{}", ending.detail);
            }
        }
    }
}

/// The worker processes of this process.
pub fn processes() -> BTreeSet<i32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}

/// The bundled model.
pub fn demo() -> PathBuf {
    repository("tests/fixtures/models/ggml-demo.bin")
}

/// The bundled model and the models in `AURIS_GPU_MODELS`.
pub fn models() -> Vec<ModelFile> {
    let named = std::env::var("AURIS_GPU_MODELS").unwrap_or_default();
    let named = named.split(',').filter(|name| !name.is_empty()).map(PathBuf::from);
    let store = ModelStore::new(repository("models"), Vec::new());
    std::iter::once(demo())
        .chain(named)
        .map(|path| {
            let model = store.resolve(path.to_str().unwrap());
            model.unwrap_or_else(|error| panic!("AURIS_GPU_MODELS: {error}"))
        })
        .collect()
}

/// The evaluation clips by name, each as chunks with their language.
pub fn clips() -> Vec<(String, Vec<(Samples, Language)>)> {
    let truth = fs::read(repository("tests/fixtures/eval/truth.json")).unwrap();
    let truth: serde_json::Map<String, Value> = serde_json::from_slice(&truth).unwrap();
    truth
        .iter()
        .map(|(name, truth)| {
            let language = Language::parse(truth["language"].as_str().unwrap()).unwrap();
            let file = fs::File::open(repository("tests/fixtures/eval").join(name)).unwrap();
            let stream = AudioStream::open(file, &Limits::default()).unwrap();
            let mut chunks = Chunks::new(stream, ChunkPolicy::default());
            let chunks = std::iter::from_fn(|| chunks.next_chunk().unwrap())
                .map(|chunk| (chunk.samples, language))
                .collect();
            (name.clone(), chunks)
        })
        .collect()
}

/// `count` chunks of speech, 20 s and longer.
pub fn long_chunks(count: usize) -> Vec<(Samples, Language)> {
    let long: Vec<_> = clips()
        .into_iter()
        .flat_map(|(_, chunks)| chunks)
        .filter(|(samples, _)| seconds(samples) >= 20.0)
        .collect();
    long.into_iter().cycle().take(count).collect()
}

/// The length of some samples in seconds.
pub fn seconds(samples: &Samples) -> f64 {
    samples.len() as f64 / 16_000.0
}

/// In millions of bytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Runs `work` and returns how long it took.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let result = work.await;
    (result, started.elapsed())
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
