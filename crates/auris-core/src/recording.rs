//! Recordings: the tracks and channels of a file, and which of them are transcribed.
//!
//! Plain data and its textual form. `auris_audio` finds out what a file contains.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which part of a file to transcribe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    pub track: TrackChoice,
    pub channel: ChannelChoice,
}

/// Which audio track of a file to transcribe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, strum::Display)]
pub enum TrackChoice {
    /// The file's default track, or else its first.
    #[default]
    #[strum(to_string = "1")]
    Usual,
    /// By its position among the audio tracks, from 1.
    #[strum(transparent)]
    Number(u32),
    /// The first in this language, as written in the file.
    #[strum(transparent)]
    Language(String),
}

/// Which channels of a track to transcribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum ChannelChoice {
    /// All channels, mixed to one.
    #[default]
    Mix,
    /// The first of two or more.
    Left,
    /// The second of two or more.
    Right,
    /// One by its number, from 1.
    #[strum(transparent)]
    Number(u16),
    /// Each channel separately.
    Split,
}

/// A channel that is transcribed separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Channel {
    /// The first of two.
    Left,
    /// The second of two.
    Right,
    /// One of any other number of channels, from 1.
    #[strum(transparent)]
    Number(u16),
}

/// An audio track of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Its position among the audio tracks, from 1.
    pub number: u32,
    /// Its codec's short name, or the name in the file.
    pub codec: String,
    pub language: Option<String>,
    pub channels: Option<u32>,
}

/// What decoding found out about a whole file. Stored with a job, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DecodedAudio {
    /// The length in seconds.
    pub duration: f64,
    /// The silence put before the audio because its track begins later than the file, in seconds.
    pub start_offset: f64,
    pub losses: Losses,
}

/// What is missing, and how much of what came out only takes its place. Final at the end of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Packets that could not be decoded, by the length that they claim. Silence takes their place,
    /// so that what follows keeps its time.
    pub undecodable: Duration,
    /// Silence where the timestamps of the container have a gap: packets were lost on the way, or
    /// the recording was paused. Where ffmpeg decodes, this includes what could not be decoded.
    pub gaps: Duration,
    /// The bytes at the end of the file that belong to no recording that could be read.
    pub unread_bytes: u64,
    /// Whether a recording broke off or something behind it could not be read; what there was has
    /// been decoded.
    pub truncated: bool,
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.undecodable += other.undecodable;
        self.gaps += other.gaps;
        self.unread_bytes += other.unread_bytes;
        self.truncated |= other.truncated;
    }
}

/// Which part of a file was transcribed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TranscribedParts {
    pub track: Option<u32>,
    /// The audio tracks of the file, as far as known.
    pub tracks: Vec<Track>,
    /// The channels, if each was transcribed separately.
    pub split: Vec<Channel>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown track {0:?}: give its number from 1, or the language that the file declares")]
pub struct UnknownTrack(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown channel {0:?}: give mix, left, right, split or a number from 1")]
pub struct UnknownChannel(String);

/// The longest language tag: RFC 5646 requires room for 35 characters.
const MAX_LANGUAGE_CHARS: usize = 35;

impl FromStr for TrackChoice {
    type Err = UnknownTrack;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownTrack(shown(text));
        let is_tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_number && number > 0 => Ok(Self::Number(number)),
            _ if is_number || text.len() > MAX_LANGUAGE_CHARS => Err(unknown()),
            _ if text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(is_tag) =>
            {
                Ok(Self::Language(text.to_ascii_lowercase()))
            }
            _ => Err(unknown()),
        }
    }
}

impl FromStr for ChannelChoice {
    type Err = UnknownChannel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "mix" => Ok(Self::Mix),
            "left" => Ok(Self::Left),
            "right" => Ok(Self::Right),
            "split" => Ok(Self::Split),
            _ => match text.parse() {
                Ok(number) if number > 0 => Ok(Self::Number(number)),
                _ => Err(UnknownChannel(shown(text))),
            },
        }
    }
}

impl Channel {
    /// Each of `count` channels.
    pub fn all(count: usize) -> Vec<Self> {
        match count {
            2 => vec![Self::Left, Self::Right],
            count => (1..=u16::try_from(count).unwrap_or(u16::MAX)).map(Self::Number).collect(),
        }
    }
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "left" => Ok(Self::Left),
            "right" => Ok(Self::Right),
            number => number.parse().map(Self::Number).map_err(de::Error::custom),
        }
    }
}

impl fmt::Display for Track {
    /// For example `2 (aac, hin, 1 channel)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.number, self.codec)?;
        if let Some(language) = &self.language {
            write!(f, ", {language}")?;
        }
        match self.channels {
            Some(1) => f.write_str(", 1 channel")?,
            Some(count) => write!(f, ", {count} channels")?,
            None => {}
        }
        f.write_str(")")
    }
}

impl Track {
    pub fn is(&self, choice: &TrackChoice) -> bool {
        match choice {
            TrackChoice::Usual => false,
            TrackChoice::Number(number) => self.number == *number,
            TrackChoice::Language(wanted) => {
                self.language.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(wanted))
            }
        }
    }
}

impl TranscribedParts {
    /// The number of signals that were transcribed: one, or one per channel.
    pub fn signals(&self) -> usize {
        self.split.len().max(1)
    }
}

/// Shortens `text` for a message.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_is_a_number_or_a_language() {
        let language = |tag: &str| Some(TrackChoice::Language(tag.to_owned()));
        for (text, expected) in [
            ("1", Some(TrackChoice::Number(1))),
            ("12", Some(TrackChoice::Number(12))),
            ("hin", language("hin")),
            ("pt-BR", language("pt-br")),
            ("0", None),
            ("-1", None),
            ("", None),
            ("+1", None),
            ("99999999999", None),
            ("two words", None),
            ("हिन्दी", None),
            (&"x".repeat(36), None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_channel_is_a_word_or_a_number() {
        for (text, expected) in [
            ("mix", Some(ChannelChoice::Mix)),
            ("Left", Some(ChannelChoice::Left)),
            ("right", Some(ChannelChoice::Right)),
            ("split", Some(ChannelChoice::Split)),
            ("8", Some(ChannelChoice::Number(8))),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("both", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn two_channels_are_left_and_right_and_others_have_numbers() {
        let names = |count| Channel::all(count).iter().map(Channel::to_string).collect::<Vec<_>>();
        assert_eq!(names(1), ["1"]);
        assert_eq!(names(2), ["left", "right"]);
        assert_eq!(names(3), ["1", "2", "3"]);
    }

    #[test]
    fn a_channel_is_stored_by_its_name() {
        for channel in Channel::all(2).into_iter().chain(Channel::all(3)) {
            let json = serde_json::to_value(channel).unwrap();
            assert_eq!(json, channel.to_string());
            assert_eq!(serde_json::from_value::<Channel>(json).unwrap(), channel);
        }
    }

    #[test]
    fn a_track_is_found_by_its_number_or_its_language() {
        let language = Some("hin".to_owned());
        let track = Track { number: 2, codec: "aac".to_owned(), language, channels: Some(1) };
        assert_eq!(track.to_string(), "2 (aac, hin, 1 channel)");
        for (choice, expected) in [("2", true), ("1", false), ("HIN", true), ("eng", false)] {
            assert_eq!(track.is(&choice.parse().unwrap()), expected, "{choice}");
        }
    }
}
