//! Receives a multipart form: the file into the spool, the fields into memory.
//!
//! A file is never whole in memory, and its name and type are not looked at. Fields may come in
//! any order. What the fields mean is the handler's business.

use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::time::timeout;

use super::client::Client;
use super::error::ApiError;
use super::state::{AppState, UploadSettings};
use crate::scheduler::{Attempt, Ticket};

/// How often the same request was sent before.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// The most bytes that one field other than the file may have.
const MAX_FIELD_BYTES: usize = 64 * 1024;

/// The most fields that a form may have.
const MAX_FIELDS: usize = 100;

/// The most bytes between the content of one part and that of the next. The form's parser keeps
/// them all and searches them from the start again and again. Real ones have a few hundred, but
/// what one read of the connection brings (400 kB) counts as well.
const MAX_BETWEEN_BYTES: usize = 4 << 20;

/// Bytes gathered before they are written to the spool.
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// A received form.
#[derive(Debug)]
pub(super) struct Upload {
    /// The file, at its start. It has no name, so nothing is left of it when it is closed.
    pub(super) file: std::fs::File,
    /// The other fields, in the order in which they came.
    pub(super) fields: Vec<(String, String)>,
    /// Who sent it.
    pub(super) client: Client,
    /// The right to run it.
    pub(super) ticket: Ticket,
}

impl FromRequest<AppState> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let settings = &state.uploads;
        check_headers(&request, settings)?;
        // Who has no room now is told before gigabytes are received, not after.
        let client = Client::of(request.extensions());
        let attempt = attempt(&request);
        let ticket = state.pipeline.scheduler.admit(client.caller.clone(), attempt).await?;
        let reception = Reception { settings, unclaimed: Arc::default() };
        let request = request.map(|body| reception.watch(body));
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
            ApiError::bad_request(
                "the request is not a multipart/form-data form with a boundary: send the audio as \
                 the form's field `file`",
            )
        })?;
        let mut file = None;
        let mut fields = Vec::new();
        while let Some(field) = reception.next(form.next_field()).await? {
            match field.name().unwrap_or_default() {
                "" => {
                    let message = "a part of the form has no name: name the audio's `file`";
                    return Err(ApiError::bad_request(message));
                }
                "file" if file.is_some() => {
                    return Err(ApiError::bad_field("file", "send one file in each request"));
                }
                "file" => file = Some(reception.spool(field).await?),
                _ if fields.len() >= MAX_FIELDS => {
                    let message = format!("the form has more than {MAX_FIELDS} fields");
                    return Err(ApiError::bad_request(message));
                }
                _ => fields.push(reception.text(field).await?),
            }
        }
        let missing = "the form has no field `file`: send the audio in it";
        let file = file.ok_or_else(|| ApiError::bad_field("file", missing))?;
        Ok(Self { file, fields, client, ticket })
    }
}

fn check_headers(request: &Request, settings: &UploadSettings) -> Result<(), ApiError> {
    let headers = request.headers();
    let encoding = headers.get(header::CONTENT_ENCODING);
    if let Some(encoding) = encoding.filter(|encoding| *encoding != "identity") {
        let message = format!(
            "uploads with content-encoding {encoding:?} are not accepted: send the form as it is"
        );
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", message));
    }
    match number(headers, header::CONTENT_LENGTH) {
        // The form's own lines come on top of the file.
        Some(length) if length > settings.max_bytes.saturating_add(1 << 20) => {
            Err(too_large(settings))
        }
        _ => Ok(()),
    }
}

/// What tells a request that comes back: OpenAI's clients count their retries.
fn attempt(request: &Request) -> Attempt {
    let headers = request.headers();
    Attempt {
        bytes: number(headers, header::CONTENT_LENGTH),
        is_first: number(headers, RETRY_COUNT) == Some(0),
    }
}

fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn too_large(settings: &UploadSettings) -> ApiError {
    let message = format!(
        "the upload is larger than {} bytes: send a compressed file (FLAC, Opus, MP3) or raise \
         the server's --max-upload-bytes",
        settings.max_bytes
    );
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message).for_param("file")
}

