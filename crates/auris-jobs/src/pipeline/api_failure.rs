//! What is reported for a failed request: in a response, in a stream or for a stored job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PipelineError;
use auris_audio::AudioError;
use auris_core::shortage::Shortage;
use auris_scheduler::{ChunkError, Refusal};

/// Why a job failed.
// Of a request, too. Stored with a job, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobError)]
pub struct ApiFailure {
    /// What failed, where, and what to do about it.
    #[schema(examples("the file is cut off"))]
    pub message: String,
    /// The invalid field.
    #[schema(required, examples("file"))]
    pub param: Option<String>,
    /// A fixed name of the error, for programs.
    #[schema(value_type = String, examples("undecodable_audio"))]
    pub code: FailureCode,
}

/// Names of failures, part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureCode {
    AudioQuarantined,
    AudioTooLong,
    Cancelled,
    CannotDetectLanguage,
    DecoderFailed,
    DecodingTimeout,
    EmptyFile,
    EngineFailed,
    InternalError,
    InvalidValue,
    ModelNotFound,
    ModelUnavailable,
    NoAudio,
    Overloaded,
    RateLimitExceeded,
    ResourcesExhausted,
    ShuttingDown,
    UndecodableAudio,
    UnsupportedAudio,
    UnsupportedLayout,
}

use FailureCode as Code;

impl FailureCode {
    /// Whether the server may be at fault: it is broken, short of something, set up differently or
    /// too slow now, or has a bug that the file triggers. A job that failed so keeps its audio and
    /// may be run again.
    pub fn may_be_servers_fault(self) -> bool {
        match self {
            Self::CannotDetectLanguage
            | Self::DecoderFailed
            | Self::DecodingTimeout
            | Self::EngineFailed
            | Self::InternalError
            // These were accepted with the job.
            | Self::AudioTooLong
            | Self::ModelNotFound
            | Self::UnsupportedAudio
            | Self::UnsupportedLayout
            | Self::ModelUnavailable
            | Self::Overloaded
            | Self::RateLimitExceeded
            | Self::ResourcesExhausted
            | Self::ShuttingDown => true,
            Self::AudioQuarantined
            | Self::Cancelled
            | Self::EmptyFile
            | Self::InvalidValue
            | Self::NoAudio
            | Self::UndecodableAudio => false,
        }
    }
}

impl ApiFailure {
    fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    fn of(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.code,
            Code::ModelUnavailable
                | Code::Overloaded
                | Code::RateLimitExceeded
                | Code::ResourcesExhausted
                | Code::ShuttingDown
        )
    }

    /// The request was cancelled while it ran.
    pub fn cancelled() -> Self {
        Self::new(Code::Cancelled, "the transcription was cancelled")
    }

    /// The server ended while the request ran.
    pub fn interrupted() -> Self {
        (&Refusal::Draining).into()
    }

    /// An internal error; its cause is logged, not sent.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        Self::new(Code::InternalError, "the server failed on this request; its log says why")
    }
}

impl From<&PipelineError> for ApiFailure {
    fn from(error: &PipelineError) -> Self {
        let message = error.to_string();
        match error {
            PipelineError::Audio(error) => error.into(),
            PipelineError::Refused(refusal) => refusal.into(),
            PipelineError::Chunk(error) => error.into(),
            PipelineError::UnknownModel { .. } => {
                Self::new(Code::ModelNotFound, message).of("model")
            }
            PipelineError::ModelLanguage { .. } => {
                Self::new(Code::InvalidValue, message).of("language")
            }
            PipelineError::CannotDetect => Self::new(Code::CannotDetectLanguage, message),
            PipelineError::Shortage(shortage) => shortage.into(),
            PipelineError::DecoderPanicked => Self::new(Code::DecoderFailed, message).of("file"),
            PipelineError::DecoderHangs => Self::new(Code::DecodingTimeout, message).of("file"),
            PipelineError::NoDecoder => Self::new(Code::Overloaded, message),
        }
    }
}

