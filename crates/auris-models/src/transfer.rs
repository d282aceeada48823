//! One request for a file, or for the rest of it, written to `NAME.bin.part` as it comes.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::ModelError;
use super::progress::DownloadProgress;
use super::registry::{DEFAULT_ENDPOINT, PublishedModel};
use super::store::{etag_path, part_path};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection without a byte for so long is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Chunks between the network and the disk; a chunk is at most some 100 kB.
const WRITE_QUEUE: usize = 16;

/// Where downloads come from, and whether there are any.
#[derive(Clone)]
pub struct DownloadConfig {
    /// Hugging Face's address or that of a mirror (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Sent to the endpoint's host and to no other (`HF_TOKEN`).
    pub token: Option<String>,
    /// No connection is made.
    pub offline: bool,
    /// The pause before the second attempt; it doubles with each that brought nothing.
    pub retry_pause: Duration,
}

impl Default for DownloadConfig {
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
            retry_pause: Duration::from_secs(1),
        }
    }
}

impl std::fmt::Debug for DownloadConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DownloadConfig")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .field("retry_pause", &self.retry_pause)
            .finish()
    }
}

/// What the attempts at one file have in common.
pub(super) struct Transfer {
    client: Client,
    token: Option<String>,
    url: String,
    /// Where the whole file will be.
    path: PathBuf,
    size_bytes: u64,
    lock: Arc<File>,
}

/// A client that gives up after `read_timeout` without a byte.
///
/// # Errors
/// The system's certificates cannot be read.
pub fn http_client(read_timeout: Duration) -> reqwest::Result<Client> {
    http_client_builder(read_timeout).build()
}

/// [`http_client`] for a server on this machine: ignores the proxy of the environment.
///
/// # Errors
/// The system's certificates cannot be read.
pub fn local_http_client(read_timeout: Duration) -> reqwest::Result<Client> {
    http_client_builder(read_timeout).no_proxy().build()
}

/// The builder of [`http_client`], for other settings.
pub fn http_client_builder(read_timeout: Duration) -> ClientBuilder {
    // Fails only if a provider is there already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("auris/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(read_timeout)
}

impl Transfer {
    /// # Errors
    /// [`ModelError::Setting`] when the endpoint is no address or the token no header value.
    pub(super) fn new(
        entry: &PublishedModel,
        config: &DownloadConfig,
        path: PathBuf,
        lock: Arc<File>,
    ) -> Result<Self, ModelError> {
        let setting = |reason| ModelError::Setting { endpoint: config.endpoint.clone(), reason };
        let client = http_client(READ_TIMEOUT).map_err(|error| setting(causes(error)))?;
        let transfer = Self {
            client,
            token: config.token.clone(),
            url: entry.url(&config.endpoint),
            path,
            size_bytes: entry.size_bytes,
            lock,
        };
        transfer.request().build().map_err(|error| setting(causes(error)))?;
        Ok(transfer)
    }

    pub(super) fn received_bytes(&self) -> u64 {
        fs::metadata(part_path(&self.path)).map_or(0, |metadata| metadata.len())
    }

    /// Downloads what is missing. `Ok` means that the part has its full length.
    ///
    /// # Errors
    /// [`ModelError::Network`], [`ModelError::Status`], [`ModelError::WrongFile`] and
    /// [`ModelError::Write`]. What has arrived is kept for the next attempt.
    pub(super) async fn attempt(
        &self,
        on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
    ) -> Result<(), ModelError> {
        let (kept_bytes, etag) = self.kept();
        if kept_bytes == self.size_bytes {
            return Ok(());
        }
        let mut request = self.request();
        if let Some(etag) = &etag {
            request = request.header(RANGE, format!("bytes={kept_bytes}-")).header(IF_RANGE, etag);
        }
        let response = request.send().await.map_err(|error| self.network(error))?;
        let start = self.start_of(&response, kept_bytes, etag.as_deref())?;
        let (queue, writer) = self.writer(start, strong_etag(&response));
        let received = self.pump(response, start, &queue, on_progress).await;
        drop(queue);
        writer.await.unwrap_or_else(|error| {
            Err(ModelError::Write { path: part_path(&self.path), source: error.into() })
        })?;
        if matches!(received, Err(ModelError::WrongFile { .. })) {
            self.forget();
        }
        match received? {
            bytes if bytes == self.size_bytes => Ok(()),
            bytes => Err(self.interrupted(format!("the connection ended after {bytes} bytes"))),
        }
    }

