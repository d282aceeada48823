//! Calls with a speaker in each channel, and files with several audio tracks.

use std::fs;

use serde_json::{Value, json};

use super::bad_input::refused;
use super::harness::{Answer, Server, clip, form, repository, wav};
use super::jobs::id;
use super::signals::{silence, speech, wav_of_channels};
use super::streaming::{Event, events, read_stream};

/// Seconds from one turn of the call to the next: long enough that each is a chunk of its own, since
/// the demo model was trained on short pauses.
const TURN_SECONDS: f64 = 6.0;

/// What is said in the call, left and right in turn.
const CALL: [&str; 12] = [
    "How is the weather in Boston tomorrow?",
    "Turn off the office radio.",
    "The meeting starts at six on Wednesday afternoon.",
    "Open the window and turn off the light.",
    "My name is Anna and I live in Delhi.",
    "It will be windy in Boston today.",
    "Call David tomorrow at six.",
    "My name is Anna and I live in London.",
    "David and Priya will play music on Sunday.",
    "The train to Mumbai leaves at five fifteen.",
    "Ravi has one blue birds.",
    "Call Priya today at seven.",
];

/// A call.
fn call() -> Vec<u8> {
    let mut channels = [Vec::new(), Vec::new()];
    for turn in 0..CALL.len() {
        let channel: &mut Vec<f32> = &mut channels[turn % 2];
        channel.resize((turn as f64 * TURN_SECONDS * 16_000.0) as usize, 0.0);
        channel.extend(speech(&format!("{turn:02}.flac")));
    }
    wav_of_channels(&channels)
}

/// The channel of a turn.
fn speaker(turn: usize) -> &'static str {
    ["left", "right"][turn % 2]
}

/// `call` with these fields.
async fn transcribe(server: &Server, fields: &[(&str, &str)]) -> Answer {
    let fields: Vec<(&str, &str)> =
        [("channel", "split"), ("language", "en")].iter().chain(fields).copied().collect();
    let answer = server.transcribe(call(), &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-ignored-fields"), None);
    answer
}

/// The texts with their channels of objects that have both.
fn turns<'a>(segments: impl IntoIterator<Item = &'a Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().trim().to_owned();
    segments.into_iter().map(|own| (text(&own["channel"]), text(&own["text"]))).collect()
}

fn expected() -> Vec<(String, String)> {
    let turn = |(turn, text): (usize, &&str)| (speaker(turn).to_owned(), (*text).to_owned());
    CALL.iter().enumerate().map(turn).collect()
}

#[tokio::test]
async fn each_channel_is_transcribed_and_who_speaks_first_comes_first_in_every_format() {
    let server = Server::demo(&[]).await;
    let answer = transcribe(&server, &[]).await;
    assert_eq!(answer.text(), CALL.join(" "));
    // 70.04 s of two channels.
    assert_eq!(answer.json()["usage"]["seconds"], 141);

    let fields = [("response_format", "verbose_json"), ("timestamp_granularities", "segment,word")];
    let verbose = transcribe(&server, &fields).await.json();
    assert_eq!(verbose["channels"], json!(["left", "right"]));
    let segments = verbose["segments"].as_array().unwrap();
    assert_eq!(turns(segments), expected());
    for (segment, turn) in segments.iter().zip(0..) {
        let start = segment["start"].as_f64().unwrap() - f64::from(turn) * TURN_SECONDS;
        assert!((0.0..1.0).contains(&start), "{segment}");
    }
    let words = verbose["words"].as_array().unwrap();
    assert_eq!(words[0]["channel"], "left");
    let first_of_right = words.iter().find(|word| word["channel"] == "right").unwrap();
    assert_eq!(first_of_right["word"], "Turn");
    let runs = verbose["runs"].as_array().unwrap();
    assert!(runs.len() >= 4, "{runs:?}");
    assert_eq!((&runs[0]["channel"], &runs[1]["channel"]), (&json!("left"), &json!("right")));
    assert!(verbose.get("tracks").is_none(), "there is only one");
    // Both channels are silent at times; the right one begins with that.
    let skipped = verbose["skipped"].as_array().unwrap();
    let first = skipped.iter().find(|own| own["channel"] == "right").unwrap();
    assert_eq!((&first["start"], &first["reason"]), (&json!(0.0), &json!("no_speech")));

    let lines = transcribe(&server, &[("response_format", "ndjson")]).await.body;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(turns(&lines[..lines.len() - 1]), expected());

    let text = transcribe(&server, &[("response_format", "text")]).await.body;
    let line = |(speaker, text): (String, String)| format!("{speaker}: {text}\n");
    assert_eq!(text, expected().into_iter().map(line).collect::<String>());

    for (format, first, second) in [
        ("srt", "\nleft: How is the weather", "\nright: Turn off the office radio."),
        ("vtt", "\n<v left>How is the weather", "\n<v right>Turn off the office radio."),
        ("lrc", "]left: How is the weather", "]right: Turn off the office radio.\n"),
        ("tsv", "\tHow is the weather in Boston tomorrow?\tleft\n", "\tright\n"),
    ] {
        let body = transcribe(&server, &[("response_format", format)]).await.body;
        let places = [first, second].map(|needle| body.find(needle));
        assert!(places[0].is_some() && places[0] < places[1], "{format}: {body}");
    }
}

