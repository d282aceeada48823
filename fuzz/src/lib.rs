//! What is checked of any bytes: a function for each target. `tests/it/seeds.rs` runs the seeds
//! through them on a stable compiler.

mod fields;
mod worker;

pub use fields::fields;
pub use worker::worker;

use std::fs::File;
use std::io::{Seek, Write};
use std::time::Duration;

use auris::http::{UploadSettings, receive_form};
use auris_audio::{AudioError, AudioStream, ChunkPolicy, Chunks, Limits};
use auris_core::ipc::{Event, Frame, Request, decode as decode_frame, encode_control, read_frame};
use auris_core::language::Language;
use auris_core::recording::TranscribedParts;
use auris_core::transcript::{Segment, Task, Transcript};
use auris_format::{CueRules, Format, Granularities, Rendering, render};
use srtlib::Subtitles;
use subtp::vtt::{VttBlock, WebVtt};

/// Any file is opened or refused.
pub fn open(data: &[u8]) {
    match AudioStream::open(file_of(data), &limits()) {
        Ok(stream) => {
            let info = stream.info();
            assert!(limits().sample_rates_hz.contains(&info.sample_rate_hz), "{info:?}");
            assert!((1..=limits().max_channels).contains(&info.channels), "{info:?}");
        }
        Err(error) => assert!(!matches!(error, AudioError::Io(_)), "{error}"),
    }
}

/// Any file gives clean chunks in a row, no more than is allowed, and with the silence between them
/// all that was decoded.
pub fn decode(data: &[u8]) {
    let Ok(stream) = AudioStream::open(file_of(data), &limits()) else { return };
    let policy = ChunkPolicy {
        max: Duration::from_secs(2),
        min: Duration::from_secs(1),
        ..ChunkPolicy::default()
    };
    let mut chunks = Chunks::new(stream, policy);
    let (mut end, mut parts) = (0, 0);
    loop {
        match chunks.next_chunk() {
            Ok(Some(chunk)) => {
                assert!(chunk.duration() <= policy.max && !chunk.samples.is_empty());
                assert!(chunk.start_sample >= end, "chunks follow each other");
                assert!(chunk.samples.iter().all(|sample| (-1.0..=1.0).contains(sample)));
                end = chunk.start_sample + chunk.samples.len() as u64;
                parts += chunk.samples.len() as u64;
            }
            Ok(None) => {
                assert_eq!(parts + chunks.silent_samples(), chunks.decoded_samples());
                return;
            }
            Err(AudioError::Io(error)) => panic!("{error}"),
            Err(_) => return,
        }
    }
}

