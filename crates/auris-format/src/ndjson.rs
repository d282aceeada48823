//! `ndjson`: a JSON object on each line, <https://github.com/ndjson/ndjson-spec>: the segments, one
//! by one, and at the end what is known of the whole.
//!
//! A segment's line can be made as soon as there is the segment, so a long transcript can be sent
//! and read while it is made.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Granularities, TranscriptionSegment, TranscriptionVerbose, TranscriptionWord, to_json,
    verbose_json,
};
use auris_core::transcript::{Run, Segment, Transcript};

/// A line of a transcript in `ndjson`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TranscriptionLine {
    /// A segment. These lines come in order of time.
    Segment(TranscriptionSegmentLine),
    /// The last line: everything but the segments and words, which are in the lines before.
    Transcript(TranscriptionVerbose),
}

/// A segment with its words.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionSegmentLine {
    /// The segment.
    #[serde(flatten)]
    pub segment: TranscriptionSegment,
    /// The words, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub words: Option<Vec<TranscriptionWord>>,
}

/// The line of a segment with its newline. `id` counts from 0, `runs` are those known so far,
/// `words` is whether words were requested.
pub fn ndjson_segment_line(id: usize, segment: &Segment, runs: &[Run], words: bool) -> String {
    line(&TranscriptionLine::Segment(TranscriptionSegmentLine {
        segment: TranscriptionSegment::new(id, segment, runs),
        words: words.then(|| verbose_json::words(segment).collect()),
    }))
}

/// The last line with its newline.
pub fn ndjson_transcript_line(transcript: &Transcript) -> String {
    let neither = Granularities { segments: false, words: false };
    line(&TranscriptionLine::Transcript(TranscriptionVerbose::new(transcript, neither)))
}

/// All lines.
pub(super) fn render(transcript: &Transcript, words: bool) -> String {
    let Transcript { segments, runs, .. } = transcript;
    let segments = segments.iter().enumerate();
    let lines = segments.map(|(id, segment)| ndjson_segment_line(id, segment, runs, words));
    lines.chain([ndjson_transcript_line(transcript)]).collect()
}

/// JSON escapes every newline in a text, so that the one at the end is the only one.
fn line(line: &TranscriptionLine) -> String {
    to_json(line) + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tests::{bilingual, segment, transcript};

    fn lines(transcript: &Transcript, words: bool) -> Vec<Value> {
        let body = render(transcript, words);
        assert!(body.ends_with('\n'));
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_hold_what_verbose_json_holds() {
        let both = Granularities { segments: true, words: true };
        let whole = to_json(&TranscriptionVerbose::new(&bilingual(), both));
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let lines = lines(&bilingual(), true);
        let (last, segments) = lines.split_last().unwrap();
        let mut words = Vec::new();
        for (line, expected) in segments.iter().zip(whole["segments"].as_array().unwrap()) {
            let mut line = line.as_object().unwrap().clone();
            assert_eq!(line.remove("type").unwrap(), "segment");
            words.extend(line.remove("words").unwrap().as_array().unwrap().clone());
            assert_eq!(&Value::Object(line), expected);
        }
        assert_eq!(&Value::Array(words), &whole["words"]);
        let mut last = last.as_object().unwrap().clone();
        assert_eq!(last.remove("type").unwrap(), "transcript");
        let mut expected = whole.as_object().unwrap().clone();
        expected.retain(|key, _| key != "segments" && key != "words");
        assert_eq!(last, expected);
    }

    #[test]
    fn words_are_there_only_if_they_are_asked_for() {
        for words in [true, false] {
            for line in lines(&bilingual(), words) {
                assert_eq!(line.get("words").is_some(), words && line["type"] == "segment");
            }
        }
    }

    #[test]
    fn a_text_never_ends_its_line() {
        let lines = lines(&transcript(vec![segment(0.0, 1.0, "a\nb\r\nc\u{2028}d\u{85}e")]), false);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["text"], "a\nb\r\nc\u{2028}d\u{85}e");
    }

    #[test]
    fn silence_is_the_last_line_alone() {
        let lines = lines(&transcript(Vec::new()), true);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["type"], "transcript");
    }
}
