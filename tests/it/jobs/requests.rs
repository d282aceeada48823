//! What a job's client sees.

use crate::harness::{Answer, Server, clip, form, wav};
use crate::streaming::read_stream;

use super::id;

#[tokio::test]
async fn a_job_goes_from_its_acceptance_to_a_transcript_in_any_format() {
    let server = Server::demo(&[]).await;
    let fields = [("response_format", "srt"), ("odd", "1")];
    let accepted = server.post_to("/v1/jobs", form(clip("28.flac"), &fields)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.header("x-ignored-fields"), Some("odd"));
    let job = accepted.json();
    let id = id(&job);
    assert_eq!(accepted.header("location"), Some(&*format!("/v1/jobs/{id}")));
    assert_eq!(job["object"], "job");
    assert!(["queued", "running"].contains(&job["state"].as_str().unwrap()), "{job}");

    let ended = server.ended(&id).await;
    assert_eq!(ended["state"], "finished");
    assert_eq!((&ended["percent"], &ended["eta_seconds"]), (&100.0.into(), &0.0.into()));
    assert_eq!((&ended["model"], &ended["language"]), (&"demo".into(), &"english".into()));
    assert_eq!(ended["runs"][0]["device"], "cpu");
    let text = server.transcribe(clip("28.flac"), &[]).await.text();
    assert_eq!(ended["text"], text);
    server.nothing_kept().await;

    for (query, content_type, begins) in [
        ("", "text/plain; charset=utf-8", "1\n00:00:00,"),
        ("?response_format=vtt", "text/vtt; charset=utf-8", "WEBVTT\n"),
        ("?response_format=json", "application/json", "{\"text\":"),
        (
            "?response_format=verbose_json&timestamp_granularities[]=word",
            "application/json",
            "{\"task\":",
        ),
        ("?response_format=tsv", "text/tab-separated-values; charset=utf-8", "start\tend\ttext\n"),
    ] {
        let path = format!("/v1/jobs/{id}/transcript{query}");
        let answer = Answer::read(server.get(&path).await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("x-device"), Some("cpu"));
        assert!(answer.body.starts_with(begins), "{query}: {}", answer.body);
        assert_eq!(answer.body.contains("\"words\":"), query.contains("word"), "{}", answer.body);
    }
    let odd = server.get(&format!("/v1/jobs/{id}/transcript?format=text&odd=1")).await;
    assert_eq!(odd.headers()["x-ignored-fields"], "odd");
    for (query, param) in
        [("response_format=xml", "response_format"), ("max_lines=1&max_lines=2", "max_lines")]
    {
        let wrong = server.get(&format!("/v1/jobs/{id}/transcript?{query}")).await;
        let wrong = Answer::read(wrong).await;
        wrong.error(400, "invalid_value");
        assert_eq!(wrong.json()["error"]["param"], param);
    }
}

#[tokio::test]
async fn a_running_job_reports_how_far_it_is_and_its_text_so_far() {
    let server = Server::fake("none,speed=60", &["--slots", "1"]).await;
    let id = id(&server.submit(wav(240.0, 1), &[("language", "en")]).await);
    server.begun(&id).await;
    let job = server.job(&id).await;
    assert_eq!(job["state"], "running", "{job}");
    let percent = job["percent"].as_f64().unwrap();
    assert!(percent > 5.0 && percent < 100.0, "{job}");
    assert!(job["eta_seconds"].as_f64().unwrap() > 0.0, "{job}");
    assert!(!job["text"].as_str().unwrap().is_empty(), "{job}");
    let early = Answer::read(server.get(&format!("/v1/jobs/{id}/transcript")).await).await;
    early.error(409, "job_unfinished");
    assert!(early.header("retry-after").is_some() && early.header("x-should-retry").is_none());

    let (joined, last) = read_stream(server.get(&format!("/v1/jobs/{id}/events")).await).await;
    assert_eq!(last["text"], joined);
    assert_eq!(server.ended(&id).await["text"], joined);
}

#[tokio::test]
async fn an_unfinished_job_is_cancelled_and_forgotten() {
    let server = Server::fake("none,speed=2", &["--slots", "1"]).await;
    let id = id(&server.submit(wav(60.0, 1), &[]).await);
    let path = format!("/v1/jobs/{id}");
    let busy = async || server.devices().await["devices"][0]["busy_slots"] == 1;
    server.until("nothing runs", busy).await;
    let events = server.get(&format!("{path}/events")).await;
    let cancelled = server.delete(&path).await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &"cancelled".into()));
    server.until("the slot stays in use", async || !busy().await).await;
    let (_, last) = read_stream(events).await;
    assert_eq!(last["error"]["code"], "cancelled");
    server.nothing_kept().await;
    for path in ["", "/events", "/transcript"].map(|end| format!("{path}{end}")) {
        Answer::read(server.get(&path).await).await.error(404, "job_not_found");
    }
    server.delete(&path).await.error(404, "job_not_found");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_page_by_page() {
    let server = Server::fake("none", &[]).await;
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.insert(0, id(&server.submit(wav(1.0, seed), &[]).await));
    }
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let answer = Answer::read(server.get(&format!("/v1/jobs?limit=2{after}")).await).await;
        let list = answer.json();
        listed.extend(list["data"].as_array().unwrap().iter().map(id));
        after = format!("&after={}", listed.last().unwrap());
        if list["has_more"] == false {
            break;
        }
        assert_eq!(list["data"].as_array().unwrap().len(), 2);
    }
    assert_eq!(listed, ids);
    let all = Answer::read(server.get("/v1/jobs?limit=&after=%20&odd=1").await).await;
    assert_eq!(all.json()["data"].as_array().map(Vec::len), Some(5), "{all:?}");
    assert_eq!(all.header("x-ignored-fields"), Some("odd"));
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=x", "after"),
    ] {
        let refused = Answer::read(server.get(&format!("/v1/jobs?{query}")).await).await;
        refused.error(400, "invalid_value");
        assert_eq!(refused.json()["error"]["param"], param);
    }
}

