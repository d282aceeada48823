//! Who may send requests, how many, and from which pages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use reqwest::Method;
use reqwest::header::HeaderMap;

use super::harness::{Answer, DEMO, Server, auris, fake, form, wav};

/// A server that asks for a key.
async fn locked(extra: &[&str]) -> Server {
    let keys = ["--api-keys", "ann:first-secret,second-secret"];
    Server::fake("none,speed=200", &[&keys, extra].concat()).await
}

/// Sends a request with the given headers.
async fn send(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = server.client.request(method, server.url(path));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::read(request.send().await.unwrap()).await
}

async fn transcribe(server: &Server, seconds: f64, key: &str) -> Answer {
    let request = server.client.post(server.url("/v1/audio/transcriptions")).bearer_auth(key);
    Answer::read(request.multipart(form(wav(seconds, 1), &[])).send().await.unwrap()).await
}

/// The exit status and standard error of `auris serve` with options that cannot be meant.
fn refused(arguments: &[&str]) -> String {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--models", DEMO, "--offline"];
    let Output { status, stderr, .. } = auris().args(serve).args(arguments).output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn a_key_opens_what_is_locked() {
    let server = locked(&[]).await;
    for path in ["/v1/models", "/v1/devices", "/metrics", "/nowhere"] {
        let denied = send(&server, Method::GET, path, &[]).await;
        let message = denied.error(401, "invalid_api_key");
        assert_eq!(
            message,
            "no API key was sent: send it in the header `Authorization: Bearer KEY`"
        );
        assert_eq!(denied.json()["error"]["type"], "invalid_request_error");
        assert_eq!(denied.header("www-authenticate"), Some("Bearer"));
        assert_eq!(denied.header("x-should-retry"), Some("false"));
    }
    for key in ["first-secret", "second-secret"] {
        let headers = [("authorization", &*format!("Bearer {key}"))];
        assert_eq!(send(&server, Method::GET, "/v1/models", &headers).await.status, 200);
        assert_eq!(transcribe(&server, 1.0, key).await.status, 200);
    }
    let unknown =
        send(&server, Method::GET, "/nowhere", &[("authorization", "Bearer first-secret")]);
    unknown.await.error(404, "not_found");
}

#[tokio::test]
async fn a_wrong_or_misplaced_key_is_reported_where_it_belongs_and_not_repeated() {
    let server = locked(&[]).await;
    let check = async |path: &str, headers: &[(&str, &str)], needle: &str| {
        let denied = send(&server, Method::GET, path, headers).await;
        let message = denied.error(401, "invalid_api_key");
        assert!(message.contains(needle), "{message}");
        assert!(!format!("{denied:?}").contains("secret"), "{denied:?}");
    };
    check("/v1/models", &[("authorization", "Bearer other-secret")], "unknown API key").await;
    check("/v1/models", &[("authorization", "Bearer first-secre")], "unknown API key").await;
    check("/v1/models", &[("authorization", "first-secret")], "`Bearer`").await;
    check("/v1/models", &[("authorization", "Basic first-secret")], "name and password").await;
    check("/v1/models", &[("x-api-key", "first-secret")], "`x-api-key`").await;
    check("/v1/models?api_key=first-secret", &[], "in the address").await;
    assert!(!server.log().contains("secret"), "a key is in the log");
}

#[tokio::test]
async fn who_guesses_keys_waits_and_is_counted_and_nobody_is_locked_out() {
    let server = locked(&[]).await;
    let wrong = [("authorization", "Bearer other-secret")];
    for _ in 0..10 {
        send(&server, Method::GET, "/v1/models", &wrong).await.error(401, "invalid_api_key");
    }
    let guess = send(&server, Method::GET, "/v1/models", &wrong);
    let honest = async {
        for _ in 0..20 {
            let valid = [("authorization", "Bearer first-secret")];
            assert_eq!(send(&server, Method::GET, "/v1/models", &valid).await.status, 200);
        }
    };
    tokio::select! {
        biased;
        answer = guess => panic!("a guess is answered before 20 valid requests: {answer:?}"),
        () = honest => {}
    }
    let valid = [("authorization", "Bearer first-secret")];
    let metrics = send(&server, Method::GET, "/metrics", &valid).await.body;
    assert!(metrics.contains("auris_refusals_total{reason=\"key\"} 11"), "{metrics}");
    assert!(server.log().contains("many wrong API keys"), "{}", server.log());
}

#[tokio::test]
async fn what_orchestrators_and_readers_need_is_open() {
    let server = locked(&[]).await;
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs/"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    let document = Answer::read(server.get("/openapi.json").await).await.json();
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
    let list = &document["paths"]["/v1/models"]["get"];
    assert_eq!(list["security"], serde_json::json!([{}, {"bearer": []}]));
    assert!(list["responses"]["401"].is_object());
    assert!(document["paths"]["/healthz"]["get"]["security"].is_null());
}

#[tokio::test]
async fn without_keys_any_key_is_accepted() {
    let server = Server::fake("none", &[]).await;
    assert_eq!(transcribe(&server, 1.0, "unused").await.status, 200);
}

#[tokio::test]
async fn a_large_upload_without_a_key_sees_why_it_is_refused() {
    let server = locked(&[]).await;
    let upload = form(vec![0; 20 << 20], &[]);
    server.post(upload).await.error(401, "invalid_api_key");
    assert_eq!(server.spool_files(), 0);
}

#[tokio::test]
async fn a_key_of_the_file_has_limits_of_its_own() {
    let made = auris().args(["keys", "new", "busy"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let key = made.lines().find(|line| line.starts_with("auris-")).unwrap();
    let (_, entry) = made.split_once("[[key]]").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, format!("[[key]]{entry}requests_per_minute = 2\n")).unwrap();

    let server = locked(&["--api-keys-file", path.to_str().unwrap()]).await;
    for _ in 0..2 {
        assert_eq!(transcribe(&server, 1.0, key).await.status, 200);
    }
    let limited = transcribe(&server, 1.0, key).await;
    let message = limited.error(429, "rate_limit_exceeded");
    assert!(message.contains("2 requests a minute"), "{message}");
    assert_eq!(limited.json()["error"]["type"], "rate_limit_error");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let headers = [("authorization", &*format!("Bearer {key}"))];
    assert_eq!(send(&server, Method::GET, "/v1/models", &headers).await.status, 200);
    assert_eq!(transcribe(&server, 1.0, "first-secret").await.status, 200);
}

#[tokio::test]
async fn callers_are_distinguished_by_key() {
    let capacity = ["--max-queue-minutes", "1", "--slots", "1", "--caller-share", "0.5"];
    let keys = ["--api-keys", "ann:one,ben:two"];
    let server = Server::fake("none,speed=5", &[capacity.as_slice(), &keys].concat()).await;
    let long = transcribe(&server, 60.0, "one");
    let others = async {
        let busy = async || {
            let headers = [("authorization", "Bearer one")];
            let devices = send(&server, Method::GET, "/v1/devices", &headers).await.json();
            devices["devices"][0]["busy_slots"] == 1
        };
        server.until("the long file never started", busy).await;
        transcribe(&server, 1.0, "one").await.error(429, "rate_limit_exceeded");
        assert_eq!(transcribe(&server, 1.0, "two").await.status, 200);
    };
    tokio::pin!(long);
    tokio::select! {
        _ = &mut long => panic!("the long file was finished first"),
        () = others => {}
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_errors() {
    let page = "https://app.example.org";
    let server = locked(&["--cors-origins", "https://app.example.org,http://localhost:3000"]).await;
    let ask = [
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-stainless-lang"),
    ];
    let preflight = send(&server, Method::OPTIONS, "/v1/audio/transcriptions", &ask).await;
    assert_eq!(preflight.status, 200, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some(page));
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert_eq!(headers, "authorization,x-stainless-lang");
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));

    let exposed =
        |headers: &HeaderMap| headers["access-control-expose-headers"].to_str().unwrap().to_owned();
    let denied = send(&server, Method::GET, "/v1/models", &[("origin", page)]).await;
    denied.error(401, "invalid_api_key");
    assert_eq!(denied.header("access-control-allow-origin"), Some(page));
    let exposed = exposed(&denied.headers);
    for name in [
        "x-device",
        "x-fallback-reason",
        "x-request-id",
        "x-job-id",
        "x-should-retry",
        "preference-applied",
        "retry-after",
        "location",
    ] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name}: {exposed}");
    }
    let other = [("origin", "https://evil.example.org"), ("authorization", "Bearer first-secret")];
    let other = send(&server, Method::GET, "/v1/models", &other).await;
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn pages_of_other_origins_may_read_nothing_unless_allowed() {
    let server = Server::fake("none", &[]).await;
    let answer = send(&server, Method::GET, "/v1/models", &[("origin", "https://a.b")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn options_that_cannot_be_meant_are_refused_at_the_start() {
    let origin = refused(&["--cors-origins", "https://app.example.org/"]);
    assert!(origin.contains("is not an origin: write scheme, host and port"), "{origin}");
    let twice = refused(&["--api-keys", "a:secret,b:secret"]);
    assert!(twice.contains("are the same API key") && !twice.contains("secret"), "{twice}");
    let missing = refused(&["--api-keys-file", "/nowhere/keys.toml"]);
    assert!(missing.contains("/nowhere/keys.toml cannot be read"), "{missing}");
}

#[test]
fn help_does_not_show_keys() {
    let help = auris().args(["serve", "--help"]).env("AURIS_API_KEYS", "hush").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("AURIS_API_KEYS") && !help.contains("hush"), "{help}");
}

/// What a server logs before it says where its documentation is.
fn log_of_start(arguments: &[&str]) -> String {
    let serve = ["serve", "--models", DEMO, "--offline", "--cpu-program", &fake("none")];
    let mut command = auris();
    command.args(serve).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| !line.contains("API description")).collect();
    server.kill().unwrap();
    server.wait().unwrap();
    lines.join("\n")
}

#[test]
fn an_open_door_must_be_insisted_on_and_is_warned_of() {
    let open = ["--listen", "0.0.0.0:0"];
    let serve = ["serve", "--models", DEMO, "--offline"];
    let Output { status, stderr, .. } = auris().args(serve).args(open).output().unwrap();
    let refusal = String::from_utf8(stderr).unwrap();
    for way in ["AURIS_API_KEYS", "127.0.0.1", "--insecure-no-keys"] {
        assert!(!status.success() && refusal.contains(way), "{refusal}");
    }
    let warned = |arguments: &[&str]| log_of_start(arguments).contains("anyone who can reach");
    assert!(warned(&[&open[..], &["--insecure-no-keys"]].concat()));
    assert!(!warned(&[&open[..], &["--api-keys", "secret"]].concat()));
    assert!(!warned(&["--listen", "127.0.0.1:0"]));
}
