//! Nothing is made up where nobody speaks.

use serde_json::{Value, json};

use super::harness::{Answer, Server, form};
use super::jobs::id;
use super::signals::{mix, pink_noise, silence, speech, tone, wav_of, white_noise};
use super::streaming::read_stream;
use auris_format::Format;

/// How many chunks were run.
async fn chunks(server: &Server) -> u64 {
    server.devices().await["devices"][0]["models"][0]["chunks"].as_u64().unwrap()
}

/// The body of each format for a silent file of 8 s.
fn empty_body(format: &str) -> String {
    let skipped = r#"[{"start":0.0,"end":8.0,"reason":"no_speech"}]"#;
    let usage = r#"{"type":"duration","seconds":8}"#;
    let head = r#""task":"transcribe","language":"hindi","languages":[],"duration":8.0,"start_offset":0.0,"truncated":false,"text":"""#;
    match format {
        "json" => format!(r#"{{"text":"","languages":[],"usage":{usage}}}"#),
        "verbose_json" => {
            format!(r#"{{{head},"segments":[],"usage":{usage},"runs":[],"skipped":{skipped}}}"#)
        }
        "ndjson" => format!(
            "{{\"type\":\"transcript\",{head},\"usage\":{usage},\"runs\":[],\"skipped\":{skipped}}}\n"
        ),
        "vtt" => "WEBVTT\n\n".to_owned(),
        "tsv" => "start\tend\ttext\n".to_owned(),
        _ => "\n".to_owned(),
    }
}

#[tokio::test]
async fn silence_noise_hum_and_tones_have_no_text() {
    let server = Server::demo(&[]).await;
    let chord = [261.6, 329.6, 392.0].map(|frequency| tone(60.0, frequency, 0.3));
    let distorted = |samples: Vec<f32>| -> Vec<f32> {
        samples.into_iter().map(|sample| (sample * 5.0).clamp(-0.5, 0.5)).collect()
    };
    for (name, samples) in [
        ("silence", silence(60.0)),
        ("white noise", white_noise(60.0, 0.03)),
        ("loud white noise", white_noise(60.0, 0.3)),
        ("pink noise", pink_noise(60.0, 0.03)),
        ("loud pink noise", pink_noise(60.0, 0.3)),
        ("hum", tone(60.0, 50.0, 0.3)),
        ("a beep", tone(60.0, 1000.0, 0.3)),
        ("a low tone", tone(60.0, 220.0, 0.7)),
        ("a distorted tone", distorted(tone(60.0, 440.0, 0.3))),
        ("a chord", mix(&mix(&chord[0], &chord[1]), &chord[2])),
    ] {
        let fields = [("response_format", "verbose_json")];
        let answer = server.transcribe(wav_of(&samples), &fields).await.json();
        assert_eq!(answer["text"], "", "{name}");
        assert_eq!(answer["language"], "english", "{name}");
        let skipped = json!([{"start": 0.0, "end": 60.0, "reason": "no_speech"}]);
        assert_eq!(answer["skipped"], skipped, "{name}");
    }
    assert_eq!(chunks(&server).await, 0);
}

#[tokio::test]
async fn a_silent_file_is_an_empty_transcript_in_every_format() {
    let server = Server::demo(&[]).await;
    let audio = wav_of(&silence(8.0));
    for format in Format::ALL.iter().map(|format| format.name()) {
        let fields = [("response_format", format), ("language", "hi")];
        let answer = server.transcribe(audio.clone(), &fields).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, empty_body(format).as_str()));
        assert_eq!(answer.header("x-audio-duration"), Some("8.000"));
        let form = form(audio.clone(), &fields);
        let answer = server.post_to("/v1/audio/translations", form).await;
        let english = empty_body(format).replace("transcribe\"", "translate\"");
        assert_eq!(answer.body, english.replace("hindi", "english"));
    }
    assert_eq!(chunks(&server).await, 0);
}

#[tokio::test]
async fn a_silent_file_is_an_empty_stream() {
    let server = Server::demo(&[]).await;
    let audio = wav_of(&silence(8.0));
    for format in ["json", "verbose_json", "text"] {
        let form = form(audio.clone(), &[("response_format", format), ("stream", "true")]);
        let url = server.url("/v1/audio/transcriptions");
        let response = server.client.post(url).multipart(form).send().await.unwrap();
        let (joined, last) = read_stream(response).await;
        assert_eq!((joined.as_str(), &last["text"]), ("", &json!("")));
        assert_eq!(last["type"], "transcript.text.done");
    }
}

