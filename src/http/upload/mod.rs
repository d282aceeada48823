//! Uploads: files for one request, and files that are kept for jobs.
//!
//! The handlers interpret the fields.

mod form;
mod open_uploads;
mod pace;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use axum::extract::{FromRequest, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::client::Client;
use super::error::ApiError;
use super::preferences::{JOBS_PATH, Preferences};
use super::state::{AppState, UploadSettings};
use auris_jobs::{JobId, JobReservation, Jobs, JobsError, RunMode, SpooledBytes};
use auris_scheduler::{Refusal, Ticket};
pub(super) use form::spool_failed;
use form::{Form, Sink};
use open_uploads::OpenUpload;
pub use open_uploads::OpenUploads;

/// A form whose file is deleted when its client disconnects.
#[derive(Debug)]
pub(super) struct Upload {
    /// The file, at its start. It has no name, so nothing is left of it when it is closed.
    pub(super) file: File,
    pub(super) fields: Vec<(String, String)>,
    /// The right to run it.
    pub(super) ticket: Ticket,
}

/// A form whose file survives a disconnect of its client.
#[derive(Debug)]
pub(super) struct KeptUpload {
    /// The file. It is deleted when dropped, unless it becomes a job's.
    pub(super) file: NamedTempFile,
    /// The bytes of it.
    pub(super) bytes: SpooledBytes,
    pub(super) fields: Vec<(String, String)>,
    pub(super) owner: String,
    pub(super) preferences: Preferences,
    /// A hash over address, fields and file if there is an idempotency key, else empty.
    pub(super) fingerprint: String,
    pub(super) room: Room,
}

/// The place of a job whose file has arrived.
#[derive(Debug)]
pub(super) enum Room {
    /// It is a new one, and there is room for it. It has a ticket if its client waits for it.
    New { reservation: JobReservation, ticket: Option<Ticket> },
    /// Its idempotency key was sent before, with that fingerprint.
    Known { job: JobId, fingerprint: String },
}

/// Either of them, by what the client's headers say.
#[derive(Debug)]
pub(super) enum AnyUpload {
    Passing(Upload),
    Kept(Box<KeptUpload>),
}

impl FromRequest<AppState> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let _open = begin(&request, state)?;
        let ticket = admit(&request, state).await?;
        let mut received = 0;
        let on_file_bytes = |part| {
            received += part;
            ticket.receive(received);
            Ok(())
        };
        let (file, fields) = receive(request, &state.uploads, on_file_bytes).await?;
        Ok(Self { file, fields, ticket })
    }
}

/// Counts an upload of the caller.
fn begin(request: &Request, state: &AppState) -> Result<OpenUpload, ApiError> {
    let Client { caller, .. } = Client::of(request.extensions());
    state.open_uploads.begin(&caller, state.uploads.most_per_client)
}

/// Receives a form into a file without a name.
async fn receive(
    request: Request,
    settings: &UploadSettings,
    on_file_bytes: impl FnMut(u64) -> Result<(), ApiError>,
) -> Result<(File, Vec<(String, String)>), ApiError> {
    let folder = settings.spool.clone();
    let file = spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    let file = file.map_err(io::Error::other).flatten().map_err(|error| {
        ApiError::io(
            &format!("the spool folder {} cannot be used", settings.spool.display()),
            &error,
        )
    })?;
    let sink = Sink { file, digest: None };
    let Form { fields, sink } = Form::receive(request, settings, sink, on_file_bytes).await?;
    let mut file = sink.file;
    file.seek(SeekFrom::Start(0)).map_err(|error| spool_failed(&error))?;
    Ok((file, fields))
}

/// Receives a form without a server around it, for fuzzing: its file and its other fields.
#[doc(hidden)]
pub async fn receive_form(
    request: Request,
    settings: &UploadSettings,
) -> Result<(File, Vec<(String, String)>), Response> {
    receive(request, settings, |_| Ok(())).await.map_err(IntoResponse::into_response)
}

impl FromRequest<AppState> for KeptUpload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let jobs = state.jobs()?.clone();
        let _open = begin(&request, state)?;
        let Client { owner, caller } = Client::of(request.extensions());
        let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let mut preferences = Preferences::read(request.headers())?;
        preferences.respond_async |= path.as_deref() == Some(JOBS_PATH);
        let key = preferences.idempotency_key.as_deref();
        let known = match key {
            Some(key) => jobs.find(&owner, key).await?,
            None => None,
        };
        let mode = match preferences.respond_async {
            true => RunMode::Background,
            false => RunMode::Attended,
        };
        let ticket = match known {
            Some(_) => None,
            None => look_for_room(&request, state, &jobs, mode).await?,
        };
        let declared = number(request.headers(), header::CONTENT_LENGTH).unwrap_or(0);
        let mut bytes = jobs.spooled(&caller, declared).await?;
        let digest = key.map(|_| Sha256::new());
        let file = jobs.upload().await.map_err(JobsError::from)?;
        let own = file.as_file().try_clone().map_err(|error| spool_failed(&error))?;
        let sink = Sink { file: own, digest };
        let mut received = 0;
        let on_file_bytes = |part| {
            received += part;
            if let Some(ticket) = &ticket {
                ticket.receive(received);
            }
            Ok(bytes.add(part)?)
        };
        let Form { fields, sink } =
            Form::receive(request, &state.uploads, sink, on_file_bytes).await?;
        (&sink.file).rewind().map_err(|error| spool_failed(&error))?;
        let fingerprint = sink.digest.map(|digest| {
            let mut digest = digest.chain_update(path.unwrap_or_default());
            for text in fields.iter().flat_map(|(name, value)| [name, value]) {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
            hex::encode(digest.finalize())
        });
        let fingerprint = fingerprint.unwrap_or_default();
        let room = match known {
            Some((job, fingerprint)) => Room::Known { job, fingerprint },
            // Only now: an upload that never comes takes no job's place.
            None => {
                let reservation = jobs.reserve(owner.clone(), &caller, mode)?;
                Room::New { reservation, ticket }
            }
        };
        Ok(Self { file, bytes, fields, owner, preferences, fingerprint, room })
    }
}

/// Refuses a job for which there is no room before gigabytes are received. Returns the right to run
/// it, if its client waits for it.
fn look_for_room(
    request: &Request,
    state: &AppState,
    jobs: &Jobs,
    mode: RunMode,
) -> impl Future<Output = Result<Option<Ticket>, ApiError>> + use<> {
    let client = Client::of(request.extensions());
    let ticket = admit(request, state);
    let (jobs, scheduler) = (jobs.clone(), state.pipeline.scheduler.clone());
    async move {
        jobs.check_room(&client.caller)?;
        match mode {
            RunMode::Attended => Ok(Some(ticket.await?)),
            RunMode::Background => {
                // A job waits on the disk, so only a server that ends has no room for it.
                drop(scheduler.admit_background().await?);
                Ok(None)
            }
        }
    }
}

impl FromRequest<AppState> for AnyUpload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if Preferences::read(request.headers())?.is_durable() {
            KeptUpload::from_request(request, state).await.map(|kept| Self::Kept(kept.into()))
        } else {
            Upload::from_request(request, state).await.map(Self::Passing)
        }
    }
}

/// Refuses a request for which there is no room before gigabytes are received.
fn admit(
    request: &Request,
    state: &AppState,
) -> impl Future<Output = Result<Ticket, Refusal>> + use<> {
    let client = Client::of(request.extensions());
    let scheduler = state.pipeline.scheduler.clone();
    async move { scheduler.admit(client.caller).await }
}

pub(super) fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
