//! Provisioning against a download server that misbehaves. There are no devices, so a model can be
//! used as soon as it has arrived.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::Settings;
use auris_models::StandInReason;
use auris_models::testing::server::{Reply, Server};
use auris_models::testing::{entry, file};

const PATIENCE: Duration = Duration::from_secs(20);

/// The published models `test` and `other`, the same file under two names.
fn entries() -> [&'static PublishedModel; 2] {
    let test: &'static PublishedModel = Box::leak(Box::new(entry()));
    let other = PublishedModel { name: "other", file_name: "ggml-other.bin", ..entry() };
    [test, Box::leak(Box::new(other))]
}

/// An empty folder, and a bundled model beside it.
fn provision(folder: &TempDir, endpoint: &str, missing: &[&'static PublishedModel]) -> Provision {
    let store = ModelStore::new(folder.path().join("models"), Vec::new());
    let requested: Vec<ModelFile> =
        missing.iter().map(|entry| store.file_after_download(entry)).collect();
    let names: Vec<&str> = missing.iter().map(|entry| entry.name).collect();
    let stand_in = ModelFile { name: "bundled".to_owned(), ..requested[0].clone() };
    Provision {
        catalog: Catalog::with_stand_in(requested, &names, stand_in),
        store,
        download: DownloadConfig {
            endpoint: endpoint.to_owned(),
            retry_pause: Duration::from_millis(1),
            ..DownloadConfig::default()
        },
        scheduler: Scheduler::start(Settings::default()),
        whole_windows: false,
    }
}

/// Which model does the work of `model`, and why.
fn runner(catalog: &Catalog, model: &str) -> (String, Option<StandInReason>) {
    let models = catalog.now();
    let (name, reason) = models.runner(models.find(model).unwrap());
    (name.to_owned(), reason)
}

async fn until(catalog: &Catalog, model: &str, reason: Option<StandInReason>) {
    let started = Instant::now();
    while runner(catalog, model).1 != reason {
        assert!(started.elapsed() < PATIENCE, "{model}: {:?}", catalog.now());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_model_takes_over_when_it_has_arrived() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let server = Server::start(move |_, _| Reply {
        gate: Some(Arc::clone(&held)),
        ..Reply::whole(&file(), "\"one\"")
    })
    .await;
    let folder = TempDir::new().unwrap();
    let [test, _] = entries();
    let provision = provision(&folder, &server.url, &[test]);
    let catalog = provision.catalog.clone();
    provision.start(&[test]);
    while server.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let meanwhile = ("bundled".to_owned(), Some(StandInReason::ModelDownloading));
    assert_eq!(runner(&catalog, "test"), meanwhile);
    gate.notify_one();
    until(&catalog, "test", None).await;
    assert_eq!(runner(&catalog, "test").0, "test");
    assert!(Path::new(&folder.path().join("models/ggml-test.bin")).is_file());
}

#[tokio::test]
async fn whatever_fails_is_tried_again_until_the_right_file_comes() {
    let repaired = Arc::new(Notify::new());
    let held = Arc::clone(&repaired);
    let server = Server::start(move |number, _| match number {
        // Another file of the same length; a server that breaks off; a server that returns errors.
        0 => Reply::whole(&vec![7; file().len()], "\"one\""),
        1 => Reply::whole(&file(), "\"two\"").cut(1_000),
        2..=7 => Reply::status("503 Service Unavailable"),
        8 => Reply::status("404 Not Found"),
        _ => Reply { gate: Some(Arc::clone(&held)), ..Reply::whole(&file(), "\"three\"") },
    })
    .await;
    let folder = TempDir::new().unwrap();
    let [test, _] = entries();
    let provision = provision(&folder, &server.url, &[test]);
    let catalog = provision.catalog.clone();
    provision.start(&[test]);
    until(&catalog, "test", Some(StandInReason::ModelNotAvailable)).await;
    let models = catalog.now();
    let (_, availability) = models.iter().next().unwrap();
    let Availability::Missing { reason } = availability else { panic!("{availability:?}") };
    assert!(reason.contains("SHA-256"), "{reason}");
    while server.requests().len() < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(runner(&catalog, "test").0, "bundled");
    repaired.notify_one();
    until(&catalog, "test", None).await;
}

#[tokio::test]
async fn a_download_that_hangs_keeps_no_other_one_waiting() {
    let server = Server::start(|_, request| {
        let whole = Reply::whole(&file(), "\"one\"");
        if request.path().ends_with("ggml-test.bin") { whole.cut(1_000).stall() } else { whole }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let [test, other] = entries();
    let provision = provision(&folder, &server.url, &[test, other]);
    let catalog = provision.catalog.clone();
    provision.start(&[test, other]);
    until(&catalog, "other", None).await;
    assert_eq!(runner(&catalog, "test").0, "bundled");
    assert!(!catalog.now().is_complete());
}

#[tokio::test]
async fn offline_nothing_is_requested() {
    let server = Server::start(|_, _| Reply::whole(&file(), "\"one\"")).await;
    let folder = TempDir::new().unwrap();
    let [test, _] = entries();
    let mut provision = provision(&folder, &server.url, &[test]);
    provision.download.offline = true;
    let catalog = provision.catalog.clone();
    provision.fetch(test).await;
    assert_eq!(runner(&catalog, "test").1, Some(StandInReason::ModelNotAvailable));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_manually_installed_file_is_found() {
    let folder = TempDir::new().unwrap();
    let [test, _] = entries();
    let provision = provision(&folder, "http://127.0.0.1:1", &[test]);
    let (catalog, path) = (provision.catalog.clone(), provision.store.path_of(test));
    provision.start(&[test]);
    until(&catalog, "test", Some(StandInReason::ModelNotAvailable)).await;
    let arriving = path.with_extension("new");
    std::fs::write(&arriving, file()).unwrap();
    std::fs::rename(&arriving, &path).unwrap();
    until(&catalog, "test", None).await;
}
