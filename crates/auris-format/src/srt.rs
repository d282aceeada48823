//! `srt`: SubRip subtitles.
//!
//! The format has no specification and no way to escape; players agree on numbered cues, comma
//! decimals, and `-->` between the times alone.

use super::cue::{Cue, CueRules, labelled_cues};
use super::timestamp::clock;
use auris_core::transcript::Transcript;

/// The subtitles, which end in one newline. Without speech only the newline is left.
pub(super) fn render(transcript: &Transcript, rules: CueRules) -> String {
    let cues: Vec<String> = labelled_cues(transcript, rules).iter().zip(1..).map(cue).collect();
    if cues.is_empty() { "\n".to_owned() } else { cues.join("\n") }
}

fn cue((cue, number): (&Cue, u32)) -> String {
    let (start, end) = (clock(cue.start_ms, ','), clock(cue.end_ms, ','));
    // Many readers take any line with the ASCII arrow for times.
    let text = cue.text.replace("-->", "→");
    format!("{number}\n{start} --> {end}\n{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{segment, transcript};

    #[test]
    fn an_arrow_in_the_text_starts_no_cue() {
        let body =
            render(&transcript(vec![segment(0.0, 1.0, "a --> b ---> c")]), CueRules::default());
        assert_eq!(body, "1\n00:00:00,000 --> 00:00:01,000\na → b -→ c\n");
    }
}
