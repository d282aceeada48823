//! `lrc`: lyrics, a line with the time at which each piece of text begins.
//!
//! The format has no specification and no way to escape; players agree on `[mm:ss.xx]` before the
//! text, in which the minutes continue past 59 and past 99.

use super::cue::{Cue, CueRules, labelled_cues};
use auris_core::transcript::Transcript;

/// A line for each subtitle. Without speech only a newline is left.
pub(super) fn render(transcript: &Transcript, rules: CueRules) -> String {
    let lines: String = labelled_cues(transcript, rules.in_one_line()).iter().map(line).collect();
    if lines.is_empty() { "\n".to_owned() } else { lines }
}

fn line(cue: &Cue) -> String {
    let hundredths = (cue.start_ms + 5) / 10;
    let (minutes, seconds) = (hundredths / 6000, hundredths / 100 % 60);
    format!("[{minutes:02}:{seconds:02}.{:02}]{}\n", hundredths % 100, without_tags(&cue.text))
}

/// `text` with other brackets than those of the format: `[…]` is a tag wherever it stands, and
/// `<…>` is the time of a word.
fn without_tags(text: &str) -> String {
    let untagged = |c| match c {
        '[' => '(',
        ']' => ')',
        '<' => '‹',
        '>' => '›',
        other => other,
    };
    text.chars().map(untagged).collect()
}

#[cfg(test)]
mod tests {
    use lrc::Lyrics;

    use super::*;
    use crate::tests::{bilingual, segment, transcript};

    #[track_caller]
    fn check(transcript: &Transcript, expected: &[(i64, &str)]) {
        let lyrics = Lyrics::from_str(render(transcript, CueRules::default())).unwrap();
        let read: Vec<_> = lyrics
            .get_timed_lines()
            .iter()
            .map(|(time, text)| (time.get_timestamp(), text.as_ref()))
            .collect();
        assert_eq!(read, expected);
        assert!(lyrics.metadata.is_empty(), "text was taken for metadata");
        assert!(lyrics.get_lines().iter().all(String::is_empty), "a line has no time");
    }

    #[test]
    fn another_reader_finds_every_line_at_its_time() {
        check(&bilingual(), &[(300, "Tea & milk, please."), (59_000, "मेरा नाम रवि है।")]);
    }

    #[test]
    fn minutes_go_on_where_hours_would_begin() {
        let late = [
            segment(59.996, 61.0, "a minute"),
            segment(3600.0, 3601.0, "an hour"),
            segment(359_999.996, 360_001.0, "a hundred hours"),
        ];
        check(
            &transcript(late.to_vec()),
            &[(60_000, "a minute"), (3_600_000, "an hour"), (360_000_000, "a hundred hours")],
        );
        insta::assert_snapshot!(render(&transcript(late.into()), CueRules::default()), @"
        [01:00.00]a minute
        [60:00.00]an hour
        [6000:00.00]a hundred hours
        ");
    }

    #[test]
    fn brackets_in_the_text_are_only_text() {
        check(
            &transcript(vec![
                segment(1.0, 2.0, "[Music] [00:59.00] [ti:Title] and <00:01.00> this [:]"),
                segment(2.0, 3.0, "[offset:99]"),
            ]),
            &[
                (1000, "(Music) (00:59.00) (ti:Title) and ‹00:01.00› this (:)"),
                (2000, "(offset:99)"),
            ],
        );
    }

    #[test]
    fn a_subtitle_of_several_lines_is_one_line() {
        let long = "Sentences of more than forty two characters are broken in other formats.";
        check(&transcript(vec![segment(0.0, 5.0, long)]), &[(0, long)]);
    }
}
