//! What the bundled model makes of people, of noise and of music, through HTTP.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};

use super::accuracy::{align, plain, words};
use super::harness::{Server, repository};
use super::signals::{silence, wav_of};

const FOLDER: &str = "tests/fixtures/speech";

#[derive(Deserialize)]
struct Recording {
    file: String,
    language: String,
    text: String,
    /// Its name in `word_times.json`.
    word_times: Option<String>,
}

#[derive(Deserialize)]
struct WordTimes {
    files: BTreeMap<String, Vec<(String, f64, f64)>>,
}

/// Two words with more than this between them, in seconds, are parted by a pause.
const PAUSE: f64 = 0.3;

fn recordings() -> Vec<Recording> {
    let truth = fs::read(repository(FOLDER).join("truth.json")).unwrap();
    serde_json::from_slice(&truth).unwrap()
}

fn word_times() -> WordTimes {
    let times = fs::read(repository(FOLDER).join("word_times.json")).unwrap();
    serde_json::from_slice(&times).unwrap()
}

async fn transcribe(server: &Server, file: &str, fields: &[(&str, &str)]) -> Value {
    let audio = fs::read(repository(FOLDER).join(file)).unwrap();
    let verbose = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    server.transcribe(audio, &[&verbose[..], fields].concat()).await.json()
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
async fn words_languages_and_times_are_those_of_people() {
    let server = Server::bundled(&["--slots", "2", "--threads", "1"]).await;
    let times = word_times();
    let (mut wrong, mut total, mut starts) = (0, 0, Vec::new());
    for recording in recordings() {
        let body = transcribe(&server, &recording.file, &[]).await;
        let (file, written) = (&recording.file, body["words"].as_array().unwrap());
        if recording.text.is_empty() {
            assert_eq!(body["text"], "", "{file}: nobody speaks");
            assert_eq!(body["skipped"][0]["reason"], "no_speech", "{file}");
            continue;
        }
        let language = match recording.language.as_str() {
            "de" => "german",
            "es" => "spanish",
            _ => "english",
        };
        assert_eq!(body["language"], language, "{file}");
        assert!(seconds(&body["language_probability"]) > 0.5, "{file}");
        assert!(body["language_probabilities"][&recording.language].is_number(), "{file}");
        let said = words(&recording.text);
        let (_, errors) = align(&said, &words(body["text"].as_str().unwrap()));
        (wrong, total) = (wrong + errors, total + said.len());

        for word in written {
            let length = seconds(&word["end"]) - seconds(&word["start"]);
            assert!((0.0..=2.001).contains(&length), "{file}: {word}");
        }
        let name = recording.word_times.as_ref();
        let Some(spoken) = name.and_then(|name| times.files.get(name)) else { continue };
        let said: Vec<String> = spoken.iter().map(|(word, ..)| plain(word)).collect();
        let hypothesis: Vec<String> =
            written.iter().map(|word| plain(word["word"].as_str().unwrap())).collect();
        for (s, h) in align(&said, &hypothesis).0 {
            let (word, start, end) = &spoken[s];
            starts.push((seconds(&written[h]["start"]) - start).abs());
            let is_followed_by_pause = spoken.get(s + 1).is_some_and(|next| next.1 - end > PAUSE);
            let follows_pause = s > 0 && start - spoken[s - 1].2 > PAUSE;
            let late = seconds(&written[h]["end"]) - end;
            let early = start - seconds(&written[h]["start"]);
            for (beside_pause, reach) in [(is_followed_by_pause, late), (follows_pause, early)] {
                assert!(
                    !beside_pause || reach <= 0.3,
                    "{file}: {word:?} reaches {reach:.2} s into a pause"
                );
            }
        }
    }
    let rate = f64::from(wrong as u32) / f64::from(total as u32);
    assert!(rate <= 0.1, "{wrong} of {total} words are wrong");
    starts.sort_by(f64::total_cmp);
    assert!(starts.len() > 90, "only {} words were found", starts.len());
    let within = starts.iter().filter(|start| **start <= 0.3).count() as f64 / starts.len() as f64;
    assert!(within >= 0.95, "{within:.3} of the words begin within 0.3 s");
    let median = starts[starts.len() / 2];
    assert!(median <= 0.06, "the median error is {median:.3} s");
}

#[tokio::test]
async fn short_and_empty_recordings_have_an_answer() {
    let server = Server::bundled(&["--slots", "1", "--threads", "1"]).await;
    let verbose = [("response_format", "verbose_json")];
    // 0.3 s of a voice: a word at most, and no panic.
    let mut reader = samples_of(&fs::read(repository(FOLDER).join("jfk.flac")).unwrap());
    reader.drain(..6_000);
    reader.truncate(4_800);
    let body = server.transcribe(wav_of(&reader), &verbose).await;
    assert_eq!(body.status, 200);
    assert!(words(body.json()["text"].as_str().unwrap()).len() <= 3, "{}", body.json());
    let body = server.transcribe(wav_of(&silence(3.0)), &verbose).await.json();
    assert_eq!((&body["text"], &body["skipped"][0]["reason"]), (&json!(""), &json!("no_speech")));
    // Without voice activity the engine has to say that there is nothing.
    let fields = [("response_format", "verbose_json"), ("vad", "false"), ("language", "en")];
    let body = server.transcribe(wav_of(&silence(3.0)), &fields).await.json();
    assert!(words(body["text"].as_str().unwrap()).len() <= 1, "{body}");
}

#[tokio::test]
async fn a_file_in_two_languages_is_transcribed_to_its_end_and_names_both() {
    let server = Server::bundled(&["--slots", "1", "--threads", "1"]).await;
    let [english, german] = ["jfk.flac", "simplicissimus-de.flac"]
        .map(|file| samples_of(&fs::read(repository(FOLDER).join(file)).unwrap()));
    let both = wav_of(&[english, german].concat());
    let body = server.transcribe(both, &[("response_format", "verbose_json")]).await.json();
    for language in ["en", "de"] {
        let probability = &body["language_probabilities"][language];
        assert!(seconds(probability) > 0.05, "{language}: {probability}");
    }
    let end = seconds(&body["segments"].as_array().unwrap().last().unwrap()["end"]);
    assert!(end > 15.0, "the second speaker is missing: {body}");
    assert!(words(body["text"].as_str().unwrap()).len() > 25, "{body}");
}

/// The samples of a FLAC file, as the product decodes them.
fn samples_of(flac: &[u8]) -> Vec<f32> {
    use auris_audio::{AudioStream, Limits};
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, flac).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut stream = AudioStream::open(file, &Limits::default()).unwrap();
    let mut samples = Vec::new();
    while stream.read(&mut samples).unwrap() {}
    samples
}
