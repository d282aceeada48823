//! How much of the disk the audio of jobs may take.

use reqwest::multipart::{Form, Part};

use crate::harness::{Answer, Server, form, wav};

use super::id;

#[tokio::test]
async fn audio_counts_while_it_is_stored_and_while_it_comes() {
    // A minute is 1.9 MB.
    let extra = ["--slots", "1", "--caller-share", "1", "--max-jobs-bytes", "3000000"];
    let server = Server::fake("none,speed=5", &extra).await;
    let first = id(&server.submit(wav(60.0, 1), &[]).await);
    let full = async |answer: Answer| {
        let message = answer.error(503, "overloaded");
        assert!(message.contains("--max-jobs-bytes"), "{message}");
        assert!(answer.header("retry-after").is_some());
        server.until("half an upload stays", async || server.kept_files() == 2).await;
    };
    full(server.post_to("/v1/jobs", form(wav(60.0, 2), &[])).await).await;
    let waited = server.post_with(
        "/v1/audio/transcriptions",
        form(wav(60.0, 2), &[]),
        &[("idempotency-key", "a")],
    );
    full(waited.await).await;
    // Without a declared length, it is refused when it is too much.
    let parts = wav(60.0, 2).chunks(100_000).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let stream = tokio_stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>));
    let part = Part::stream(reqwest::Body::wrap_stream(stream)).file_name("a");
    full(server.post_to("/v1/jobs", Form::new().part("file", part)).await).await;
    let never = server.post_to("/v1/jobs", form(wav(120.0, 3), &[])).await;
    never.error(413, "file_too_large");
    let passing = server.transcribe(wav(1.0, 3), &[]).await;
    assert_eq!(passing.status, 200, "it is no job's: {passing:?}");

    assert_eq!(server.delete(&format!("/v1/jobs/{first}")).await.status, 200);
    server.submit(wav(60.0, 2), &[]).await;
}

#[tokio::test]
async fn one_client_gets_its_share() {
    let keys = "one:key-of-one,two:key-of-two";
    let extra = ["--slots", "1", "--max-jobs-bytes", "4000000", "--api-keys", keys];
    let server = Server::start("fake:none,speed=5", &extra);
    server.ready().await;
    let send = async |key: &str| {
        let key = format!("Bearer {key}");
        server.post_with("/v1/jobs", form(wav(60.0, 1), &[]), &[("authorization", &key)]).await
    };
    assert_eq!(send("key-of-one").await.status, 202);
    send("key-of-one").await.error(429, "rate_limit_exceeded");
    assert_eq!(send("key-of-two").await.status, 202);
}
