//! Receives a multipart form: the file into the spool, the fields into memory.
//!
//! A file is never whole in memory, and its name and type are ignored. Fields may come in
//! any order. What the fields mean is the handler's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::number;
use super::pace::UploadPace;
use crate::http::error::ApiError;
use crate::http::fields::speakers_refusal;
use crate::http::state::UploadSettings;

/// The field that holds the file: OpenAI's name, and that of whisper-asr-webservice.
const FILE_FIELDS: [&str; 2] = ["file", "audio_file"];

/// The most bytes that all fields other than the file may have together.
const MAX_TEXT_BYTES: usize = 100_000;

const MAX_FIELDS: usize = 100;

/// The most bytes between the content of one part and that of the next. The form's parser keeps
/// them all and searches them from the start again and again. Real ones have a few hundred, but
/// what one read of the connection brings (128 KiB) counts as well.
const MAX_BETWEEN_BYTES: usize = 4 << 20;

const WRITE_BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Form {
    /// The fields other than the file, in the order in which they came.
    pub(super) fields: Vec<(String, String)>,
    pub(super) sink: Sink,
}

/// Where a form's file goes, and where it is afterwards.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) file: std::fs::File,
    /// A hash over it, if that is wanted.
    pub(super) digest: Option<Sha256>,
}

impl Form {
    /// Receives a form, and writes its file into `sink`. Calls `on_file_bytes` with the length of
    /// each part of the file before it is written; an error ends the upload.
    pub(super) async fn receive(
        request: Request,
        settings: &UploadSettings,
        sink: Sink,
        mut on_file_bytes: impl FnMut(u64) -> Result<(), ApiError>,
    ) -> Result<Self, ApiError> {
        check_headers(&request, settings)?;
        let pace = UploadPace::new(settings);
        let reception = Reception { settings, pace, unclaimed: Arc::default() };
        let request = request.map(|body| reception.watch(body));
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
            ApiError::bad_request(
                "the request is not a multipart/form-data form with a boundary: send the audio as \
                 the form's field `file`",
            )
        })?;
        let (mut sink, mut received) = (Some(sink), None);
        let mut fields = Vec::new();
        let mut text_bytes = 0;
        let mut misplaced = None;
        while let Some(field) = reception.next(form.next_field()).await? {
            match field.name().unwrap_or_default() {
                "" => {
                    let message = "a part of the form has no name: name the audio's `file`";
                    return Err(ApiError::bad_request(message));
                }
                name if FILE_FIELDS.contains(&name) => {
                    let twice = "send one file in each request";
                    let sink = sink.take().ok_or_else(|| ApiError::bad_field(name, twice))?;
                    received = Some(reception.spool(field, sink, &mut on_file_bytes).await?);
                }
                _ if fields.len() >= MAX_FIELDS => {
                    let message = format!("the form has more than {MAX_FIELDS} fields");
                    return Err(ApiError::bad_request(message));
                }
                name => {
                    if field.file_name().is_some() {
                        misplaced = misplaced.or_else(|| Some(shown(name)));
                    }
                    let (name, text) = reception.text(field, MAX_TEXT_BYTES - text_bytes).await?;
                    text_bytes += text.len();
                    fields.push((name, text));
                }
            }
        }
        let sink = received.ok_or_else(|| match misplaced {
            Some(name) => misplaced_file(&name),
            None => {
                let missing = "the form has no field `file`: send the audio in it";
                ApiError::bad_field("file", missing)
            }
        })?;
        Ok(Self { fields, sink })
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

/// The error for a file in a field of another name.
fn misplaced_file(name: &str) -> ApiError {
    let message = format!("the form has a file in the field `{name}`: send it in the field `file`");
    ApiError::bad_field(name, message)
}

/// The beginning of a field's name.
fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

fn too_large(settings: &UploadSettings) -> ApiError {
    let message = format!(
        "the upload is larger than {} bytes: send a compressed file (FLAC, Opus, MP3) or raise \
         the server's --max-upload-bytes",
        settings.max_bytes
    );
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message).for_param("file")
}

