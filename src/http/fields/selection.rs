//! `track` and `channel`: which part of a file is transcribed.

use super::reader::Fields;
use crate::http::error::ApiError;
use auris_core::recording::{ChannelChoice, Selection, TrackChoice};

/// The track and the channels of both fields. Whether the file has them is checked when it is
/// opened.
pub(in crate::http) fn selection(fields: &mut Fields<'_>) -> Result<Selection, ApiError> {
    let track = fields.one("track")?.map(|value| value.parse::<TrackChoice>());
    let channel = fields.one("channel")?.map(|value| value.parse::<ChannelChoice>());
    Ok(Selection {
        track: track.transpose()?.unwrap_or_default(),
        channel: channel.transpose()?.unwrap_or_default(),
    })
}