    /// reqwest drops the token if a redirect changes scheme, host or port.
    fn request(&self) -> reqwest::RequestBuilder {
        let request = self.client.get(&self.url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The length and version of what an earlier attempt left, if the rest can be
    /// requested: a part of an unknown version is useless, unless it is complete.
    fn kept(&self) -> (u64, Option<String>) {
        let kept_bytes = self.received_bytes();
        if kept_bytes == self.size_bytes {
            return (kept_bytes, None);
        }
        let etag = fs::read_to_string(etag_path(&self.path)).ok();
        match etag.filter(|_| (1..self.size_bytes).contains(&kept_bytes)) {
            Some(etag) => (kept_bytes, Some(etag)),
            None => (0, None),
        }
    }

    /// Where in the file the response's body begins.
    fn start_of(
        &self,
        response: &Response,
        kept_bytes: u64,
        etag: Option<&str>,
    ) -> Result<u64, ModelError> {
        let wrong_file = |offered| ModelError::WrongFile {
            url: self.url.clone(),
            offered,
            expected_bytes: self.size_bytes,
        };
        let status = response.status();
        match status {
            StatusCode::OK => match response.content_length() {
                Some(length) if length != self.size_bytes => {
                    Err(wrong_file(format!("{length} bytes")))
                }
                _ => Ok(0),
            },
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or("no range");
                let expected =
                    format!("bytes {kept_bytes}-{}/{}", self.size_bytes - 1, self.size_bytes);
                if range != expected {
                    self.forget();
                    return Err(wrong_file(range.to_owned()));
                }
                // A server that knows ranges and not If-Range would mix two versions.
                if strong_etag(response).as_deref() != etag {
                    self.forget();
                    return Err(self.interrupted("the file changed on the server".to_owned()));
                }
                Ok(kept_bytes)
            }
            _ => {
                if status == StatusCode::RANGE_NOT_SATISFIABLE {
                    self.forget();
                }
                Err(ModelError::Status { url: self.url.clone(), status: status.as_u16() })
            }
        }
    }

    /// Starts the thread that appends to the part from `start` on. It also holds the lock, so
    /// that no other download begins while a cancelled one still writes.
    fn writer(
        &self,
        start: u64,
        etag: Option<String>,
    ) -> (mpsc::Sender<Bytes>, JoinHandle<Result<(), ModelError>>) {
        let part = part_path(&self.path);
        let etag_path = etag_path(&self.path);
        let lock = self.lock.clone();
        let (queue, mut chunks) = mpsc::channel::<Bytes>(WRITE_QUEUE);
        let write = move || {
            let _lock = lock;
            let mut file = if start == 0 {
                File::create(&part)
            } else {
                File::options().append(true).open(&part)
            }?;
            if start == 0 {
                // Emptied first: a crash in between leaves no part with a wrong version.
                match etag {
                    Some(etag) => fs::write(&etag_path, etag)?,
                    None => drop(fs::remove_file(&etag_path)),
                }
            }
            while let Some(chunk) = chunks.blocking_recv() {
                file.write_all(&chunk)?;
            }
            file.sync_all()
        };
        let path = part_path(&self.path);
        let writer =
            spawn_blocking(move || write().map_err(|source| ModelError::Write { path, source }));
        (queue, writer)
    }

    /// Passes the body to the writer and returns the length of the file afterwards.
    async fn pump(
        &self,
        mut response: Response,
        start: u64,
        queue: &mpsc::Sender<Bytes>,
        on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
    ) -> Result<u64, ModelError> {
        let total_bytes = self.size_bytes;
        let mut received_bytes = start;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.network(error))? {
            received_bytes += chunk.len() as u64;
            if received_bytes > total_bytes {
                return Err(ModelError::WrongFile {
                    url: self.url.clone(),
                    offered: "more bytes".to_owned(),
                    expected_bytes: total_bytes,
                });
            }
            if queue.send(chunk).await.is_err() {
                // The writer failed and returns the reason.
                break;
            }
            on_progress(DownloadProgress::Receiving { received_bytes, total_bytes });
        }
        Ok(received_bytes)
    }

    /// Makes the next attempt start over.
    fn forget(&self) {
        let _ = fs::remove_file(etag_path(&self.path));
    }

    fn network(&self, error: reqwest::Error) -> ModelError {
        self.interrupted(causes(error))
    }

    fn interrupted(&self, reason: String) -> ModelError {
        ModelError::Network { url: self.url.clone(), path: self.path.clone(), reason }
    }
}

/// The response's version, if it promises the same bytes: If-Range takes no other.
fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.headers().get(ETAG)?.to_str().ok()?;
    etag.starts_with('"').then(|| etag.to_owned())
}

/// An error with its causes, without the address: redirects carry signatures in theirs.
pub fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