/// Any form is received or refused. The first line is its content type.
pub fn form(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (content_type, body) = (&data[..line], data[(line + 1).min(data.len())..].to_vec());
    let request = axum::extract::Request::post("/").header("content-type", content_type);
    let Ok(request) = request.body(body.into()) else { return };
    let spool = tempfile::tempdir().expect("there are temporary folders");
    let settings = UploadSettings {
        spool: spool.path().to_owned(),
        max_bytes: 1 << 20,
        idle_timeout: Duration::from_secs(10),
        min_bytes_per_second: 0,
        longest: Duration::from_secs(10),
        most_per_client: 1,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let received = runtime.expect("a runtime").block_on(receive_form(request, &settings));
    match received {
        Ok((file, fields)) => {
            assert!(file.metadata().expect("it is open").len() <= data.len() as u64);
            assert!(fields.len() <= 100, "{} fields", fields.len());
        }
        Err(answer) => assert!(answer.status().is_client_error(), "{answer:?}"),
    }
    let left = std::fs::read_dir(spool.path()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files are left");
}

/// Any bytes are frames of the worker protocol or an error, and messages survive being sent on.
pub fn frames(data: &[u8]) {
    let mut reader = data;
    while let Ok(Some(frame)) = read_frame::<Event>(&mut reader) {
        if let Frame::Control(message) = frame {
            let sent = encode_control(&message).expect("what was read can be written");
            decode_frame::<Event>(&sent).expect("what was written can be read");
        }
    }
    let mut reader = data;
    while let Ok(Some(frame)) = read_frame::<Request>(&mut reader) {
        if let Frame::Control(message) = frame {
            let sent = encode_control(&message).expect("what was read can be written");
            decode_frame::<Request>(&sent).expect("what was written can be read");
        }
    }
}

/// Any transcript has subtitles that others can read, whose cues follow each other. Each line is a
/// segment: its pause, its length, its text.
pub fn subtitles(data: &[u8]) {
    let [width, lines, text @ ..] = data else { return };
    let rules =
        CueRules::new(Some(10 + usize::from(*width) % 60), Some(1 + usize::from(*lines) % 4), None);
    let transcript = transcript(text);
    let granularities = Granularities { segments: true, words: true };
    for &format in Format::ALL {
        let cues = rules.expect("within bounds");
        let rendering = Rendering { format, granularities, cues, logprobs: false };
        let body = render(&transcript, &rendering);
        match format {
            Format::Srt => check_cues(&srt_times(body)),
            Format::Vtt => check_cues(&vtt_times(&body)),
            _ => {}
        }
    }
}

fn limits() -> Limits {
    Limits {
        max_duration: Duration::from_secs(60),
        max_decode: Duration::from_secs(10),
        ..Limits::default()
    }
}

fn file_of(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("there are temporary files");
    file.write_all(data).and_then(|()| file.rewind()).expect("they can be written");
    file
}

fn transcript(text: &[u8]) -> Transcript {
    let mut clock = 0.0;
    let segments = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let [pause, length, text @ ..] = line else { return None };
        // Segments of an engine may overlap and be of no length.
        let start = clock + f64::from(*pause as i8) / 16.0;
        clock = start + f64::from(*length as i8) / 4.0;
        Some(segment(start.max(0.0), clock, String::from_utf8_lossy(text).into_owned()))
    });
    Transcript {
        task: Task::Transcribe,
        language: Language::ENGLISH,
        detected: Vec::new(),
        segments: segments.take(100).collect(),
        duration: 60.0,
        start_offset: 0.0,
        losses: auris_core::recording::Losses::default(),
        skipped: Vec::new(),
        runs: Vec::new(),
        parts: TranscribedParts::default(),
    }
}

fn segment(start: f64, end: f64, text: String) -> Segment {
    Segment {
        start,
        end,
        text,
        tokens: Vec::new(),
        temperature: 0.0,
        avg_logprob: 0.0,
        compression_ratio: 1.0,
        no_speech_prob: 0.0,
        words: Vec::new(),
        logprobs: Vec::new(),
        channel: None,
    }
}

/// When cues start and end, in milliseconds.
type Times = Vec<(u64, u64)>;

fn ms((hours, minutes, seconds, ms): (u8, u8, u8, u16)) -> u64 {
    ((u64::from(hours) * 60 + u64::from(minutes)) * 60 + u64::from(seconds)) * 1000 + u64::from(ms)
}

fn srt_times(body: String) -> Times {
    let read = Subtitles::parse_from_str(body).expect("a reader understands SubRip").to_vec();
    read.into_iter().map(|cue| (ms(cue.start_time.get()), ms(cue.end_time.get()))).collect()
}

fn vtt_times(body: &str) -> Times {
    let read = WebVtt::parse(body).expect("a reader understands WebVTT");
    let times = read.blocks.into_iter().map(|block| {
        let VttBlock::Que(cue) = block else { panic!("not a cue: {block:?}") };
        let [start, end] = [cue.timings.start, cue.timings.end]
            .map(|at| ms((at.hours, at.minutes, at.seconds, at.milliseconds)));
        (start, end)
    });
    times.collect()
}

fn check_cues(times: &Times) {
    assert!(times.iter().all(|(start, end)| start < end), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{times:?}");
}
