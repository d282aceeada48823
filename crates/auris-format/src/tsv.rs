//! `tsv`: a table of segments for spreadsheets and scripts, as openai/whisper writes it
//! (`whisper/utils.py`, `WriteTSV`).

use super::timestamp::milliseconds;
use auris_core::transcript::{Segment, Transcript};

/// A line with the names of the columns, and a line for each segment. Times are in milliseconds. The
/// channel is a fourth column, where each was transcribed on its own.
pub(super) fn render(transcript: &Transcript) -> String {
    let rows: String = transcript.segments.iter().map(row).collect();
    let channel = if transcript.parts.split.is_empty() { "" } else { "\tchannel" };
    format!("start\tend\ttext{channel}\n{rows}")
}

fn row(segment: &Segment) -> String {
    let (start, end) = (milliseconds(segment.start), milliseconds(segment.end));
    let channel = segment.channel.map(|channel| format!("\t{channel}")).unwrap_or_default();
    format!("{start}\t{end}\t{}{channel}\n", one_field(&segment.text))
}

/// `text` without anything that a reader may take for the end of a field or a line.
fn one_field(text: &str) -> String {
    let ends_a_field = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.trim().replace(ends_a_field, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{segment, transcript};

    #[test]
    fn a_row_stays_one_row_of_three_fields() {
        let odd = [
            segment(0.0, 1.0, " a\tb\nc\r\nd\u{85}e\u{2028}f\u{b}g\0h "),
            segment(1.0004, 359_999.999_6, " \"quoted\", not escaped"),
        ];
        insta::assert_snapshot!(
            render(&transcript(odd.into())).replace('\t', "→"),
            @r#"
        start→end→text
        0→1000→a b c  d e f g h
        1000→360000000→"quoted", not escaped
        "#);
    }
}
