//! What the demo model makes of the evaluation set, through HTTP: text, language, translation
//! and times.

use std::collections::BTreeMap;
use std::fs;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;

use super::harness::{Server, clip, form, repository};
use super::signals::{level, mix, silence, speech, wav_of, white_noise};

#[derive(Deserialize)]
struct Truth {
    language: String,
    text: String,
    english: String,
    sentences: Vec<Sentence>,
    words: Vec<SpokenWord>,
}

#[derive(Deserialize)]
struct Sentence {
    start: f64,
    end: f64,
    text: String,
}

#[derive(Deserialize)]
struct SpokenWord {
    word: String,
    start: f64,
}

fn truth() -> BTreeMap<String, Truth> {
    let truth = fs::read(repository("tests/fixtures/eval/truth.json")).unwrap();
    serde_json::from_slice(&truth).unwrap()
}

/// Words in lower case without punctuation.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect()
}

pub(super) fn plain(word: &str) -> String {
    let punctuation = |c: char| c.is_ascii_punctuation() || c == '।';
    word.chars().filter(|c| !punctuation(*c)).collect::<String>().to_lowercase()
}

/// Which word of `truth` each word of `hypothesis` stands for, and how many words are wrong, missing
/// or too many (Levenshtein's distance).
pub(super) fn align(truth: &[String], hypothesis: &[String]) -> (Vec<(usize, usize)>, usize) {
    let width = hypothesis.len() + 1;
    let mut cost = vec![0; (truth.len() + 1) * width];
    for t in 0..=truth.len() {
        for h in 0..=hypothesis.len() {
            cost[t * width + h] = match (t, h) {
                (0, other) | (other, 0) => other,
                _ => {
                    let wrong = usize::from(truth[t - 1] != hypothesis[h - 1]);
                    (cost[(t - 1) * width + h - 1] + wrong)
                        .min(cost[(t - 1) * width + h] + 1)
                        .min(cost[t * width + h - 1] + 1)
                }
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut t, mut h) = (truth.len(), hypothesis.len());
    while t > 0 && h > 0 {
        let here = cost[t * width + h];
        let wrong = usize::from(truth[t - 1] != hypothesis[h - 1]);
        if here == cost[(t - 1) * width + h - 1] + wrong {
            (t, h) = (t - 1, h - 1);
            if wrong == 0 {
                pairs.push((t, h));
            }
        } else if here == cost[(t - 1) * width + h] + 1 {
            t -= 1;
        } else {
            h -= 1;
        }
    }
    pairs.reverse();
    (pairs, cost[truth.len() * width + hypothesis.len()])
}

/// How many of the differences are within `limit` seconds, as a share.
fn share_within(differences: &[f64], limit: f64) -> f64 {
    let within = differences.iter().filter(|difference| difference.abs() <= limit).count();
    within as f64 / differences.len() as f64
}

/// Sums over the evaluation set.
#[derive(Default)]
struct Score {
    words: usize,
    errors: usize,
    single_errors: usize,
    translation_errors: usize,
    segment_times: Vec<f64>,
    word_times: Vec<f64>,
}

impl Score {
    fn add(&mut self, name: &str, truth: &Truth, body: &Value) {
        let expected = words(&truth.text);
        let (_, errors) = align(&expected, &words(body["text"].as_str().unwrap()));
        self.words += expected.len();
        self.errors += errors;
        if truth.language == "en" && truth.sentences.len() == 1 {
            self.single_errors += errors;
        }

        let hypothesis = body["words"].as_array().unwrap();
        let heard_words: Vec<String> =
            hypothesis.iter().map(|word| plain(word["word"].as_str().unwrap())).collect();
        let spoken: Vec<&SpokenWord> =
            truth.words.iter().filter(|word| !word.word.is_empty()).collect();
        let spoken_words: Vec<String> = spoken.iter().map(|word| plain(&word.word)).collect();
        let (pairs, _) = align(&spoken_words, &heard_words);
        self.word_times.extend(
            pairs.iter().map(|&(t, h)| hypothesis[h]["start"].as_f64().unwrap() - spoken[t].start),
        );

        let segments = body["segments"].as_array().unwrap();
        let mut next = 0;
        for sentence in &truth.sentences {
            let wanted = words(&sentence.text).join(" ");
            let text = |segment: &Value| words(segment["text"].as_str().unwrap()).join(" ");
            let Some(found) = segments[next..].iter().position(|segment| text(segment) == wanted)
            else {
                continue; // misheard or cut in two: it counts as word errors
            };
            let segment = &segments[next + found];
            next += found + 1;
            self.segment_times.push(segment["start"].as_f64().unwrap() - sentence.start);
            self.segment_times.push(segment["end"].as_f64().unwrap() - sentence.end);
        }
        let sentences = truth.sentences.len();
        assert_eq!(segments.len(), sentences, "{name}: a sentence is lost, doubled or cut");
    }
}

#[tokio::test]
async fn the_demo_model_passes_its_evaluation_set() {
    let truth = truth();
    let server = Server::demo(&[]).await;
    let ask = |(name, truth): (String, Truth)| {
        let server = &server;
        async move {
            let fields = [
                ("response_format", "verbose_json"),
                ("timestamp_granularities[]", "word"),
                ("timestamp_granularities[]", "segment"),
            ];
            let hypothesis = server.transcribe(clip(&name), &fields).await.json();
            let mut translation = String::new();
            if truth.language == "hi" {
                let form = form(clip(&name), &[]);
                translation = server.post_to("/v1/audio/translations", form).await.text();
            }
            (name, truth, hypothesis, translation)
        }
    };
    let answers: Vec<_> =
        futures_util::stream::iter(truth).map(ask).buffer_unordered(2).collect().await;

    let mut score = Score::default();
    for (name, truth, hypothesis, translation) in &answers {
        let language = if truth.language == "hi" { "hindi" } else { "english" };
        assert_eq!(hypothesis["language"], language, "{name}");
        score.add(name, truth, hypothesis);
        if truth.language == "hi" && truth.sentences.len() == 1 {
            let (_, errors) = align(&words(&truth.english), &words(translation));
            score.translation_errors += errors;
        }
    }
    let rate = score.errors as f64 / score.words as f64;
    assert!(rate <= 0.025, "word error rate {rate:.4}: {} of {}", score.errors, score.words);
    assert_eq!(score.single_errors, 0, "errors in English single sentences");
    assert!(score.translation_errors <= 3, "{} translation errors", score.translation_errors);
    let segments = share_within(&score.segment_times, 0.1);
    assert!(segments >= 0.9, "{segments:.3} of the segment times are within 0.1 s");
    // No head of the small model follows the audio alone; people.rs has the bar for a real one.
    let words = share_within(&score.word_times, 0.3);
    assert!(words >= 0.8, "{words:.3} of the word times are within 0.3 s");
    assert!(score.word_times.len() > 550, "only {} words were matched", score.word_times.len());
}

/// How many words are wrong in a transcript with silence left out, and in one with all of it.
async fn errors(server: &Server, samples: &[f32], text: &str, language: &str) -> [usize; 2] {
    let expected = words(text);
    let errors = async |vad| {
        let fields = [("vad", vad), ("language", language)];
        let hypothesis = server.transcribe(wav_of(samples), &fields).await.text();
        align(&expected, &words(&hypothesis)).1
    };
    [errors("true").await, errors("false").await]
}

#[tokio::test]
async fn no_word_is_lost_with_the_silence_between_clips() {
    let server = Server::demo(&[]).await;
    for language in ["en", "hi"] {
        let (mut samples, mut text) = (silence(30.0), String::new());
        let spoken = truth().into_iter().filter(|(_, truth)| truth.language == language);
        for (name, truth) in spoken.step_by(2) {
            samples.extend(speech(&name));
            samples.extend(silence(30.0));
            text = text + " " + &truth.text;
        }
        let [with, without] = errors(&server, &samples, &text, language).await;
        assert!(with <= without, "{language}: {with} errors instead of {without}");
    }
}

#[tokio::test]
async fn no_word_is_lost_beside_noise() {
    let server = Server::demo(&[]).await;
    let [mut with, mut without] = [0, 0];
    for (name, truth) in truth().into_iter().step_by(2) {
        let clip = speech(&name);
        let second = 16_000.0;
        let spoken: Vec<f32> = truth
            .sentences
            .iter()
            .flat_map(|s| &clip[(s.start * second) as usize..(s.end * second) as usize])
            .copied()
            .collect();
        // 10 dB below the speech.
        let noise = white_noise(clip.len() as f64 / second, level(&spoken) * 10_f32.powf(-0.5));
        let [on, off] = errors(&server, &mix(&clip, &noise), &truth.text, &truth.language).await;
        (with, without) = (with + on, without + off);
    }
    assert!(with <= without, "{with} errors instead of {without}");
}
