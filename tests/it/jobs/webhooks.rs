//! Who is told of a job's end.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::harness::{Server, form, wav};

use super::id;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn secret() -> String {
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(KEY))
}

/// What a receiver got.
struct Call {
    headers: HeaderMap,
    body: String,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Checks the signature as <https://www.standardwebhooks.com> has it, and returns the event.
    fn verified(&self) -> Value {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        let mac = mac.chain_update(format!("{id}.{timestamp}.{}", self.body));
        let mac = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(self.header("webhook-signature"), format!("v1,{mac}"));
        let event: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(event["id"], id);
        event
    }
}

/// A receiver on `listener` that takes every call.
fn receive(listener: TcpListener) -> mpsc::UnboundedReceiver<Call> {
    let (calls, received) = mpsc::unbounded_channel();
    let answer = async move |headers: HeaderMap, body: String| {
        let _ = calls.send(Call { headers, body });
    };
    let app = Router::new().route("/hook", post(answer));
    tokio::spawn(axum::serve(listener, app).into_future());
    received
}

/// A receiver, and where it is.
async fn receiver() -> (SocketAddr, mpsc::UnboundedReceiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), receive(listener))
}

async fn server(extra: &[&str]) -> Server {
    let secret = secret();
    let all: Vec<&str> = ["--webhook-secret", &secret].iter().chain(extra).copied().collect();
    Server::fake("none", &all).await
}

#[tokio::test]
async fn the_webhook_is_signed_and_has_the_text() {
    let server = server(&["--webhook-allow-private"]).await;
    let (address, mut calls) = receiver().await;
    let url = format!("http://{address}/hook");
    let job = server.submit(wav(40.0, 1), &[("webhook_url", &url)]).await;
    assert_eq!(
        (&job["webhook"]["url"], &job["webhook"]["state"]),
        (&url.into(), &"waiting".into())
    );
    let event = calls.recv().await.unwrap().verified();
    assert_eq!((&event["object"], &event["type"]), (&"event".into(), &"job.finished".into()));
    let ended = server.ended(&id(&job)).await;
    for key in ["id", "state", "text", "ended_at", "runs"] {
        assert_eq!(event["data"][key], ended[key], "{key}");
    }
    let delivered = async || server.job(&id(&job)).await["webhook"]["state"] == "delivered";
    server.until("the webhook is not delivered", delivered).await;
}

#[tokio::test]
async fn every_request_that_is_a_job_may_have_a_webhook() {
    let server = server(&["--webhook-allow-private"]).await;
    let (address, mut calls) = receiver().await;
    let url = format!("http://{address}/hook");
    let send = async |path: &str, headers: &[(&str, &str)]| {
        let form = form(wav(1.0, 1), &[("webhook_url", &url)]);
        server.post_with(path, form, headers).await
    };
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        for (headers, status) in
            [(("prefer", "respond-async"), 202), (("idempotency-key", path), 200)]
        {
            let answer = send(path, &[headers]).await;
            assert_eq!(answer.status, status, "{answer:?}");
            let event = calls.recv().await.unwrap().verified();
            assert_eq!(event["data"]["id"], answer.header("x-job-id").unwrap());
        }
        let refused = send(path, &[]).await;
        let message = refused.error(400, "invalid_value");
        assert!(message.contains("Prefer: respond-async"), "{message}");
        assert_eq!(refused.json()["error"]["param"], "webhook_url");
    }
}

#[tokio::test]
async fn an_event_is_delivered_after_a_restart() {
    let mut server = server(&["--webhook-allow-private"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener); // nobody listens there
    let url = format!("http://{address}/hook");
    let job = server.submit(wav(1.0, 1), &[("webhook_url", &url)]).await;
    let tried = async || server.job(&id(&job)).await["webhook"]["attempts"] == 1;
    server.until("the webhook is not tried", tried).await;
    server.kill();
    let mut received = receive(TcpListener::bind(address).await.unwrap());
    server.restart();
    assert_eq!(received.recv().await.unwrap().verified()["type"], "job.finished");
}

#[tokio::test]
async fn a_job_that_is_run_again_calls_its_webhook_again() {
    let broken = tempfile::tempdir().unwrap();
    let script = format!("error,chunk=0,times=9999,marker={}", broken.path().display());
    let extra = ["--slots", "1", "--webhook-secret", &secret(), "--webhook-allow-private"];
    let server = Server::fake(&script, &extra).await;
    let (address, mut calls) = receiver().await;
    let url = format!("http://{address}/hook");
    let job = id(&server.submit(wav(1.0, 1), &[("webhook_url", &url)]).await);
    let failed = calls.recv().await.unwrap().verified();
    assert_eq!(
        (&failed["type"], &failed["data"]["retryable"]),
        (&"job.failed".into(), &true.into())
    );
    std::fs::remove_dir_all(broken.path()).unwrap();
    assert_eq!(server.retry(&job).await.status, 202);
    let finished = calls.recv().await.unwrap().verified();
    assert_eq!((&finished["type"], &finished["data"]["id"]), (&"job.finished".into(), &job.into()));
    assert_ne!(finished["id"], failed["id"]);
}

#[tokio::test]
async fn addresses_of_the_servers_own_network_are_refused() {
    let server = server(&[]).await;
    for url in [
        "http://127.0.0.1/hook",
        "http://[::1]:8080/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://0x7f000001/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost:8080/hook",
        "file:///etc/passwd",
        "ftp://example.com/",
        "https://user:password@example.com/",
        "not an address",
    ] {
        let answer = server.post_to("/v1/jobs", form(wav(1.0, 1), &[("webhook_url", url)])).await;
        answer.error(400, "invalid_value");
        assert_eq!(answer.json()["error"]["param"], "webhook_url", "{url}");
    }
    server.nothing_kept().await;
}
