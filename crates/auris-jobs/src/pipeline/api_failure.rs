//! What is reported for a failed request: in a response, in a stream or for a stored job.

use serde::{Deserialize, Serialize};

use super::PipelineError;
use auris_audio::AudioError;
use auris_scheduler::{ChunkError, Refusal};

/// Why a request has no transcript, in words for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFailure {
    /// A name for programs, such as `unsupported_audio`.
    pub code: String,
    /// What failed, for what, and what to do about it.
    pub message: String,
    /// The field that is at fault.
    pub param: Option<String>,
}

impl ApiFailure {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), param: None }
    }

    fn of(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.code.as_str(),
            "model_unavailable" | "overloaded" | "rate_limit_exceeded" | "shutting_down"
        )
    }

    /// The request was cancelled while it ran.
    pub fn cancelled() -> Self {
        Self::new("cancelled", "the transcription was cancelled")
    }

    /// The server ended while the request ran.
    pub fn interrupted() -> Self {
        (&Refusal::Draining).into()
    }

    /// An internal error; its cause is logged, not sent.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        Self::new("internal_error", "the server failed on this request; its log says why")
    }
}

impl From<&PipelineError> for ApiFailure {
    fn from(error: &PipelineError) -> Self {
        let message = error.to_string();
        match error {
            PipelineError::Audio(error) => error.into(),
            PipelineError::Refused(refusal) => refusal.into(),
            PipelineError::Chunk(error) => error.into(),
            PipelineError::UnknownModel { .. } => Self::new("model_not_found", message).of("model"),
            PipelineError::ModelLanguage { .. } => {
                Self::new("invalid_value", message).of("language")
            }
            PipelineError::CannotDetect => Self::new("cannot_detect_language", message),
            PipelineError::DecoderPanicked => Self::new("undecodable_audio", message).of("file"),
            PipelineError::DecoderHangs => Self::new("decoding_timeout", message).of("file"),
            PipelineError::NoDecoder => Self::new("overloaded", message),
        }
    }
}

impl From<&AudioError> for ApiFailure {
    fn from(error: &AudioError) -> Self {
        let code = match error {
            AudioError::Io(cause) => return Self::internal(cause),
            AudioError::Empty => "empty_file",
            AudioError::UnknownFormat { .. }
            | AudioError::UnsupportedCodec { .. }
            | AudioError::EncodedTrack { .. }
            | AudioError::EncryptedTrack { .. }
            | AudioError::NeedsFfmpeg { .. } => "unsupported_audio",
            AudioError::TooManyChannels { .. } | AudioError::SampleRate { .. } => {
                "unsupported_layout"
            }
            AudioError::NoAudioTrack { .. } | AudioError::NoSamples { .. } => "no_audio",
            AudioError::Corrupt { .. } => "undecodable_audio",
            AudioError::NoTrack { .. } => {
                return Self::new("invalid_value", error.to_string()).of("track");
            }
            AudioError::NoChannel { .. } => {
                return Self::new("invalid_value", error.to_string()).of("channel");
            }
            AudioError::TooSlow => "decoding_timeout",
            AudioError::TooLong { .. } => {
                let message = format!("{error} (the server's --max-audio-hours raises the limit)");
                return Self::new("audio_too_long", message).of("file");
            }
        };
        Self::new(code, error.to_string()).of("file")
    }
}

impl From<&Refusal> for ApiFailure {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Full { .. } => "overloaded",
            Refusal::Share { .. } => "rate_limit_exceeded",
            Refusal::Draining => "shutting_down",
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<&ChunkError> for ApiFailure {
    fn from(error: &ChunkError) -> Self {
        match error {
            ChunkError::Unavailable { .. } => Self::new("model_unavailable", error.to_string()),
            ChunkError::Quarantined => {
                let message = "this audio crashed the engine twice and is not tried again; cut \
                               out the part or convert the file, and try that";
                Self::new("audio_quarantined", message).of("file")
            }
            ChunkError::Failed { reason } => {
                tracing::error!(reason, "a request failed on every attempt");
                let message = "the engine failed on this audio at every attempt; \
                               GET /v1/devices and the server's log say why";
                Self::new("engine_failed", message)
            }
            ChunkError::ShutDown => (&Refusal::Draining).into(),
        }
    }
}