#[tokio::test]
async fn a_silent_job_finishes_and_is_reported_after_a_restart() {
    let mut server = Server::demo(&[]).await;
    let job = server.submit(wav_of(&silence(8.0)), &[("language", "hi")]).await;
    let ended = server.ended(&id(&job)).await;
    assert_eq!((&ended["state"], &ended["text"]), (&json!("finished"), &json!("")));
    assert_eq!(ended["percent"], 100.0);
    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        for format in Format::ALL.iter().map(|format| format.name()) {
            let path = format!("/v1/jobs/{}/transcript?format={format}", id(&job));
            let answer = Answer::read(server.get(&path).await).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, empty_body(format).as_str()));
        }
    }
}

#[tokio::test]
async fn a_silent_file_is_no_error_on_the_paths_of_others() {
    let server = Server::demo(&[]).await;
    let audio = wav_of(&silence(8.0));
    let answer = server.post_to("/inference", form(audio.clone(), &[])).await;
    assert_eq!(answer.text(), "");
    for (query, body) in [
        ("output=txt", "\n".to_owned()),
        ("output=srt", "\n".to_owned()),
        ("output=vtt", empty_body("vtt")),
        ("output=tsv", empty_body("tsv")),
        ("output=json", r#"{"text":"","segments":[],"language":"en"}"#.to_owned()),
    ] {
        let answer = server.post_to(&format!("/asr?{query}"), audio_file(&audio)).await;
        assert_eq!((answer.status, answer.body), (200, body), "{query}");
    }
    let answer = server.post_to("/detect-language", audio_file(&audio)).await;
    let expected =
        json!({"detected_language": "english", "language_code": "en", "confidence": 0.0});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(chunks(&server).await, 0);
}

fn audio_file(audio: &[u8]) -> reqwest::multipart::Form {
    let part = reqwest::multipart::Part::bytes(audio.to_vec()).file_name("a.wav");
    reqwest::multipart::Form::new().part("audio_file", part)
}

#[tokio::test]
async fn the_language_is_that_of_the_first_speech() {
    let server = Server::demo(&[]).await;
    let samples = [silence(50.0), speech("22.flac"), silence(50.0), speech("00.flac")].concat();
    let fields = [("response_format", "verbose_json")];
    let answer = server.transcribe(wav_of(&samples), &fields).await.json();
    assert_eq!(answer["language"], "hindi");
    let answer = server.post_to("/detect-language", audio_file(&wav_of(&samples))).await.json();
    assert_eq!(answer["language_code"], "hi");
}

#[tokio::test]
async fn times_are_those_of_the_file_and_what_is_left_out_is_reported() {
    let server = Server::demo(&[]).await;
    let samples = [silence(100.0), speech("00.flac"), silence(40.0)].concat();
    let fields = [("response_format", "verbose_json"), ("language", "en")];
    let alone = server.transcribe(wav_of(&speech("00.flac")), &fields).await.json();
    let answer = server.transcribe(wav_of(&samples), &fields).await.json();
    assert_eq!(answer["text"], alone["text"]);
    let start = |answer: &Value| answer["segments"][0]["start"].as_f64().unwrap();
    let late = start(&answer) - start(&alone);
    // The model places a start by the sound before it as well.
    assert!((late - 100.0).abs() < 0.5, "{late}");
    let [before, after] = &answer["skipped"].as_array().unwrap()[..] else { panic!("{answer}") };
    let run = &answer["runs"][0];
    assert_eq!((&before["start"], &before["end"]), (&json!(0.0), &run["start"]));
    assert_eq!((&after["start"], &after["end"]), (&run["end"], &answer["duration"]));
}

#[tokio::test]
async fn who_wants_silence_transcribed_says_so() {
    let usual = Server::demo(&[]).await;
    let without = Server::demo(&["--no-vad"]).await;
    let audio = wav_of(&silence(8.0));
    for (server, field, chunks_run) in [
        (&usual, None, 0),
        (&usual, Some(("vad", "false")), 1),
        (&usual, Some(("vad_filter", "false")), 1),
        (&without, None, 1),
        (&without, Some(("vad", "true")), 0),
        (&without, Some(("chunking_strategy[type]", "server_vad")), 0),
    ] {
        let before = chunks(server).await;
        let fields: Vec<_> = [("language", "en")].into_iter().chain(field).collect();
        assert_eq!(server.transcribe(audio.clone(), &fields).await.text(), "");
        assert_eq!(chunks(server).await - before, chunks_run, "{field:?}");
    }
}
