//! The audio tracks of an MP4 file (ISO/IEC 14496-12, section 8).

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{Entry, MAX_NAME_CHARS, MAX_TRACKS, codec, language, name};
use crate::isobmff::{child, children, handler_type, id, read, version};

/// The audio tracks in the order of the file, up to damage.
pub(super) fn tracks(file: &mut (impl Read + Seek)) -> Option<Vec<Entry>> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let movie = child(file, 0..end, b"moov")?;
    let tracks = children(file, movie, b"trak").into_iter();
    Some(tracks.filter_map(|track| entry(file, track)).take(MAX_TRACKS).collect())
}

/// A track, if it is an audio track.
fn entry(file: &mut (impl Read + Seek), track: Range<u64>) -> Option<Entry> {
    let header = child(file, track.clone(), b"tkhd")?;
    let id = id(file, &header)?;
    let media = child(file, track, b"mdia")?;
    let handler = child(file, media.clone(), b"hdlr")?;
    if handler_type(file, &handler).ok()? != *b"soun" {
        return None;
    }
    let declared = match child(file, media.clone(), b"elng") {
        Some(extended) => extended_language(file, &extended),
        None => {
            child(file, media.clone(), b"mdhd").and_then(|header| packed_language(file, &header))
        }
    };
    let kind = child(file, media, b"minf")
        .and_then(|info| child(file, info, b"stbl"))
        .and_then(|table| child(file, table, b"stsd"))
        .and_then(|descriptions| kind(file, &descriptions).ok());
    let codec = kind.and_then(|kind| name(&kind)).map_or("unknown".to_owned(), codec);
    // Most writers put 2 where the number of channels belongs, whatever the codec's own header says.
    Some(Entry::new(id, codec, declared.as_deref().and_then(language), None))
}

/// The language of `mdhd`: three letters of five bits each.
fn packed_language(file: &mut (impl Read + Seek), header: &Range<u64>) -> Option<String> {
    file.seek(SeekFrom::Start(header.start)).ok()?;
    // Creation, change, time scale and duration.
    let times = if version(file).ok()? == 1 { 28 } else { 16 };
    file.seek_relative(times).ok()?;
    let packed = u16::from_be_bytes(read(file).ok()?);
    let letters = [packed >> 10, packed >> 5, packed].map(|five| (five & 0x1f) as u8 + 0x60);
    letters.iter().all(u8::is_ascii_lowercase).then(|| name(&letters)).flatten()
}

/// The language of `elng`: a tag of RFC 4646.
fn extended_language(file: &mut (impl Read + Seek), extended: &Range<u64>) -> Option<String> {
    file.seek(SeekFrom::Start(extended.start)).ok()?;
    version(file).ok()?;
    let mut tag = Vec::new();
    let bytes = (extended.end - extended.start).saturating_sub(4).min(MAX_NAME_CHARS as u64);
    file.take(bytes).read_to_end(&mut tag).ok()?;
    name(&tag)
}

/// What the first sample entry is called.
fn kind(file: &mut (impl Read + Seek), descriptions: &Range<u64>) -> io::Result<[u8; 4]> {
    file.seek(SeekFrom::Start(descriptions.start))?;
    read::<12>(file)?; // version, flags, the number of entries, and the size of the first
    read(file)
}
