//! Recordings as devices and programs really write them: the right text at the right time, or a
//! refusal that says why.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::harness::{Server, form, repository};
use super::jobs::id;
use super::streaming::read_stream;

/// How far a sentence may begin from where it was said, in seconds.
const TOLERANCE_SECONDS: f64 = 0.15;

/// What is right for a file.
#[derive(Deserialize)]
struct Case {
    /// The sentences, and when each begins in seconds; null if that is not given.
    says: Vec<(String, Option<f64>)>,
    duration: Option<f64>,
    /// A status that would do as well.
    or_status: Option<u16>,
    /// The program without which it cannot be decoded.
    needs: Option<String>,
}

fn words(text: &str) -> Vec<String> {
    let kept = text.chars().filter(|c| c.is_alphabetic() || c.is_whitespace());
    kept.collect::<String>().to_lowercase().split_whitespace().map(str::to_owned).collect()
}

/// What is wrong with a transcript.
fn faults(case: &Case, transcript: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let said: Vec<String> = case.says.iter().flat_map(|(sentence, _)| words(sentence)).collect();
    let text = transcript["text"].as_str().unwrap();
    if words(text) != said {
        return vec![format!("text {text:?}")];
    }
    let starts: Vec<f64> = transcript["words"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|word| !words(word["word"].as_str().unwrap()).is_empty())
        .map(|word| word["start"].as_f64().unwrap())
        .collect();
    let mut first = 0;
    for (sentence, start) in &case.says {
        if start.is_some_and(|start| (starts[first] - start).abs() > TOLERANCE_SECONDS) {
            faults.push(format!("{sentence:?} at {} instead of {start:?}", starts[first]));
        }
        first += words(sentence).len();
    }
    let duration = transcript["duration"].as_f64().unwrap();
    if case.duration.is_some_and(|length| (duration - length).abs() > TOLERANCE_SECONDS) {
        faults.push(format!("duration {duration} instead of {:?}", case.duration));
    }
    faults
}

#[tokio::test]
async fn recordings_have_the_right_text_at_the_right_time() {
    let folder = repository("tests/fixtures/recordings");
    let cases = fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_str(&cases).unwrap();
    let has_ffmpeg = Command::new("ffmpeg").arg("-version").output().is_ok();
    let server = Server::demo(&[]).await;
    let mut wrong = Vec::new();
    for (name, case) in cases.iter().filter(|(_, case)| has_ffmpeg || case.needs.is_none()) {
        let fields = [
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("language", "en"),
        ];
        let answer = server.transcribe(fs::read(folder.join(name)).unwrap(), &fields).await;
        match answer.status {
            200 => {
                let faults = faults(case, &answer.json());
                wrong.extend(faults.iter().map(|fault| format!("{name}: {fault}")));
            }
            status if case.or_status == Some(status) => {}
            status => wrong.push(format!("{name}: {status} {}", answer.body)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_missing_is_reported_in_every_response() {
    let mut server = Server::demo(&[]).await;
    let recording = |name| fs::read(repository("tests/fixtures").join(name)).unwrap();
    let verbose = [("response_format", "verbose_json"), ("language", "en")];
    let gap = server.transcribe(recording("recordings/1-timestamp-gaps/gap.mp4"), &verbose).await;
    let seconds = gap.json()["lost"]["gap_seconds"].as_f64().unwrap();
    assert!((4.4..4.6).contains(&seconds), "{seconds}");
    assert_eq!((&gap.json()["truncated"], gap.header("x-audio-truncated")), (&false.into(), None));
    let late = recording("recordings/2-audio-starts-later/off.mp4");
    let offset = server.transcribe(late, &verbose).await.json()["start_offset"].as_f64().unwrap();
    assert!((3.9..4.1).contains(&offset), "{offset}");

    let whole = recording("codecs/webm-opus.webm");
    let cut = whole[..whole.len() * 6 / 10].to_vec();
    let answer = server.transcribe(cut.clone(), &verbose).await;
    assert_eq!(answer.header("x-audio-truncated"), Some("true"));
    assert_eq!(answer.json()["truncated"], true);
    let form = form(cut.clone(), &[("stream", "true"), ("language", "en")]);
    let url = server.url("/v1/audio/transcriptions");
    let stream = server.client.post(url).multipart(form).send().await.unwrap();
    assert_eq!(read_stream(stream).await.1["truncated"], true);
    let job = server.submit(cut, &[("language", "en")]).await;
    assert_eq!(server.ended(&id(&job)).await["truncated"], true);
    server.kill();
    server.restart();
    assert_eq!(server.ended(&id(&job)).await["truncated"], true);
}
