//! What all parts of a run share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, watch};

use super::files::AudioFile;
use super::record::Record;
use super::settings::Settings;
use super::webhooks::Receiver;

/// The most requests and the most uploads of jobs at the same time.
const AT_ONCE: usize = 8;

pub struct Run {
    pub settings: Settings,
    pub files: Vec<AudioFile>,
    pub record: Record,
    pub receiver: Receiver,
    pub client: reqwest::Client,
    pub started: Instant,
    pub requests_at_once: Semaphore,
    pub jobs_at_once: Semaphore,
    accepted: Mutex<BTreeMap<String, Accepted>>,
    /// Jobs that had ended when the log of the database was damaged. Their end may be lost, so that
    /// they run and are reported again.
    repeated: Mutex<BTreeSet<String>>,
    /// Jobs that had ended when the whole database was given up. Nothing is left of those whose
    /// audio was removed.
    lost: Mutex<BTreeSet<String>>,
    /// Where the server listens; `None` while it is down.
    address: watch::Sender<Option<SocketAddr>>,
    /// Odd while the server cannot be expected to answer.
    hindrance: AtomicU64,
}

/// A job that the server has accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The number of its file.
    pub file: usize,
    pub key: Option<String>,
    pub has_webhook: bool,
}

impl Run {
    pub fn new(
        settings: Settings,
        files: Vec<AudioFile>,
        receiver: Receiver,
        client: reqwest::Client,
    ) -> Self {
        Self {
            settings,
            files,
            record: Record::default(),
            receiver,
            client,
            started: Instant::now(),
            requests_at_once: Semaphore::new(AT_ONCE),
            jobs_at_once: Semaphore::new(AT_ONCE),
            accepted: Mutex::default(),
            repeated: Mutex::default(),
            lost: Mutex::default(),
            address: watch::Sender::new(None),
            hindrance: AtomicU64::new(1),
        }
    }

    /// The server listens at `address` and has nothing in its way.
    pub fn open(&self, address: SocketAddr) {
        self.address.send_replace(Some(address));
        self.unhinder();
    }

    /// The server is about to be stopped.
    pub fn close(&self) {
        self.hinder();
        self.address.send_replace(None);
    }

    /// From now on the server cannot be expected to answer.
    pub fn hinder(&self) {
        if self.unhindered().is_some() {
            self.hindrance.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub fn unhinder(&self) {
        if self.unhindered().is_none() {
            self.hindrance.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A number that stays the same while the server can be expected to answer.
    pub fn unhindered(&self) -> Option<u64> {
        Some(self.hindrance.load(Ordering::SeqCst)).filter(|count| count.is_multiple_of(2))
    }

    /// Waits until the server listens.
    pub async fn address(&self) -> SocketAddr {
        let mut address = self.address.subscribe();
        let known = address.wait_for(Option::is_some).await.ok().and_then(|known| *known);
        // The sender lives as long as this.
        known.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub async fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address().await)
    }

    pub fn accepted(&self) -> MutexGuard<'_, BTreeMap<String, Accepted>> {
        lock(&self.accepted)
    }

    pub fn may_repeat(&self, jobs: &BTreeSet<String>) {
        lock(&self.repeated).extend(jobs.iter().cloned());
    }

    pub fn may_lose(&self, jobs: &BTreeSet<String>) {
        lock(&self.lost).extend(jobs.iter().cloned());
    }

    pub fn is_repeated(&self, job: &str) -> bool {
        lock(&self.repeated).contains(job)
    }

    pub fn is_lost(&self, job: &str) -> bool {
        lock(&self.lost).contains(job)
    }

    /// A moment of the `n`th of `count` clients, spread over the time of the faults.
    pub fn turn(&self, n: u32, count: u32) -> Instant {
        self.started + self.settings.duration.mul_f64(f64::from(n) / f64::from(count.max(1)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