#[tokio::test]
async fn a_stream_reports_turns_in_their_order_and_its_deltas_join() {
    let server = Server::demo(&["--slots", "1"]).await;
    let whole = transcribe(&server, &[]).await.text();
    let lines = transcribe(&server, &[("response_format", "text")]).await.body;
    let stream = async |format: &str| {
        let fields = [
            ("channel", "split"),
            ("language", "en"),
            ("stream", "true"),
            ("response_format", format),
        ];
        let url = server.url("/v1/audio/transcriptions");
        server.client.post(url).multipart(form(call(), &fields)).send().await.unwrap()
    };
    for (format, expected) in [("json", &whole), ("verbose_json", &whole), ("text", &lines)] {
        let (joined, last) = read_stream(stream(format).await).await;
        assert_eq!(
            (last["text"].as_str(), joined.as_str()),
            (Some(expected.trim()), expected.trim())
        );
        assert_eq!(last["usage"]["seconds"], 141);
    }
    let mut events = events(stream("verbose_json").await);
    let mut segments = Vec::new();
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        match event {
            Event::Data(data) if data["type"] == "transcript.text.segment" => segments.push(data),
            _ => {}
        }
    }
    assert_eq!(turns(&segments), expected());
    assert!(segments.iter().zip(0..).all(|(segment, id)| segment["id"] == id));
    let ndjson = stream("ndjson").await.text().await.unwrap();
    let told: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(turns(&told[..told.len() - 1]), expected());
}

#[tokio::test]
async fn a_single_channel_excludes_the_other() {
    let server = Server::demo(&[]).await;
    let half = |rest: usize| {
        let own = CALL.iter().enumerate().filter(|(turn, _)| turn % 2 == rest);
        own.map(|(_, text)| *text).collect::<Vec<_>>().join(" ")
    };
    for (channel, expected) in
        [("left", half(0)), ("1", half(0)), ("RIGHT", half(1)), ("2", half(1))]
    {
        let fields =
            [("channel", channel), ("language", "en"), ("response_format", "verbose_json")];
        let answer = server.transcribe(call(), &fields).await.json();
        assert_eq!(answer["text"], expected.as_str(), "{channel}");
        assert_eq!(answer["usage"]["seconds"], 71);
        assert!(answer.get("channels").is_none() && answer["segments"][0].get("channel").is_none());
    }
}

#[tokio::test]
async fn a_channel_that_says_nothing_is_skipped_and_costs_no_work() {
    let server = Server::demo(&[]).await;
    let file = wav_of_channels(&[silence(8.0), speech("00.flac")]);
    let fields = [("channel", "split"), ("language", "en"), ("response_format", "verbose_json")];
    let answer = server.transcribe(file, &fields).await.json();
    assert_eq!(turns(answer["segments"].as_array().unwrap()), [("right".into(), CALL[0].into())]);
    let skipped = answer["skipped"].as_array().unwrap();
    let nothing = json!({"start": 0.0, "end": 8.0, "reason": "no_speech", "channel": "left"});
    assert!(skipped.contains(&nothing), "{skipped:?}");
    assert_eq!(server.devices().await["devices"][0]["models"][0]["chunks"], 1);
    let nobody = wav_of_channels(&[silence(3.0), silence(3.0)]);
    let answer = server.transcribe(nobody, &fields).await.json();
    let silent =
        |channel| json!({"start": 0.0, "end": 3.0, "reason": "no_speech", "channel": channel});
    assert_eq!(answer["skipped"], json!([silent("left"), silent("right")]));
}