struct Reception<'a> {
    settings: &'a UploadSettings,
    pace: UploadPace,
    /// Bytes received since the parser last gave something out.
    unclaimed: Arc<AtomicUsize>,
}

impl Reception<'_> {
    /// Fails the body when the parser buffers too much of it.
    fn watch(&self, body: Body) -> Body {
        let unclaimed = Arc::clone(&self.unclaimed);
        let receive = self.pace.receiver();
        Body::from_stream(body.into_data_stream().map(move |part| {
            let part = part?;
            receive(part.len());
            match unclaimed.fetch_add(part.len(), Ordering::Relaxed) + part.len() {
                hoarded if hoarded > MAX_BETWEEN_BYTES => Err(axum::Error::new(TooMuchBetween)),
                _ => Ok(part),
            }
        }))
    }

    /// Awaits the next part of the body, unless the client is too slow.
    async fn next<T>(
        &self,
        part: impl Future<Output = Result<T, MultipartError>>,
    ) -> Result<T, ApiError> {
        match self.pace.await_part(part).await {
            Ok(Ok(part)) => {
                self.unclaimed.store(0, Ordering::Relaxed);
                Ok(part)
            }
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(self.settings))
            }
            // The parser does not report the cause.
            Ok(Err(_)) if self.unclaimed.load(Ordering::Relaxed) > MAX_BETWEEN_BYTES => {
                let message = format!("the multipart form cannot be read: {TooMuchBetween}");
                Err(ApiError::bad_request(message))
            }
            Ok(Err(error)) => Err(ApiError::bad_request(format!(
                "the multipart form cannot be read ({}): was it sent to its end?",
                error.body_text()
            ))),
            Err(too_slow) => Err(too_slow.into()),
        }
    }

    async fn spool(
        &self,
        mut field: Field<'_>,
        sink: Sink,
        on_bytes: &mut impl FnMut(u64) -> Result<(), ApiError>,
    ) -> Result<Sink, ApiError> {
        let settings = self.settings;
        let Sink { file, mut digest } = sink;
        let file = tokio::fs::File::from_std(file);
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        let mut bytes = 0;
        while let Some(part) = self.next(field.chunk()).await? {
            bytes += part.len() as u64;
            if bytes > settings.max_bytes {
                return Err(too_large(settings));
            }
            on_bytes(part.len() as u64)?;
            if let Some(digest) = &mut digest {
                digest.update(&part);
            }
            writer.write_all(&part).await.map_err(|error| spool_failed(&error))?;
        }
        writer.flush().await.map_err(|error| spool_failed(&error))?;
        Ok(Sink { file: writer.into_inner().into_std().await, digest })
    }

    /// A field's name and text, of which there may be `max_bytes`.
    async fn text(
        &self,
        mut field: Field<'_>,
        max_bytes: usize,
    ) -> Result<(String, String), ApiError> {
        let name = shown(field.name().unwrap_or_default());
        let is_file = field.file_name().is_some();
        let mut value = Vec::new();
        while let Some(part) = self.next(field.chunk()).await? {
            if value.len() + part.len() > max_bytes {
                if is_file {
                    return Err(misplaced_file(&name));
                }
                // Recordings of speakers are long.
                if let Some(refusal) = speakers_refusal(&name) {
                    return Err(refusal);
                }
                let message = format!(
                    "the fields other than the file have more than {MAX_TEXT_BYTES} bytes \
                     together: shorten this one"
                );
                return Err(ApiError::bad_field(&name, message));
            }
            value.extend_from_slice(&part);
        }
        match String::from_utf8(value) {
            Ok(value) => Ok((name, value)),
            Err(_) if is_file => Err(misplaced_file(&name)),
            Err(_) => Err(ApiError::bad_field(&name, "the field is not UTF-8 text")),
        }
    }
}

/// The body begins with something other than a form, or the headers of a part go on and on.
#[derive(Debug, thiserror::Error)]
#[error("there are more than {MAX_BETWEEN_BYTES} bytes before a part's content")]
struct TooMuchBetween;

/// The error for a file of the spool that cannot be written.
pub(in crate::http) fn spool_failed(error: &std::io::Error) -> ApiError {
    ApiError::io("an upload cannot be written to the spool", error)
}
