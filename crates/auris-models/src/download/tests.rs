//! Downloads against a server that misbehaves.

use std::sync::Mutex;

use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::testing::server::{Reply, Server};
use crate::testing::{LENGTH, entry, file};

const HALF: usize = LENGTH / 2;
const ETAG: &str = "\"one\"";

struct Setup {
    folder: TempDir,
    store: ModelStore,
    config: DownloadConfig,
}

/// An empty store, and a server's address to fill it from.
fn setup(endpoint: &str) -> Setup {
    let folder = TempDir::new().unwrap();
    let store = ModelStore::new(folder.path().join("models"), Vec::new());
    let config = DownloadConfig {
        endpoint: endpoint.to_owned(),
        retry_pause: Duration::from_millis(1),
        ..DownloadConfig::default()
    };
    Setup { folder, store, config }
}

impl Setup {
    async fn pull(&self) -> Result<ModelFile, ModelError> {
        pull(&self.store, &entry(), &self.config, &|_| {}).await
    }

    /// The error's text without this run's folder and port.
    async fn refusal(&self) -> String {
        let text = self.pull().await.expect_err("refused").to_string();
        text.replace(&self.folder.path().display().to_string(), "/tmp")
            .replace(&entry().url(&self.config.endpoint), "URL")
            .replace(entry().sha256, "EXPECTED")
    }

    /// The names in the models folder, but for the lock.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.folder()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    /// Asserts that the file is there, right, and alone.
    fn assert_installed(&self) {
        assert_eq!(self.files(), ["ggml-test.bin"]);
        assert!(fs::read(self.store.path_of(&entry())).unwrap() == file(), "the bytes differ");
    }
}

