//! Why packets could not be decoded.

use symphonia::core::errors::Error;

/// What went wrong in a row, to give up on a file that is nothing else.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) packets: u32,
    pub(super) resets: u32,
    pub(super) cause: Option<Cause>,
}

pub(super) enum Cause {
    Damaged(String),
    Unsupported(&'static str),
}

impl Failures {
    /// Notes the first cause; later ones are mostly its consequences.
    pub(super) fn add(&mut self, error: &Error) {
        self.cause.get_or_insert_with(|| match error {
            Error::Unsupported(what) => Cause::Unsupported(what),
            error => Cause::Damaged(error.to_string()),
        });
    }
}