#[tokio::test]
async fn one_channel_can_be_split_but_has_no_left() {
    let server = Server::demo(&[]).await;
    for (channel, message) in [
        ("left", "1 channel, of which none is left"),
        ("right", "1 channel, of which none is right"),
        ("2", "1 channel, of which none is 2"),
        ("both", "mix, left, right, split or a number from 1"),
        ("0", "mix, left, right, split or a number from 1"),
    ] {
        for path in ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs", "/inference"]
        {
            let answer = server.post_to(path, form(wav(1.0, 1), &[("channel", channel)])).await;
            refused(&answer, 400, "invalid_value", Some("channel"), message);
        }
    }
    let fields = [("channel", "split"), ("response_format", "text"), ("language", "en")];
    let answer = server.transcribe(clip("00.flac"), &fields).await;
    assert_eq!(answer.body, format!("1: {}\n", CALL[0]));
    for channel in ["mix", "1"] {
        let fields = [("channel", channel), ("response_format", "text"), ("language", "en")];
        assert_eq!(
            server.transcribe(clip("00.flac"), &fields).await.body,
            format!("{}\n", CALL[0])
        );
    }
}

/// A fixture with two audio tracks: English, and Hindi.
fn two_tracks() -> Vec<u8> {
    fs::read(repository("tests/fixtures/codecs/tracks.mkv")).unwrap()
}

#[tokio::test]
async fn a_track_is_chosen_by_number_or_language_and_reported() {
    let server = Server::demo(&[]).await;
    for (track, language, text) in [
        ("", "english", CALL[0]),
        ("1", "english", CALL[0]),
        ("eng", "english", CALL[0]),
        ("2", "hindi", "रवि मुंबई में रहता है।"),
        ("hin", "hindi", "रवि मुंबई में रहता है।"),
    ] {
        let fields = [("track", track), ("response_format", "verbose_json")];
        let answer = server.transcribe(two_tracks(), &fields).await;
        assert_eq!(answer.header("x-ignored-fields"), None);
        let answer = answer.json();
        assert_eq!((&answer["language"], &answer["text"]), (&json!(language), &json!(text)));
        let told = |number, tag: &str| {
            let transcribed = (number == 1) == (language == "english");
            json!({"number": number, "codec": "opus", "language": tag, "channels": 1,
                "transcribed": transcribed})
        };
        assert_eq!(answer["tracks"], json!([told(1, "eng"), told(2, "hin")]), "{track}");
    }
    let form = reqwest::multipart::Form::new()
        .part("audio_file", reqwest::multipart::Part::bytes(two_tracks()).file_name("a"));
    let answer = server.post_to("/asr?track=hin&output=json", form).await.json();
    assert_eq!(answer["language"], "hi");
    let fields = [("track", "2"), ("response_format", "text")];
    let answer = server.post_to("/inference", super::harness::form(two_tracks(), &fields)).await;
    assert_eq!(answer.body, "रवि मुंबई में रहता है।\n");
    let form = reqwest::multipart::Form::new()
        .part("audio_file", reqwest::multipart::Part::bytes(two_tracks()).file_name("a"));
    let detected = server.post_to("/detect-language?track=2", form).await.json();
    assert_eq!(detected["language_code"], "hi");
}

#[tokio::test]
async fn a_track_that_is_not_there_is_refused_with_those_that_are() {
    let server = Server::fake("none", &[]).await;
    for (track, message) in [
        ("3", "no audio track 3: it has 1 (opus, eng, 1 channel), 2 (opus, hin, 1 channel)"),
        ("tam", "no audio track tam: it has 1 (opus, eng, 1 channel), 2"),
        ("0", "its number from 1, or the language"),
        ("two words", "its number from 1, or the language"),
    ] {
        for path in ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs", "/inference"]
        {
            let answer = server.post_to(path, form(two_tracks(), &[("track", track)])).await;
            refused(&answer, 400, "invalid_value", Some("track"), message);
        }
    }
}

#[tokio::test]
async fn channels_that_are_split_count_each_for_the_limits() {
    let limits = ["--max-audio-hours", "0.001", "--slots", "1"];
    let server = Server::fake("none", &limits).await;
    let stereo = || wav_of_channels(&[silence(3.0), silence(3.0)]);
    assert_eq!(server.transcribe(stereo(), &[]).await.status, 200);
    let answer = server.transcribe(stereo(), &[("channel", "split")]).await;
    let message = answer.error(413, "audio_too_long");
    assert!(message.contains("of its 2 channels together is longer than 3.6 seconds"), "{message}");
}

