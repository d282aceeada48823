//! `text`: nothing but the text.

use crate::transcript::Transcript;

/// The text and a newline. Without speech only the newline is left.
pub(super) fn render(transcript: &Transcript) -> String {
    transcript.text() + "\n"
}
