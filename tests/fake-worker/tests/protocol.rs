//! The worker's loop, tested in memory and over pipes, with the fake engine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::path::Path;
use std::thread;

use auris_core::device::Backend;
use auris_core::ipc::{
    self, ChunkId, ChunkOptions, Event, FailureKind, Frame, LoadSpec, Request, Work,
};
use auris_core::language::Language;
use auris_fake_worker::{Script, load, text_of};
use auris_worker::Engine;

/// Runs a worker's loop until its input ends.
fn run(reader: impl Read, writer: impl Write + Send + 'static, script: Script) -> io::Result<()> {
    let load = move |spec: &_| load(&script, spec);
    let engine = Engine { backend: Backend::Cpu, confine: |_: &_| Ok(()), load };
    auris_worker::run(reader, writer, engine)
}

fn load_request(model: &Path, slots: usize) -> Request {
    Request::Load(LoadSpec {
        model: model.into(),
        gpu_index: None,
        gpu_uuid: None,
        slots,
        threads: 1,
        whole_windows: false,
    })
}

struct Harness {
    requests: PipeWriter,
    events: PipeReader,
}

impl Harness {
    /// Starts the loop on a thread, checks the greeting and loads with `slots`.
    fn start(script: &str, slots: usize) -> Self {
        let mut harness = Self::greeted(script);
        harness.send(&load_request(Path::new("none"), slots));
        harness
    }

    fn greeted(script: &str) -> Self {
        let (request_reader, requests) = pipe().unwrap();
        let (events, event_writer) = pipe().unwrap();
        let script = script.parse().unwrap();
        thread::spawn(move || run(request_reader, event_writer, script));
        let mut harness = Self { requests, events };
        let hello = harness.next();
        assert!(matches!(hello, Event::Hello { protocol: ipc::PROTOCOL_VERSION, .. }), "{hello:?}");
        harness
    }

    fn send(&mut self, request: &Request) {
        let content = ipc::encode_control(request).unwrap();
        ipc::write_frame(&mut self.requests, &content).unwrap();
    }

    fn run(&mut self, id: ChunkId, samples: &[f32]) {
        let work = Work::Transcribe(ChunkOptions::new(Language::ENGLISH));
        self.send(&Request::Run { id, samples: samples.len(), work });
        for content in ipc::encode_samples(id, samples) {
            ipc::write_frame(&mut self.requests, &content).unwrap();
        }
    }

    /// The next event that is not progress.
    fn next(&mut self) -> Event {
        loop {
            match ipc::read_frame(&mut self.events).unwrap() {
                Some(Frame::Control(Event::Progress { .. })) => {}
                Some(Frame::Control(event)) => return event,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

/// On some file systems it would be another file otherwise, which the confinement does not know.
#[test]
fn the_model_stays_open_as_long_as_the_worker_runs() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::write(&model, "").unwrap();
    let is_open = |model: &Path| {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        descriptors
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|file| file == model)
    };
    let mut harness = Harness::greeted("none");
    assert!(!is_open(&model));
    harness.send(&load_request(&model, 1));
    let loaded = harness.next();
    assert!(matches!(loaded, Event::Loaded(_)), "{loaded:?}");
    assert!(is_open(&model));
}

#[test]
fn what_cannot_be_confined_ends() {
    let (reader, mut requests) = pipe().unwrap();
    let content = ipc::encode_control(&load_request(Path::new("none"), 1)).unwrap();
    ipc::write_frame(&mut requests, &content).unwrap();
    let confine = |_: &_| Err(io::ErrorKind::OutOfMemory.into());
    let load = |_: &LoadSpec| -> Result<_, _> { panic!("it loads its model") };
    let engine = Engine { backend: Backend::Cpu, confine, load };
    let error = auris_worker::run(reader, Vec::new(), engine).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
}

#[test]
fn two_chunks_run_at_once_and_each_gets_its_own_text() {
    let mut worker = Harness::start("none,speed=20", 2);
    assert!(matches!(worker.next(), Event::Loaded(_)));
    let (first, second) = (vec![0.25; 16_000], vec![0.5; 8_000]);
    worker.run(1, &first);
    worker.run(2, &second);
    let mut texts = HashMap::new();
    let mut done = Vec::new();
    while done.len() < 2 {
        match worker.next() {
            Event::Segment { id, segment } => {
                texts.insert(id, segment.text);
            }
            Event::Done { id, .. } => done.push(id),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(done, [2, 1], "the short chunk overtakes the long one on a slot of its own");
    assert_eq!(texts[&1], text_of(&first));
    assert_eq!(texts[&2], text_of(&second));
}

#[test]
fn a_cancelled_chunk_ends_as_cancelled() {
    let mut worker = Harness::start("none,speed=0.001", 1);
    assert!(matches!(worker.next(), Event::Loaded(_)));
    worker.run(1, &[0.0; 16_000]);
    worker.send(&Request::Cancel { id: 1 });
    let event = worker.next();
    assert!(
        matches!(&event, Event::Failed { id: 1, failure } if failure.kind == FailureKind::Cancelled),
        "{event:?}"
    );
}

#[test]
fn a_failed_chunk_leaves_the_slot_working() {
    let mut worker = Harness::start("error,chunk=1", 1);
    assert!(matches!(worker.next(), Event::Loaded(_)));
    worker.run(1, &[0.0; 100]);
    assert!(matches!(worker.next(), Event::Failed { id: 1, .. }));
    worker.run(2, &[0.0; 100]);
    assert!(matches!(worker.next(), Event::Segment { id: 2, .. }));
    assert!(matches!(worker.next(), Event::Done { id: 2, .. }));
}

#[test]
fn a_bad_model_is_reported() {
    let mut worker = Harness::start("load-bad", 1);
    let event = worker.next();
    assert!(
        matches!(&event, Event::LoadFailed(failure) if failure.kind == FailureKind::BadModel),
        "{event:?}"
    );
}

#[test]
fn the_end_of_the_input_ends_the_loop_even_while_a_load_hangs() {
    let (request_reader, mut requests) = pipe().unwrap();
    let (events, event_writer) = pipe().unwrap();
    let script = "load-hang".parse().unwrap();
    let worker = thread::spawn(move || run(request_reader, event_writer, script));
    let content = ipc::encode_control(&load_request(Path::new("none"), 1)).unwrap();
    ipc::write_frame(&mut requests, &content).unwrap();
    drop(requests);
    assert!(worker.join().unwrap().is_ok());
    drop(events);
}