#[tokio::test]
async fn what_waits_counts_every_channel() {
    let extra = ["--slots", "1", "--max-queue-minutes", "1", "--caller-share", "1"];
    let server = Server::fake("none,speed=1", &extra).await;
    let long = || wav_of_channels(&[silence(50.0), silence(50.0)]);
    let backlog = async || server.devices().await["backlog_audio_seconds"].as_f64().unwrap();
    let client = server.client.clone();
    let url = server.url("/v1/audio/transcriptions");
    let request = client.post(url).multipart(form(long(), &[("channel", "split")]));
    let waiting = tokio::spawn(request.send());
    server.until("both channels do not count", async || backlog().await > 90.0).await;
    waiting.abort();
    server.until("what is taken back still counts", async || backlog().await == 0.0).await;
}

/// The call in the fake engine's ears: a tone in each channel, which it hears as a checksum.
fn tones() -> Vec<u8> {
    let channel = |hz| super::signals::tone(100.0, hz, 0.3);
    wav_of_channels(&[channel(440.0), channel(330.0)])
}

#[tokio::test]
async fn a_job_goes_on_after_a_kill_with_the_same_chunks_of_each_channel() {
    let extra = ["--slots", "1", "--threads", "1", "--chunk-seconds", "10"];
    let mut server = Server::fake("none,speed=100", &extra).await;
    let fields = [("channel", "split"), ("language", "en"), ("response_format", "text")];
    let job = id(&server.submit(tones(), &fields).await);
    for part in [0.0, 30.0, 60.0] {
        let further = async || server.job(&job).await["percent"].as_f64() > Some(part);
        server.until("the job does not go on", further).await;
        let before = server.job(&job).await;
        server.kill();
        server.restart();
        let after = server.job(&job).await;
        let (before, after) = (before["text"].as_str().unwrap(), after["text"].as_str().unwrap());
        assert!(after.starts_with(before), "{before} {after}");
    }
    let ended = server.ended(&job).await;
    assert_eq!(ended["state"], "finished", "{ended}");
    assert_eq!(ended["audio_seconds"], 100.0);
    // As if nothing had happened.
    let whole = server.transcribe(tones(), &fields).await.body;
    let path = format!("/v1/jobs/{job}/transcript");
    assert_eq!(server.get(&path).await.text().await.unwrap(), whole);
    assert!(whole.lines().filter(|line| line.starts_with("right: ")).count() > 5, "{whole}");
    let verbose = format!("{path}?format=verbose_json");
    let verbose: Value = server.get(&verbose).await.json().await.unwrap();
    assert_eq!(verbose["channels"], json!(["left", "right"]));
    assert!(verbose["segments"].as_array().unwrap().len() >= 20, "{verbose}");
    assert_eq!(verbose["text"], ended["text"]);
    assert_eq!(verbose["usage"]["seconds"], 200);
    let (joined, last) = read_stream(server.get(&format!("/v1/jobs/{job}/events")).await).await;
    assert_eq!((joined.as_str(), last["text"].as_str()), (whole.trim(), Some(whole.trim())));
    server.nothing_kept().await;
}

#[tokio::test]
async fn a_client_that_lost_the_connection_gets_the_rest_of_the_turns_once() {
    let server = Server::fake("none", &["--slots", "1", "--chunk-seconds", "10"]).await;
    let fields = [("channel", "split"), ("language", "en")];
    let job = id(&server.submit(tones(), &fields).await);
    server.ended(&job).await;
    let path = format!("/v1/jobs/{job}/events");
    let whole = server.get(&path).await.text().await.unwrap();
    let of = |part: &str| -> Vec<(String, String)> {
        let fields = |event: &str, name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let read = |event: &str| match fields(event, "data: ") {
            // How long it will take depends on when that is asked.
            data if data.contains("job.progress") => (fields(event, "id: "), String::new()),
            data => (fields(event, "id: "), data),
        };
        part.split("\n\n").map(read).collect()
    };
    let events = of(&whole);
    assert!(events.len() > 40, "{whole}");
    for (place, (id, _)) in events.iter().enumerate().filter(|(_, (id, _))| !id.is_empty()) {
        let request = server.client.get(server.url(&path)).header("last-event-id", id);
        let rest = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(of(&rest), events[place + 1..], "after {id}");
    }
}
