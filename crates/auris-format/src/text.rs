//! `text`: nothing but the text; where channels were transcribed each on its own, a line for each
//! turn, with the channel before it.

use auris_core::recording::Channel;
use auris_core::transcript::{Segment, Transcript};

/// The text and a newline. Without speech only the newline is left.
pub(super) fn render(transcript: &Transcript) -> String {
    with_turns(transcript) + "\n"
}

/// The text of [`Format::Text`] without the newline at its end: pieces of [`TurnLines`], joined.
///
/// [`Format::Text`]: super::Format::Text
pub fn with_turns(transcript: &Transcript) -> String {
    let mut lines = TurnLines::default();
    let whole: String = transcript.segments.iter().map(|segment| lines.piece(segment)).collect();
    whole.trim().to_owned()
}

/// Begins a line where another channel begins to speak.
#[derive(Debug, Default)]
pub struct TurnLines {
    speaking: Option<Channel>,
}

impl TurnLines {
    /// What a segment adds to the text.
    pub fn piece(&mut self, segment: &Segment) -> String {
        let text = &segment.text;
        match segment.channel {
            Some(channel) if self.speaking != Some(channel) => {
                self.speaking = Some(channel);
                format!("\n{channel}: {}", text.trim_start())
            }
            _ => text.clone(),
        }
    }
}
