//! `json`: the text, what it is charged by, and how sure the model was of it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{TranscriptionLanguage, timestamp};
use auris_core::transcript::{TokenLogprob, Transcript};

/// A transcript in the default format, `json`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Transcription)]
pub struct TranscriptionJson {
    /// The whole text.
    #[schema(examples("The quick brown fox jumps over the lazy dog."))]
    pub text: String,
    /// The log probability of each token, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub logprobs: Option<Vec<TranscriptionLogprob>>,
    /// The languages of the speech; empty if there is none.
    pub languages: Vec<TranscriptionLanguage>,
    /// The amount of transcribed audio.
    pub usage: TranscriptionUsage,
}

/// A token and its log probability.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionLogprob {
    /// The text of the token with its leading space. Part of a character is shown as `\u{fffd}`.
    #[schema(examples(" fox"))]
    pub token: String,
    /// The natural logarithm of the probability.
    #[schema(examples(-0.04))]
    pub logprob: f32,
    /// The text of the token in UTF-8. All tokens together have the bytes of the whole text.
    #[schema(examples(json!([32, 102, 111, 120])))]
    pub bytes: Vec<u8>,
}

/// The amount of transcribed audio, as OpenAI counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TranscriptionUsage {
    /// The length of the audio.
    Duration {
        /// Whole seconds, rounded up.
        #[schema(examples(9))]
        seconds: u64,
    },
}

impl TranscriptionUsage {
    /// The usage of a request: the length of the file, times the channels that were transcribed each
    /// on its own.
    pub fn of(transcript: &Transcript) -> Self {
        let seconds = transcript.duration * transcript.parts.signals() as f64;
        Self::Duration { seconds: timestamp::milliseconds(seconds).div_ceil(1000) }
    }
}

impl TranscriptionJson {
    /// `transcript`, with the log probabilities of its tokens or without.
    pub fn new(transcript: &Transcript, logprobs: bool) -> Self {
        let tokens = transcript.segments.iter().flat_map(|segment| &segment.logprobs);
        Self {
            text: transcript.text(),
            logprobs: logprobs.then(|| tokens.map(TranscriptionLogprob::from).collect()),
            languages: TranscriptionLanguage::of(transcript),
            usage: TranscriptionUsage::of(transcript),
        }
    }
}

impl From<&TokenLogprob> for TranscriptionLogprob {
    fn from(TokenLogprob { bytes, logprob }: &TokenLogprob) -> Self {
        let token = String::from_utf8_lossy(bytes).into_owned();
        // JSON has no infinity. This is what OpenAI answers for what is as good as impossible.
        let logprob = if logprob.is_finite() { *logprob } else { -9999.0 };
        Self { token, logprob, bytes: bytes.clone() }
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;
    use crate::tests::{segment, transcript};
    use auris_core::recording::Channel;
    use auris_core::transcript::Segment;

    fn sure(bytes: &[u8], logprob: f32) -> TokenLogprob {
        TokenLogprob { bytes: bytes.to_vec(), logprob }
    }

    #[test]
    fn tokens_are_reported_with_their_spaces_and_bytes_if_they_are_asked_for() {
        let greeting = Segment {
            logprobs: vec![sure(b" Tea", -0.25), sure(b" \xe0\xa4", f32::NEG_INFINITY)],
            ..segment(0.0, 1.0, " Tea न")
        };
        let end = Segment { logprobs: vec![sure(b"\xa8", -1.5)], ..segment(1.0, 2.0, "") };
        let transcript = transcript(vec![greeting, end]);
        let json = |logprobs| serde_json::to_string(&TranscriptionJson::new(&transcript, logprobs));
        insta::assert_snapshot!(json(true).unwrap(), @r#"{"text":"Tea न","logprobs":[{"token":" Tea","logprob":-0.25,"bytes":[32,84,101,97]},{"token":" �","logprob":-9999.0,"bytes":[32,224,164]},{"token":"�","logprob":-1.5,"bytes":[168]}],"languages":[{"code":"en"}],"usage":{"type":"duration","seconds":62}}"#);
        insta::assert_snapshot!(json(false).unwrap(), @r#"{"text":"Tea न","languages":[{"code":"en"}],"usage":{"type":"duration","seconds":62}}"#);
    }

    #[test]
    fn the_schema_says_that_bytes_are_numbers_and_log_probabilities_may_be_absent() {
        let schema = serde_json::to_value(TranscriptionLogprob::schema()).unwrap();
        assert_eq!(schema["properties"]["bytes"]["type"], "array");
        assert_eq!(schema["properties"]["bytes"]["items"]["type"], "integer");
        let schema = serde_json::to_value(TranscriptionJson::schema()).unwrap();
        assert_eq!(schema["required"], serde_json::json!(["text", "languages", "usage"]));
    }

    #[test]
    fn started_seconds_count_whole() {
        for (duration, expected) in [(0.0, 0), (0.01, 1), (9.0, 9), (9.000_04, 9), (9.2, 10)] {
            let transcript = Transcript { duration, ..transcript(Vec::new()) };
            let expected = TranscriptionUsage::Duration { seconds: expected };
            assert_eq!(TranscriptionUsage::of(&transcript), expected, "{duration}");
        }
    }

    #[test]
    fn channels_that_are_transcribed_each_on_its_own_count_each() {
        let mut call = Transcript { duration: 9.2, ..transcript(Vec::new()) };
        call.parts.split = Channel::all(2);
        assert_eq!(TranscriptionUsage::of(&call), TranscriptionUsage::Duration { seconds: 19 });
    }
}
