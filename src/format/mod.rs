//! Renders a transcript: a file for each response format.
//!
//! Pure: a [`Transcript`] in, text out. Which format and what detail a caller wants is read from
//! the request by `http`; streaming is there too.
//!
//! To add a format: a file with a `render` function, a variant of [`Format`] (the compiler asks for
//! the rest), and its line in the table test below.

mod timestamp;

mod cue;
mod delta;

mod json;
mod srt;
mod text;
mod verbose_json;
mod vtt;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use cue::CueRules;
pub use delta::Deltas;
pub use json::{Transcription, TranscriptionLogprob, Usage};
pub use verbose_json::{
    TranscriptionRun, TranscriptionSegment, TranscriptionVerbose, TranscriptionWord,
};

use crate::transcript::Transcript;

/// The shape of an answer, by its name in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The text in an object.
    #[default]
    Json,
    /// The text with times, confidence and where it was made.
    VerboseJson,
    /// The text alone.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
}

/// The text names no format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown response format {0:?}: give one of {list}", list = names())]
pub struct UnknownFormat(pub String);

/// What `verbose_json` tells times of. It has a list for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granularities {
    /// Times of segments.
    pub segments: bool,
    /// Times of words. They must have been asked of the engine as well.
    pub words: bool,
}

impl Default for Granularities {
    /// Segments only.
    fn default() -> Self {
        Self { segments: true, words: false }
    }
}

/// What a body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rendering {
    /// Its format.
    pub format: Format,
    /// What [`Format::VerboseJson`] tells times of.
    pub granularities: Granularities,
    /// How subtitles are laid out.
    pub cues: CueRules,
    /// Whether [`Format::Json`] tells how sure the model was of each token. That must have been
    /// asked of the engine as well.
    pub logprobs: bool,
}

/// `transcript` as the whole body of an answer. The text formats end in one newline.
pub fn render(transcript: &Transcript, rendering: &Rendering) -> String {
    let Rendering { format, granularities, .. } = *rendering;
    match format {
        Format::Json => to_json(&Transcription::new(transcript, rendering.logprobs)),
        Format::VerboseJson => to_json(&TranscriptionVerbose::new(transcript, granularities)),
        Format::Text => text::render(transcript),
        Format::Srt => srt::render(transcript),
        Format::Vtt => vtt::render(transcript),
    }
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Json, Self::VerboseJson, Self::Text, Self::Srt, Self::Vtt];

    /// Its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
            Self::Text => "text",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
        }
    }

    /// What a file of this format is called after its dot.
    pub fn file_extension(self) -> &'static str {
        match self {
            Self::Json | Self::VerboseJson => "json",
            Self::Text => "txt",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
        }
    }

    /// The value of the header `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::VerboseJson => "application/json",
            Self::Text | Self::Srt => "text/plain; charset=utf-8",
            Self::Vtt => "text/vtt; charset=utf-8",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn names() -> String {
    Format::ALL.map(Format::name).join(", ")
}

