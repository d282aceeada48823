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
    use super::*;

    #[test]
    fn marks_of_the_format_in_the_text_are_only_text() {
        insta::assert_snapshot!(escape("a --> b & c < d &lt; e"), @"a --&gt; b &amp; c &lt; d &amp;lt; e");
    }
}
