//! Requests that are not quite HTTP, and what pages in a browser may do.

use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::bad_clients::read;
use super::bad_input::{refused, still_works};
use super::harness::{Answer, Server, form, wav};

/// Sends `head` as it is, and reads the answer.
async fn raw(server: &Server, head: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may have had enough before the end.
    let _ = stream.write_all(head.as_bytes()).await;
    read(&mut stream).await
}

async fn post(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let request = server.client.post(server.url("/v1/audio/transcriptions"));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::read(request.multipart(form(wav(1.0, 1), &[])).send().await.unwrap()).await
}

#[tokio::test]
async fn what_is_no_request_is_answered_in_the_shape_of_errors() {
    let server = Server::fake("none", &[]).await;
    for (head, status, code) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 414, "invalid_request"),
        (format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(140_000)), 431, "invalid_request"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x-many: 1\r\n".repeat(200)), 431, "invalid_request"),
        ("nonsense\r\n\r\n".to_owned(), 400, "invalid_request"),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400, "invalid_request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400, "invalid_request"),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 999-foo\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            417,
            "expectation_failed",
        ),
    ] {
        refused(&raw(&server, &head).await, status, code, None, "");
    }
    assert_eq!(raw(&server, "GET /healthz HTTP/1.0\r\n\r\n").await.status, 200);
    still_works(&server).await;
}

#[tokio::test]
async fn a_server_for_this_machine_has_no_other_name() {
    let server = Server::fake("none", &["--allowed-hosts", "auris.lan"]).await;
    for host in ["localhost:1", "127.0.0.1", "[::1]", "auris.lan"] {
        assert_eq!(post(&server, &[("host", host)]).await.status, 200, "{host}");
    }
    let answer = post(&server, &[("host", "rebound.example")]).await;
    refused(&answer, 403, "host_not_allowed", None, "--allowed-hosts rebound.example");
    let guarded = Server::fake("none", &["--api-keys", "first-secret"]).await;
    let key = [("authorization", "Bearer first-secret"), ("host", "auris.example")];
    assert_eq!(post(&guarded, &key).await.status, 200, "a key is enough");
}

#[tokio::test]
async fn pages_of_other_sites_cannot_post() {
    let server = Server::fake("none", &["--cors-origins", "https://app.example"]).await;
    let own = format!("http://{}", server.address);
    for origin in [own.as_str(), "https://app.example"] {
        assert_eq!(post(&server, &[("origin", origin)]).await.status, 200, "{origin}");
    }
    for (origin, hint) in [
        ("https://evil.example", "--cors-origins https://evil.example"),
        ("http://127.0.0.1:1", "--cors-origins http://127.0.0.1:1"),
        ("null", "pages without an origin"),
    ] {
        let answer = post(&server, &[("origin", origin)]).await;
        refused(&answer, 403, "origin_not_allowed", None, hint);
        let request = server.client.request(Method::DELETE, server.url("/v1/jobs/x"));
        let response = request.header("origin", origin).send().await.unwrap();
        assert_eq!(response.status(), 403, "{origin}");
    }
}

#[tokio::test]
async fn documents_cannot_be_framed_and_load_nothing_from_elsewhere() {
    let server = Server::fake("none", &[]).await;
    let page = Answer::read(server.get("/docs/").await).await;
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    let data = Answer::read(server.get("/v1/models").await).await;
    for answer in [page, data] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    }
}

#[tokio::test]
async fn a_request_id_is_kept_only_if_it_is_short() {
    let server = Server::fake("none", &[]).await;
    let answered = async |id: &str| {
        let request = server.client.get(server.url("/healthz")).header("x-request-id", id);
        let answer = Answer::read(request.send().await.unwrap()).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(answered("trace-7").await, "trace-7");
    assert!(answered(&"i".repeat(5_000)).await.len() < 100);
    assert!(!answered("a b").await.contains(' '));
}

#[tokio::test]
async fn invented_methods_are_counted_together() {
    let server = Server::fake("none", &[]).await;
    for number in 0..50 {
        let method = Method::from_bytes(format!("INVENTED{number}").as_bytes()).unwrap();
        let response = server.client.request(method, server.url("/healthz")).send().await.unwrap();
        assert_eq!(response.status(), 405);
    }
    let metrics = server.metrics().await;
    assert!(!metrics.contains("INVENTED"), "{metrics}");
    let line = "auris_http_requests_total{method=\"other\",path=\"/healthz\",status=\"405\"} 50";
    assert!(metrics.contains(line), "{metrics}");
}