fn to_json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("structs of strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend, DeviceId};
    use crate::language::Language;
    use crate::transcript::{Run, Segment, Task, Word};

    pub(super) fn segment(start: f64, end: f64, text: &str) -> Segment {
        Segment {
            start,
            end,
            text: text.to_owned(),
            tokens: vec![314, 15],
            temperature: 0.2,
            avg_logprob: -0.25,
            compression_ratio: 1.5,
            no_speech_prob: 0.01,
            words: Vec::new(),
            logprobs: Vec::new(),
        }
    }

    pub(super) fn transcript(segments: Vec<Segment>) -> Transcript {
        let run = |start, end, device, backend, reason: Option<&str>| Run {
            start,
            end,
            device,
            backend,
            model: "demo".to_owned(),
            fallback_reason: reason.map(str::to_owned),
        };
        Transcript {
            task: Task::Transcribe,
            language: Language::ENGLISH,
            duration: 61.2004,
            segments,
            runs: vec![
                run(0.0, 29.5, DeviceId::indexed(Backend::Cuda, 0), Backend::Cuda, None),
                run(29.5, 61.2, DeviceId::cpu(), Backend::Cpu, Some("cuda:0 is out of memory")),
            ],
        }
    }

    /// Two segments with words, English and Hindi, each made elsewhere.
    pub(super) fn bilingual() -> Transcript {
        let word =
            |text: &str, start, end| Word { text: text.to_owned(), start, end, probability: 0.9 };
        let english = [
            word("Tea", 0.1 + 0.2, 0.5),
            word("&", 0.5, 0.6),
            word("milk,", 0.6, 1.1),
            word("please.", 1.1, 1.75),
        ];
        let hindi = [
            word("मेरा", 59.0, 59.4),
            word("नाम", 59.4, 59.7),
            word("रवि", 59.7, 59.9996),
            word("है।", 59.9996, 60.5),
        ];
        transcript(vec![
            Segment { words: english.to_vec(), ..segment(0.1 + 0.2, 1.75, " Tea & milk, please.") },
            Segment {
                words: hindi.to_vec(), ..segment(59.0, 60.5, " मेरा नाम रवि है।")
            },
        ])
    }

    fn rendering(format: Format, granularities: Granularities) -> Rendering {
        Rendering { format, granularities, ..Rendering::default() }
    }

    #[test]
    fn every_format_of_one_transcript() {
        let both = Granularities { segments: true, words: true };
        let bodies: Vec<String> = Format::ALL
            .map(|format| {
                format!("== {format}\n{}", render(&bilingual(), &rendering(format, both)))
            })
            .into();
        insta::assert_snapshot!(bodies.join("\n"), @r#"
        == json
        {"text":"Tea & milk, please. मेरा नाम रवि है।","usage":{"type":"duration","seconds":62}}
        == verbose_json
        {"task":"transcribe","language":"english","duration":61.2,"text":"Tea & milk, please. मेरा नाम रवि है।","segments":[{"id":0,"seek":0,"start":0.3,"end":1.75,"text":" Tea & milk, please.","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01},{"id":1,"seek":2950,"start":59.0,"end":60.5,"text":" मेरा नाम रवि है।","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01}],"words":[{"word":"Tea","start":0.3,"end":0.5},{"word":"&","start":0.5,"end":0.6},{"word":"milk,","start":0.6,"end":1.1},{"word":"please.","start":1.1,"end":1.75},{"word":"मेरा","start":59.0,"end":59.4},{"word":"नाम","start":59.4,"end":59.7},{"word":"रवि","start":59.7,"end":60.0},{"word":"है।","start":60.0,"end":60.5}],"usage":{"type":"duration","seconds":62},"runs":[{"start":0.0,"end":29.5,"device":"cuda:0","backend":"cuda","model":"demo"},{"start":29.5,"end":61.2,"device":"cpu","backend":"cpu","model":"demo","fallback_reason":"cuda:0 is out of memory"}]}
        == text
        Tea & milk, please. मेरा नाम रवि है।

        == srt
        1
        00:00:00,300 --> 00:00:01,750
        Tea & milk, please.

        2
        00:00:59,000 --> 00:01:00,500
        मेरा नाम रवि है।

        == vtt
        WEBVTT

        00:00:00.300 --> 00:00:01.750
        Tea &amp; milk, please.

        00:00:59.000 --> 00:01:00.500
        मेरा नाम रवि है।
        "#);
    }

    #[test]
    fn silence_in_every_format() {
        let silent = Transcript { duration: 2.0, runs: Vec::new(), ..transcript(Vec::new()) };
        let bodies =
            Format::ALL.map(|format| render(&silent, &rendering(format, Granularities::default())));
        insta::assert_debug_snapshot!(bodies, @r#"
        [
            "{\"text\":\"\",\"usage\":{\"type\":\"duration\",\"seconds\":2}}",
            "{\"task\":\"transcribe\",\"language\":\"english\",\"duration\":2.0,\"text\":\"\",\"segments\":[],\"usage\":{\"type\":\"duration\",\"seconds\":2},\"runs\":[]}",
            "\n",
            "\n",
            "WEBVTT\n\n",
        ]
        "#);
    }

    #[test]
    fn text_bodies_end_in_one_newline() {
        for format in [Format::Text, Format::Srt, Format::Vtt] {
            let body = render(&bilingual(), &rendering(format, Granularities::default()));
            assert!(body.ends_with('\n') && !body.ends_with("\n\n"), "{format}: {body:?}");
        }
    }

    #[test]
    fn names_are_read_back_as_text_and_as_json() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }

    #[test]
    fn an_unknown_format_is_told_the_known_ones() {
        insta::assert_snapshot!(
            "xml".parse::<Format>().unwrap_err(),
            @r#"unknown response format "xml": give one of json, verbose_json, text, srt, vtt"#
        );
        assert_eq!("x".repeat(99).parse::<Format>().unwrap_err().0.len(), 40);
    }
}
