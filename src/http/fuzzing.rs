//! The fields of every endpoint without a server around them, for fuzzing.

use axum::response::{IntoResponse, Response};

use super::asr::{AsrQuery, DetectLanguageQuery};
use super::error::ApiError;
use super::fields::{Endpoint, Fields, TranscriptionParams};
use super::jobs::{ListQuery, TranscriptQuery};
use super::whisper_cpp::InferenceForm;
use auris_format::Rendering;

/// Reads the fields of a request as the handler of `path` does. Returns the names of the fields
/// that it ignores, or the response.
pub fn read_fields(path: &str, pairs: &[(String, String)]) -> Result<Vec<String>, Box<Response>> {
    read(path, pairs).map_err(|error| Box::new(error.into_response()))
}

fn read(path: &str, pairs: &[(String, String)]) -> Result<Vec<String>, ApiError> {
    let endpoint = match path {
        "/v1/audio/transcriptions" => Some(Endpoint::Transcriptions),
        "/v1/audio/translations" => Some(Endpoint::Translations),
        "/v1/jobs" => Some(Endpoint::Jobs),
        _ => None,
    };
    if let Some(endpoint) = endpoint {
        return Ok(TranscriptionParams::read(endpoint, pairs)?.ignored);
    }
    let mut fields = Fields::new(pairs);
    match path {
        "/inference" => drop(InferenceForm::read(&mut fields)?.params()?),
        "/asr" => drop(AsrQuery::read(&mut fields)?.params()?),
        "/detect-language" => {
            DetectLanguageQuery::read(&mut fields)?;
        }
        "/v1/jobs?" => {
            ListQuery::read(&mut fields)?;
        }
        _ => {
            TranscriptQuery::read(&mut fields)?.rendering(Rendering::default())?;
        }
    }
    Ok(fields.ignored())
}