#[tokio::test]
async fn a_client_may_prefer_not_to_wait_or_to_wait_for_a_while() {
    let server = Server::fake("none,speed=30", &["--slots", "1"]).await;
    let path = "/v1/audio/transcriptions";
    let prefer = async |preference: &str| {
        let form = form(wav(60.0, 1), &[("response_format", "text")]);
        server.post_with(path, form, &[("prefer", preference)]).await
    };
    let accepted = prefer("respond-async").await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    assert_eq!(prefer("respond-async, wait=0").await.status, 202);
    let waited = prefer("respond-async, wait=60").await;
    assert_eq!(waited.status, 200, "{waited:?}");
    assert_eq!(waited.header("content-type"), Some("text/plain; charset=utf-8"));
    let job = server.ended(waited.header("x-job-id").unwrap()).await;
    assert_eq!(job["text"].as_str().unwrap(), waited.body.trim());
}

#[tokio::test]
async fn what_cannot_be_a_job_is_refused_at_once() {
    let server = Server::fake("none", &["--max-jobs", "1"]).await;
    let refused = async |audio: Vec<u8>, fields: &[(&str, &str)]| {
        server.post_to("/v1/jobs", form(audio, fields)).await
    };
    refused(b"no audio".to_vec(), &[]).await.error(415, "unsupported_audio");
    refused(wav(1.0, 1), &[("task", "sing")]).await.error(400, "invalid_value");
    refused(wav(1.0, 1), &[("model", "none")]).await.error(400, "model_not_found");
    let webhook = [("webhook_url", "https://example.com/hook")];
    let message = refused(wav(1.0, 1), &webhook).await.error(400, "invalid_value");
    assert!(message.contains("AURIS_WEBHOOK_SECRET"), "{message}");
    server.nothing_kept().await;
    for path in ["/v1/jobs/1", "/v1/jobs/01983e5b-6f3a-7d10-b7a4-0f3c1d2e4a5b/events"] {
        Answer::read(server.get(path).await).await.error(404, "job_not_found");
    }
}

#[tokio::test]
async fn too_many_jobs_are_refused_and_those_who_wait_are_not() {
    let server = Server::fake("none,speed=5", &["--max-jobs", "1", "--slots", "1"]).await;
    let id = id(&server.submit(wav(60.0, 1), &[]).await);
    let refused = server.post_to("/v1/jobs", form(wav(1.0, 2), &[])).await;
    refused.error(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    let waited = server.transcribe(wav(1.0, 3), &[]).await;
    assert_eq!(waited.status, 200, "{waited:?}");
    assert_eq!(server.job(&id).await["state"], "running", "short requests go first");
}

#[tokio::test]
async fn a_job_that_fails_says_why() {
    let server = Server::fake("error,chunk=0,prompt=bad", &["--slots", "1"]).await;
    let id = id(&server.submit(wav(5.0, 1), &[("prompt", "bad")]).await);
    let job = server.ended(&id).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"engine_failed".into()));
    let transcript = Answer::read(server.get(&format!("/v1/jobs/{id}/transcript")).await).await;
    transcript.error(500, "engine_failed");
}

#[tokio::test]
async fn another_owners_job_is_not_found() {
    let server = Server::start("fake:none", &["--api-keys", "one:key-of-one,two:key-of-two"]);
    server.ready().await;
    let as_one = ("authorization", "Bearer key-of-one");
    let accepted = server.post_with("/v1/jobs", form(wav(1.0, 1), &[]), &[as_one]).await;
    let id = id(&accepted.json());
    for path in ["", "/events", "/transcript"] {
        for (key, status) in [("key-of-two", 404), ("key-of-none", 401)] {
            let url = server.url(&format!("/v1/jobs/{id}{path}"));
            let answer = server.client.get(url).bearer_auth(key).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} with {key}");
        }
    }
    let url = server.url(&format!("/v1/jobs/{id}"));
    let answer = server.client.delete(&url).bearer_auth("key-of-two").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let retry = server.client.post(format!("{url}/retry")).bearer_auth("key-of-two");
    assert_eq!(retry.send().await.unwrap().status(), 404);
    let list = server.client.get(server.url("/v1/jobs")).bearer_auth("key-of-two").send();
    let list: serde_json::Value = list.await.unwrap().json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 0);
    assert_eq!(
        server.client.get(url).bearer_auth("key-of-one").send().await.unwrap().status(),
        200
    );
}