impl From<&AudioError> for ApiFailure {
    fn from(error: &AudioError) -> Self {
        let code = match error {
            AudioError::Io(cause) => {
                return match Shortage::of(cause) {
                    Some(shortage) => (&shortage).into(),
                    None => Self::internal(cause),
                };
            }
            AudioError::Empty => Code::EmptyFile,
            AudioError::UnknownFormat { .. }
            | AudioError::UnsupportedCodec { .. }
            | AudioError::EncodedTrack { .. }
            | AudioError::EncryptedTrack { .. }
            | AudioError::NeedsFfmpeg { .. } => Code::UnsupportedAudio,
            AudioError::TooManyChannels { .. } | AudioError::SampleRate { .. } => {
                Code::UnsupportedLayout
            }
            AudioError::NoAudioTrack { .. } | AudioError::NoSamples { .. } => Code::NoAudio,
            AudioError::Corrupt { .. } => Code::UndecodableAudio,
            AudioError::NoTrack { .. } => {
                return Self::new(Code::InvalidValue, error.to_string()).of("track");
            }
            AudioError::NoChannel { .. } => {
                return Self::new(Code::InvalidValue, error.to_string()).of("channel");
            }
            AudioError::TooSlow => Code::DecodingTimeout,
            AudioError::TooLong { .. } => {
                let message = format!("{error} (the server's --max-audio-hours raises the limit)");
                return Self::new(Code::AudioTooLong, message).of("file");
            }
        };
        Self::new(code, error.to_string()).of("file")
    }
}

impl From<&Shortage> for ApiFailure {
    fn from(shortage: &Shortage) -> Self {
        Self::new(Code::ResourcesExhausted, shortage.to_string())
    }
}

impl From<&Refusal> for ApiFailure {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Full { .. } => Code::Overloaded,
            Refusal::Share { .. } => Code::RateLimitExceeded,
            Refusal::Draining => Code::ShuttingDown,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<&ChunkError> for ApiFailure {
    fn from(error: &ChunkError) -> Self {
        match error {
            ChunkError::Unavailable { .. } => Self::new(Code::ModelUnavailable, error.to_string()),
            ChunkError::Quarantined => {
                let message = "this audio crashed the engine twice and is not tried again; cut \
                               out the part or convert the file, and try that";
                Self::new(Code::AudioQuarantined, message).of("file")
            }
            ChunkError::Failed { reason } => {
                tracing::error!(reason, "a request failed on every attempt");
                let message = "the engine failed on this audio at every attempt; \
                               GET /v1/devices and the server's log say why";
                Self::new(Code::EngineFailed, message)
            }
            ChunkError::ShutDown => (&Refusal::Draining).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use auris_audio::{AudioStream, Limits};

    #[test]
    fn a_file_that_cannot_be_read_is_no_fault_of_it() {
        // Address 0 of a process, which reads as EIO.
        let file = File::open("/proc/self/mem").unwrap();
        let error = AudioStream::open(file, &Limits::default()).err().expect("unreadable");
        let failure = ApiFailure::from(&error);
        assert_eq!(failure.code, Code::ResourcesExhausted, "{failure:?}");
        assert!(failure.may_pass() && failure.code.may_be_servers_fault());
        assert_eq!(failure.param, None);
    }

    #[test]
    fn a_server_that_is_set_up_differently_now_is_at_fault() {
        let limit = std::time::Duration::from_secs(60);
        for error in [
            AudioError::NeedsFfmpeg { container: "WMA", codec: None },
            AudioError::TooLong { signals: 1, limit },
            AudioError::TooManyChannels { found: 6, limit: 2 },
        ] {
            let failure = ApiFailure::from(&error);
            assert!(!failure.may_pass() && failure.code.may_be_servers_fault(), "{failure:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_at_fault() {
        let error = AudioError::Corrupt { container: "WAV", cause: "cut".to_owned() };
        let failure = ApiFailure::from(&error);
        assert!(!failure.may_pass() && !failure.code.may_be_servers_fault(), "{failure:?}");
    }
}