/// A form on its way in.
struct Reception<'a> {
    settings: &'a UploadSettings,
    /// Bytes received since the parser last gave something out.
    unclaimed: Arc<AtomicUsize>,
}

impl Reception<'_> {
    /// Fails the body when the parser hoards too much of it.
    fn watch(&self, body: Body) -> Body {
        let unclaimed = Arc::clone(&self.unclaimed);
        Body::from_stream(body.into_data_stream().map(move |part| {
            let part = part?;
            match unclaimed.fetch_add(part.len(), Ordering::Relaxed) + part.len() {
                hoarded if hoarded > MAX_BETWEEN_BYTES => Err(axum::Error::new(TooMuchBetween)),
                _ => Ok(part),
            }
        }))
    }

    /// Awaits the next part of the body, unless the client stops sending.
    async fn next<T>(
        &self,
        part: impl Future<Output = Result<T, MultipartError>>,
    ) -> Result<T, ApiError> {
        let limit = self.settings.idle_timeout;
        match timeout(limit, part).await {
            Ok(Ok(part)) => {
                self.unclaimed.store(0, Ordering::Relaxed);
                Ok(part)
            }
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(self.settings))
            }
            // The parser does not pass the cause on.
            Ok(Err(_)) if self.unclaimed.load(Ordering::Relaxed) > MAX_BETWEEN_BYTES => {
                let message = format!("the multipart form cannot be read: {TooMuchBetween}");
                Err(ApiError::bad_request(message))
            }
            Ok(Err(error)) => Err(ApiError::bad_request(format!(
                "the multipart form cannot be read ({}): was it sent to its end?",
                error.body_text()
            ))),
            Err(_) => {
                let seconds = limit.as_secs_f64();
                let message = format!("nothing was received for {seconds} s: send it again");
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "upload_stalled", message))
            }
        }
    }

    /// Streams the file into the spool.
    async fn spool(&self, mut field: Field<'_>) -> Result<std::fs::File, ApiError> {
        let settings = self.settings;
        let file = create(&settings.spool).await.map_err(|error| {
            let spool = settings.spool.display();
            ApiError::internal(&format!("the spool folder {spool} cannot be used: {error}"))
        })?;
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        let mut bytes = 0;
        while let Some(part) = self.next(field.chunk()).await? {
            bytes += part.len() as u64;
            if bytes > settings.max_bytes {
                return Err(too_large(settings));
            }
            writer.write_all(&part).await.map_err(|error| spool_failed(&error))?;
        }
        writer.flush().await.map_err(|error| spool_failed(&error))?;
        let mut file = writer.into_inner().into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(|error| spool_failed(&error))?;
        Ok(file)
    }

    /// Reads a field of text.
    async fn text(&self, mut field: Field<'_>) -> Result<(String, String), ApiError> {
        let name: String = field.name().unwrap_or_default().chars().take(100).collect();
        let mut value = Vec::new();
        while let Some(part) = self.next(field.chunk()).await? {
            if value.len() + part.len() > MAX_FIELD_BYTES {
                let message =
                    format!("the field is larger than {MAX_FIELD_BYTES} bytes: shorten it");
                return Err(ApiError::bad_field(&name, message));
            }
            value.extend_from_slice(&part);
        }
        match String::from_utf8(value) {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ApiError::bad_field(&name, "the field is not UTF-8 text")),
        }
    }
}

/// The body begins with something other than a form, or the headers of a part go on and on.
#[derive(Debug, thiserror::Error)]
#[error("there are more than {MAX_BETWEEN_BYTES} bytes before a part's content")]
struct TooMuchBetween;

fn spool_failed(error: &std::io::Error) -> ApiError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        let message = "the server has no disk space left for uploads";
        return ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "spool_full", message);
    }
    ApiError::internal(&format!("an upload cannot be written to the spool: {error}"))
}

async fn create(folder: &Path) -> std::io::Result<tokio::fs::File> {
    let folder = folder.to_owned();
    let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    file.map_err(std::io::Error::other)?.map(tokio::fs::File::from_std)
}
