//! `vtt`: WebVTT, <https://www.w3.org/TR/webvtt1/>.

use super::cue::{Cue, CueRules, cues};
use super::timestamp::clock;
use auris_core::transcript::Transcript;

/// The header, an empty line, then the cues; ends in one newline after the last cue.
/// Without speech the header and its empty line are left, as OpenAI answers.
pub(super) fn render(transcript: &Transcript, rules: CueRules) -> String {
    let cues: Vec<String> = cues(transcript, rules).iter().map(cue).collect();
    format!("WEBVTT\n\n{}", cues.join("\n"))
}

fn cue(cue: &Cue) -> String {
    let (start, end) = (clock(cue.start_ms, '.'), clock(cue.end_ms, '.'));
    // The voice that speaks (section 3.2.2.1); it lasts to the end of the cue.
    let voice = cue.channel.map(|channel| format!("<v {channel}>")).unwrap_or_default();
    format!("{start} --> {end}\n{voice}{}\n", escape(&cue.text))
}

/// `>` needs no escape but in `-->`, which must not occur at all.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use subtp::vtt::{VttBlock, VttTimestamp, WebVtt};

    use super::*;
    use crate::tests::{bilingual, segment, transcript};

    fn check(transcript: &Transcript) {
        let body = render(transcript, CueRules::default());
        let blocks = WebVtt::parse(&body).unwrap().blocks;
        let expected = cues(transcript, CueRules::default());
        assert_eq!(blocks.len(), expected.len(), "{body}");
        for (block, cue) in blocks.into_iter().zip(&expected) {
            let VttBlock::Que(read) = block else { panic!("not a cue: {block:?}") };
            assert_eq!(ms(read.timings.start), cue.start_ms);
            assert_eq!(ms(read.timings.end), cue.end_ms);
            assert_eq!(unescape(&read.payload.join("\n")), cue.text);
        }
    }

    #[test]
    fn another_reader_finds_the_same_cues() {
        check(&bilingual());
    }

    #[test]
    fn marks_of_the_format_in_the_text_are_only_text() {
        check(&transcript(vec![
            segment(0.0, 1.0, "a --> b & c < d &lt; e"),
            segment(1.0, 2.0, "NOTE: WEBVTT"),
            segment(7200.0, 359_999.0, "00:00:01.000 --> 00:00:02.000"),
        ]));
        insta::assert_snapshot!(escape("a --> b & c < d &lt; e"), @"a --&gt; b &amp; c &lt; d &amp;lt; e");
    }

    fn ms(time: VttTimestamp) -> u64 {
        let minutes = u64::from(time.hours) * 60 + u64::from(time.minutes);
        (minutes * 60 + u64::from(time.seconds)) * 1000 + u64::from(time.milliseconds)
    }

    /// What a player shows of a cue's text. This reader leaves it as it stands.
    fn unescape(text: &str) -> String {
        text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
    }
}