#[tokio::test]
async fn a_whole_file_is_installed_and_requested_once() {
    let server = Server::start(|_, _| Reply::whole(&file(), ETAG)).await;
    let setup = setup(&server.url);
    let seen = Mutex::new(Vec::new());
    let record = |progress| seen.lock().unwrap().push(progress);
    let pulled = pull(&setup.store, &entry(), &setup.config, &record).await.unwrap();
    assert_eq!((pulled.name.as_str(), pulled.size_bytes), ("test", LENGTH as u64));
    setup.assert_installed();
    let total_bytes = LENGTH as u64;
    let whole = DownloadProgress::Receiving { received_bytes: total_bytes, total_bytes };
    assert!(seen.into_inner().unwrap().ends_with(&[
        whole,
        DownloadProgress::Verifying,
        DownloadProgress::Done
    ]));

    setup.pull().await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_cut_connection_continues_by_range() {
    let server = Server::start(|number, request| match number {
        0 => Reply::whole(&file(), ETAG).cut(HALF),
        _ => Reply::rest(&file(), ETAG, request.range_start().unwrap()),
    })
    .await;
    let setup = setup(&server.url);
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!(server.requests()[1].header("if-range"), Some(ETAG));
    assert_eq!(server.body_bytes(), LENGTH);
}

#[tokio::test]
async fn many_cuts_end_in_a_whole_file() {
    // more cuts than fruitless attempts are allowed
    let server = Server::start(|_, request| match request.range_start() {
        None => Reply::whole(&file(), ETAG).cut(LENGTH / 20),
        Some(start) => Reply::rest(&file(), ETAG, start).cut(LENGTH / 20),
    })
    .await;
    let setup = setup(&server.url);
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!((server.requests().len(), server.body_bytes()), (20, LENGTH));
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_all_again() {
    let server = Server::start(|number, _| match number {
        0 => Reply::whole(&file(), ETAG).cut(HALF),
        _ => Reply::whole(&file(), ETAG),
    })
    .await;
    let setup = setup(&server.url);
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!(server.body_bytes(), HALF + LENGTH);
}

#[tokio::test]
async fn parts_of_two_versions_are_not_joined() {
    let old = vec![7; LENGTH];
    // The first server knows If-Range and sends the whole new file, the second only ranges.
    for knows_if_range in [true, false] {
        let old = old.clone();
        let server = Server::start(move |number, request| match (number, request.range_start()) {
            (0, _) => Reply::whole(&old, "\"old\"").cut(HALF),
            (_, Some(start)) if !knows_if_range => Reply::rest(&file(), ETAG, start),
            _ => Reply::whole(&file(), ETAG),
        })
        .await;
        let setup = setup(&server.url);
        setup.pull().await.unwrap();
        setup.assert_installed();
    }
}

#[tokio::test]
async fn a_part_of_unknown_version_is_not_resumed() {
    for etag in ["W/\"weak\"", ""] {
        let server = Server::start(move |number, _| {
            Reply::whole(&file(), etag).cut(if number == 0 { HALF } else { LENGTH })
        })
        .await;
        let setup = setup(&server.url);
        setup.pull().await.unwrap();
        setup.assert_installed();
        assert!(server.requests().iter().all(|request| request.range_start().is_none()));
    }
}

#[tokio::test]
async fn wrong_bytes_are_deleted() {
    let mut wrong = file();
    wrong[HALF] ^= 1;
    let digest = hex::encode(Sha256::digest(&wrong));
    let server = Server::start(move |_, _| Reply::whole(&wrong, ETAG)).await;
    let setup = setup(&server.url);
    let refusal = setup.refusal().await.replace(&digest, "FOUND");
    insta::assert_snapshot!(refusal, @"URL arrived with the SHA-256 FOUND instead of EXPECTED and was deleted: try again, and if it happens again, a mirror or a proxy changes the file");
    assert!(setup.files().is_empty());
}

#[tokio::test]
async fn refusals_are_final_and_contain_a_fix() {
    let refusal = async |status| {
        let server = Server::start(move |_, _| Reply::status(status)).await;
        let text = setup(&server.url).refusal().await;
        assert_eq!(server.requests().len(), 1);
        text
    };
    insta::assert_snapshot!(refusal("404 Not Found").await, @"cannot download URL: the server answered 404: the file is not there; check HF_ENDPOINT, which must mirror the repository");
    insta::assert_snapshot!(refusal("401 Unauthorized").await, @"cannot download URL: the server answered 401: set HF_TOKEN to a token that may read it, or use the public endpoint");
    insta::assert_snapshot!(refusal("403 Forbidden").await, @"cannot download URL: the server answered 403: set HF_TOKEN to a token that may read it, or use the public endpoint");
}

#[tokio::test]
async fn server_errors_are_retried_a_limited_number_of_times() {
    let server = Server::start(|number, _| match number {
        0..3 => Reply::status("500 Internal Server Error"),
        _ => Reply::whole(&file(), ETAG),
    })
    .await;
    let recovers = setup(&server.url);
    recovers.pull().await.unwrap();
    recovers.assert_installed();

    let server = Server::start(|_, _| Reply::status("503 Service Unavailable")).await;
    let refusal = setup(&server.url).refusal().await;
    insta::assert_snapshot!(refusal, @"cannot download URL: the server answered 503: it is in trouble; try again later");
    assert_eq!(server.requests().len(), FRUITLESS_ATTEMPTS);
}

#[tokio::test]
async fn a_part_that_does_not_fit_is_dropped() {
    let server = Server::start(|_, request| match request.range_start() {
        Some(_) => Reply::status("416 Range Not Satisfiable"),
        None => Reply::whole(&file(), ETAG),
    })
    .await;
    let setup = setup(&server.url);
    let path = setup.store.path_of(&entry());
    fs::create_dir(setup.store.folder()).unwrap();
    fs::write(part_path(&path), "something else").unwrap();
    fs::write(etag_path(&path), ETAG).unwrap();
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_page_in_place_of_the_file_is_refused_before_it_is_stored() {
    let server = Server::start(|_, _| Reply::whole(b"<html>please log in</html>", ETAG)).await;
    let setup = setup(&server.url);
    insta::assert_snapshot!(setup.refusal().await, @"cannot download URL: the server offers 26 bytes, not the 300000 bytes of the published file: a mirror or a proxy gets in between");
    assert!(setup.files().is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_take_the_token_along() {
    let elsewhere = Server::start(|_, _| Reply::whole(&file(), ETAG)).await;
    let location = format!("location: {}/signed?secret=1", elsewhere.url);
    let server = Server::start(move |_, _| Reply {
        headers: vec![location.clone(), "content-length: 0".to_owned()],
        ..Reply::status("302 Found")
    })
    .await;
    let mut setup = setup(&server.url);
    setup.config.token = Some("hf_secret".to_owned());
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer hf_secret"));
    assert_eq!(elsewhere.requests()[0].header("authorization"), None);
    assert!(!format!("{:?}", setup.config).contains("hf_secret"));
}

#[tokio::test]
async fn two_pulls_of_one_model_download_it_once() {
    let second_waits = Arc::new(Notify::new());
    let gate = second_waits.clone();
    let server = Server::start(move |_, _| Reply {
        gate: Some(gate.clone()),
        ..Reply::whole(&file(), ETAG)
    })
    .await;
    let setup = setup(&server.url);
    let on_progress = |progress| {
        if progress == DownloadProgress::Waiting {
            second_waits.notify_one();
        }
    };
    let entry = entry();
    let pull = || pull(&setup.store, &entry, &setup.config, &on_progress);
    let both = async { tokio::join!(pull(), pull()) };
    // Without the lock neither would ever wait, and the gate stay closed.
    let (one, other) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(one.unwrap(), other.unwrap());
    setup.assert_installed();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_cancelled_pull_is_continued_by_the_next_one() {
    let server = Server::start(|number, request| match number {
        0 => Reply::whole(&file(), ETAG).cut(HALF).stall(),
        _ => Reply::rest(&file(), ETAG, request.range_start().unwrap()),
    })
    .await;
    let setup = setup(&server.url);
    let half_is_there = Notify::new();
    let on_progress = |progress| {
        if matches!(progress, DownloadProgress::Receiving { received_bytes, .. } if received_bytes == HALF as u64)
        {
            half_is_there.notify_one();
        }
    };
    let entry = entry();
    tokio::select! {
        _ = pull(&setup.store, &entry, &setup.config, &on_progress) => panic!("the server stalls"),
        () = half_is_there.notified() => {}
    }
    setup.pull().await.unwrap();
    setup.assert_installed();
    assert_eq!(server.requests()[1].range_start(), Some(HALF));
    assert_eq!(server.body_bytes(), LENGTH);
}

#[tokio::test]
async fn a_broken_file_in_its_place_is_replaced() {
    let server = Server::start(|_, _| Reply::whole(&file(), ETAG)).await;
    let setup = setup(&server.url);
    fs::create_dir(setup.store.folder()).unwrap();
    fs::write(setup.store.path_of(&entry()), &file()[..HALF]).unwrap();
    setup.pull().await.unwrap();
    setup.assert_installed();
}

#[tokio::test]
async fn without_network_the_error_names_file_and_folder() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = setup(&format!("http://{}", closed.local_addr().unwrap()));
    drop(closed);
    insta::assert_snapshot!(setup.refusal().await, @"cannot download URL: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111): check the network and try again, which goes on where this ended, or put the file at /tmp/models/ggml-test.bin, or start with `--models base-q8_0`");

    setup.config.offline = true;
    insta::assert_snapshot!(setup.refusal().await, @"model `test` is not installed and downloads are switched off: put the file URL at /tmp/models/ggml-test.bin, or start with `--models base-q8_0`");
    let known = obtain(&setup.store, "tiny-q8_0", &setup.config, &|_| {}).await;
    assert!(matches!(known, Err(ModelError::Offline { .. })), "{known:?}");
    let unknown = obtain(&setup.store, "tinny", &setup.config, &|_| {}).await;
    assert!(matches!(unknown, Err(ModelError::Unknown(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_a_network_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = setup(&format!("https://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let refusal = setup.pull().await;
    assert!(matches!(refusal, Err(ModelError::Network { .. })), "{refusal:?}");
}

#[tokio::test]
async fn a_bundled_model_is_never_requested() {
    let setup = setup("http://127.0.0.1:1");
    let refusal = obtain(&setup.store, "base-q8_0", &setup.config, &|_| {}).await;
    assert!(matches!(refusal, Err(ModelError::BundledMissing { .. })), "{refusal:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let mut setup = setup("http://127.0.0.1:1");
    let file = setup.folder.path().join("file");
    fs::write(&file, "").unwrap();
    setup.store = ModelStore::new(file.join("models"), Vec::new());
    insta::assert_snapshot!(setup.refusal().await, @"cannot write /tmp/file/models/ggml-test.bin.lock: Not a directory (os error 20): check the models folder");
}

#[tokio::test]
async fn a_setting_that_makes_no_request_is_refused() {
    let mut setup = setup("no address");
    insta::assert_snapshot!(setup.refusal().await, @"cannot set up downloads from no address: builder error: relative URL without a base: check HF_ENDPOINT and HF_TOKEN");
    setup.config.endpoint = "http://127.0.0.1:1".to_owned();
    setup.config.token = Some("two\nlines".to_owned());
    insta::assert_snapshot!(setup.refusal().await, @"cannot set up downloads from http://127.0.0.1:1: builder error: failed to parse header value: check HF_ENDPOINT and HF_TOKEN");
}

#[tokio::test]
async fn more_bytes_than_published_are_refused() {
    let server = Server::start(|_, _| Reply {
        headers: vec![format!("etag: {ETAG}")],
        ..Reply::whole(&[file(), file()].concat(), ETAG)
    })
    .await;
    let setup = setup(&server.url);
    insta::assert_snapshot!(setup.refusal().await, @"cannot download URL: the server offers more bytes, not the 300000 bytes of the published file: a mirror or a proxy gets in between");
    assert_eq!(server.requests().len(), 1);
    assert!(!setup.files().contains(&"ggml-test.bin.part.etag".to_owned()));
}
