//! Which audio tracks a file has, in its own order, by which users count and choose them.
//!
//! The decoding library reports neither languages in MP4 nor which tracks with unknown codecs hold
//! audio, so both containers of films are read here ([`mp4`], [`matroska`]).

mod matroska;
mod mp4;

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::formats::FormatReader;

use super::AudioError;
use super::codecs::{Container, codec_name};
use auris_core::recording::{Track, TrackChoice};

/// The most tracks that are reported.
const MAX_TRACKS: usize = 100;

/// The most characters that are reported of a codec or a language.
const MAX_NAME_CHARS: usize = 35;

/// An audio track.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The number that marks its packets.
    pub(super) id: u32,
    /// Whether the file says that it is to be played if nothing else is chosen.
    pub(super) is_default: bool,
    pub(super) track: Track,
}

/// The audio tracks of a file, in its order; none if they are unknown.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tracks(Vec<Entry>);

impl Tracks {
    /// Tracks, which get their numbers here.
    pub(super) fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let numbered = entries.into_iter().take(MAX_TRACKS).zip(1..);
        Self(numbered.map(|(entry, number)| entry.numbered(number)).collect())
    }

    /// Reads the tracks from `file`; none if only a reader can list them. The position in the file
    /// stays where a reader has left it.
    ///
    /// # Errors
    /// The position cannot be kept.
    pub(super) fn declared(container: Container, mut file: &File) -> io::Result<Self> {
        if !matches!(container, Container::Mp4 | Container::Matroska) {
            return Ok(Self::default());
        }
        let here = file.stream_position()?;
        let mut buffered = BufReader::new(file);
        let declared = match container {
            Container::Mp4 => mp4::tracks(&mut buffered),
            _ => matroska::tracks(&mut buffered),
        };
        file.seek(SeekFrom::Start(here))?;
        Ok(Self::new(declared.unwrap_or_default()))
    }

    /// The tracks that `reader` reports, in the order of the file.
    pub(super) fn read(reader: &dyn FormatReader) -> Self {
        let audio = reader.tracks().iter().filter_map(|track| match &track.codec_params {
            Some(CodecParameters::Audio(params)) => Some((track, params)),
            _ => None,
        });
        Self::new(audio.map(|(track, params)| {
            let channels =
                params.channels.as_ref().and_then(|own| Channels::count(own).try_into().ok());
            let codec = codec_name(params.codec).to_owned();
            let language = track.language.as_deref().and_then(language);
            Entry::new(track.id, codec, language, channels)
        }))
    }

    /// The tracks as `file` and `reader` together describe them.
    ///
    /// # Errors
    /// The position in the file cannot be kept.
    pub(super) fn of(
        container: Container,
        file: &File,
        reader: &dyn FormatReader,
    ) -> io::Result<Self> {
        let (mut declared, read) = (Self::declared(container, file)?, Self::read(reader));
        if declared.is_empty() {
            return Ok(read);
        }
        for entry in &mut declared.0 {
            let known = read.0.iter().find(|known| known.id == entry.id);
            if let Some(known) = known.filter(|known| known.track.codec != "unknown") {
                entry.track.codec.clone_from(&known.track.codec);
            }
        }
        Ok(declared)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The track that is asked for; none where that is the usual one.
    ///
    /// # Errors
    /// [`AudioError::NoTrack`].
    pub(super) fn find(
        &self,
        choice: &TrackChoice,
        container: &'static str,
    ) -> Result<Option<&Entry>, AudioError> {
        let found = self.0.iter().find(|entry| entry.track.is(choice));
        let is_only = self.is_empty() && *choice == TrackChoice::Number(1);
        if found.is_some() || is_only || *choice == TrackChoice::Usual {
            return Ok(found);
        }
        Err(AudioError::NoTrack { container, wanted: choice.clone(), tracks: self.list() })
    }

    /// The default track, or else the first.
    pub(super) fn usual(&self) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.is_default).or(self.0.first())
    }

    /// The track with this number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.track.number == number)
    }

    /// The number of the track whose packets have this id.
    pub(super) fn number_of(&self, id: u32) -> Option<u32> {
        self.0.iter().find(|entry| entry.id == id).map(|entry| entry.track.number)
    }

    pub(super) fn list(&self) -> Vec<Track> {
        self.0.iter().map(|entry| entry.track.clone()).collect()
    }
}

impl Entry {
    /// A track that is not numbered yet, and is no default.
    pub(super) fn new(
        id: u32,
        codec: String,
        language: Option<String>,
        channels: Option<u32>,
    ) -> Self {
        Self { id, is_default: false, track: Track { number: 0, codec, language, channels } }
    }

    fn numbered(self, number: u32) -> Self {
        Self { track: Track { number, ..self.track }, ..self }
    }
}

/// A language as a file writes it, if it says one.
pub(super) fn language(text: &str) -> Option<String> {
    let text = name(text.as_bytes())?;
    (!text.eq_ignore_ascii_case("und")).then_some(text)
}

/// A short name that a file writes in ASCII.
fn name(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    let shown = text.iter().filter(|byte| byte.is_ascii_graphic()).take(MAX_NAME_CHARS);
    let name: String = shown.map(|byte| char::from(*byte)).collect();
    (!name.is_empty()).then_some(name)
}

/// The name of a codec by what MP4 or Matroska calls it, where no reader knows better.
fn codec(name: String) -> String {
    let known = match name.as_str() {
        "A_AC3" | "ac-3" => "AC-3",
        "A_EAC3" | "ec-3" => "E-AC-3",
        "A_DTS" | "dtsc" | "dtsh" | "dtsl" => "DTS",
        "A_TRUEHD" | "mlpa" => "Dolby TrueHD",
        _ => return name,
    };
    known.to_owned()
}

#[cfg(test)]
mod tests;
