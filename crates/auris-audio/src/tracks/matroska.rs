//! The audio tracks of a Matroska file (RFC 9559, section 5.1.4).

use std::io::{Read, Seek};

use super::{Entry, MAX_NAME_CHARS, MAX_TRACKS, codec, language, name};
use crate::ebml::{CLUSTER, Element, SEGMENT, TRACK_ENTRY, TRACK_NUMBER, TRACKS, move_to};

// Ids of elements, with their length marks.
const TRACK_TYPE: u64 = 0x83;
const FLAG_DEFAULT: u64 = 0x88;
const CODEC_ID: u64 = 0x86;
const LANGUAGE: u64 = 0x0022_b59c;
const LANGUAGE_BCP47: u64 = 0x0022_b59d;
const AUDIO: u64 = 0xe1;
const CHANNELS: u64 = 0x9f;

/// The type of a track of audio.
const TYPE_AUDIO: u64 = 2;

/// The list of tracks must be within this many elements, or it is not found.
const MAX_ELEMENTS: usize = 100_000;

/// The audio tracks in the order of the file, up to damage.
pub(super) fn tracks(file: &mut (impl Read + Seek)) -> Option<Vec<Entry>> {
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        let element = Element::read(file, at).ok()?;
        at = match (element.id, element.end) {
            (TRACKS, _) => return Some(entries(file, &element)),
            // Their children are walked through in the same way.
            (SEGMENT, _) | (CLUSTER, None) => element.start,
            (_, end) => end?,
        };
    }
    None
}

fn entries(file: &mut (impl Read + Seek), tracks: &Element) -> Vec<Entry> {
    let children = tracks.children(file);
    let entries = children.iter().filter(|element| element.id == TRACK_ENTRY);
    entries.filter_map(|element| entry(file, element)).take(MAX_TRACKS).collect()
}

/// An entry, if it is an audio track.
fn entry(file: &mut (impl Read + Seek), element: &Element) -> Option<Entry> {
    let fields = element.children(file);
    let field = |id| fields.iter().find(|field| field.id == id);
    if field(TRACK_TYPE)?.value(file)? != TYPE_AUDIO {
        return None;
    }
    let id = u32::try_from(field(TRACK_NUMBER)?.value(file)?).ok()?;
    let codec = field(CODEC_ID).and_then(|own| text(file, own)).map_or("unknown".to_owned(), codec);
    let declared = match field(LANGUAGE_BCP47).or(field(LANGUAGE)) {
        Some(declared) => text(file, declared),
        // What is not written is English (section 5.1.4.1.19).
        None => Some("eng".to_owned()),
    };
    let audio = field(AUDIO).map(|audio| audio.children(file)).unwrap_or_default();
    let channels = audio.iter().find(|field| field.id == CHANNELS);
    let channels = channels.map_or(Some(1), |own| own.value(file));
    let is_default = field(FLAG_DEFAULT).is_none_or(|flag| flag.value(file) != Some(0));
    let language = declared.as_deref().and_then(language);
    let channels = channels.and_then(|count| count.try_into().ok());
    Some(Entry { is_default, ..Entry::new(id, codec, language, channels) })
}

/// The content of an element as a short name.
fn text(file: &mut (impl Read + Seek), element: &Element) -> Option<String> {
    let bytes = (element.end? - element.start).min(MAX_NAME_CHARS as u64);
    let mut content = vec![0; bytes as usize];
    move_to(file, element.start).ok()?;
    file.read_exact(&mut content).ok()?;
    name(&content)
}
