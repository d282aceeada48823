//! Renders a transcript: a file for each response format.
