//! Where one recording ends in a file and another begins, as `cat a.flac b.flac` joins them.
//!
//! Most readers take what follows for damage, or end without a word. So the file is watched as it
//! is read: for the mark by which a file of the same container begins, or for AAC frames that need
//! another decoder. Ogg and MPEG audio need no watch: chained streams are part of Ogg, and each
//! MPEG frame says how it is decoded.

use std::fs::File;
use std::io::{self, BufReader};

use super::codecs::Container;
use super::ebml::{CLUSTER, Element, SEGMENT, TRACKS};
use super::isobmff::{names, read_box};
use super::part::{FilePart, peek};
use super::sniff::WAVE64;

/// What is watched for.
pub(super) enum Seams {
    Mark(Container, u64),
    Adts(AdtsFrames),
    None,
}

/// The bytes that a mark takes at most: an EBML header has the type of its document in them.
const MARK_BYTES: usize = 80;

impl Seams {
    /// For a part of a file that is a `container`.
    pub(super) fn new(container: Container, part: &FilePart) -> Self {
        match container {
            Container::Adts => Self::Adts(AdtsFrames { next: part.start(), layout: None }),
            // What a file has of them is known from its table of contents.
            Container::Mp4 | Container::Ogg | Container::Mpeg => Self::None,
            _ => Self::Mark(container, part.start()),
        }
    }

    /// The byte of `file` at which another recording begins, if that is among `bytes`, which were
    /// read at `at`.
    pub(super) fn find(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<Option<u64>> {
        match self {
            Self::Mark(container, start) => find_mark(*container, *start, file, bytes, at),
            Self::Adts(frames) => frames.find(file, bytes, at),
            Self::None => Ok(None),
        }
    }
}

fn find_mark(
    container: Container,
    start: u64,
    file: &File,
    bytes: &[u8],
    at: u64,
) -> io::Result<Option<u64>> {
    let marks = magic(container);
    for (offset, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == marks[0][0]) {
        let rest = &bytes[offset..];
        let seam = at + offset as u64;
        let is_like = |mark: &&[u8; 4]| rest.iter().zip(*mark).all(|(one, other)| one == other);
        if marks.iter().any(is_like)
            && seam > start
            && begins(container, &peek::<MARK_BYTES>(file, seam)?)
        {
            return Ok(Some(seam));
        }
    }
    Ok(None)
}

/// The first four bytes of a file; all of them begin with the same.
fn magic(container: Container) -> &'static [&'static [u8; 4]] {
    match container {
        Container::Wav => &[b"RIFF", b"RF64"],
        Container::Aiff => &[b"FORM"],
        Container::Caf => &[b"caff"],
        Container::Matroska => &[&[0x1a, 0x45, 0xdf, 0xa3]],
        Container::Ogg => &[b"OggS"],
        _ => &[b"fLaC"],
    }
}

/// Whether a file of this container begins with these bytes. No audio has them by chance.
pub(super) fn begins(container: Container, head: &[u8]) -> bool {
    let at =
        |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    magic(container).iter().any(|mark| at(0, *mark))
        && match container {
            Container::Wav => at(8, b"WAVE"),
            Container::Aiff => at(8, b"AIFF") || at(8, b"AIFC"),
            Container::Caf => at(4, b"\0\x01\0\0desc"),
            // The first block is the description of the stream, of 34 bytes.
            Container::Flac => at(4, b"\0\0\0\x22") || at(4, b"\x80\0\0\x22"),
            Container::Matroska => {
                let is_type = |bytes: &[u8]| {
                    bytes.starts_with(b"\x42\x82\x84webm")
                        || bytes.starts_with(b"\x42\x82\x88matroska")
                };
                (0..head.len()).any(|offset| is_type(&head[offset..]))
            }
            // The first page of a stream.
            Container::Ogg => at(4, b"\0\x02"),
            _ => false,
        }
}

/// Whether a recording begins at this byte: a file with a mark, an MP4 file, or AAC frames.
pub(super) fn recording_begins(file: &File, at: u64) -> io::Result<bool> {
    let head = peek::<MARK_BYTES>(file, at)?;
    let is_marked = Container::ALL.into_iter().any(|container| begins(container, &head));
    if is_marked || head.get(4..8) == Some(b"ftyp") || head.starts_with(WAVE64) {
        return Ok(true);
    }
    let Some((layout, length)) = adts_frame(file, at)? else { return Ok(false) };
    // Two in a row are no accident.
    let after = adts_frame(file, at + length)?;
    Ok(after.is_some_and(|(after, _)| after == layout))
}

/// The frames of an AAC stream, each of which says how long it is (ISO/IEC 13818-7, section 6.2).
pub(super) struct AdtsFrames {
    /// Where the next one begins.
    next: u64,
    /// What must be the same for one decoder.
    layout: Option<Layout>,
}

/// The profile, the sample rate and the channels of a frame.
type Layout = [u8; 2];

const ADTS_HEADER_BYTES: u64 = 7;

impl AdtsFrames {
    fn find(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<Option<u64>> {
        let end = at + bytes.len() as u64;
        while self.next.saturating_add(ADTS_HEADER_BYTES) <= end {
            let offset = usize::try_from(self.next.saturating_sub(at)).unwrap_or(usize::MAX);
            // Junk is left without a look at the file for each byte.
            let frame = match bytes.get(offset) {
                Some(0xff) => adts_frame(file, self.next)?,
                _ => None,
            };
            let Some((layout, length)) = frame else {
                self.next = self.next.max(at) + 1;
                continue;
            };
            if layout != *self.layout.get_or_insert(layout) {
                // Two in a row are no accident.
                let after = adts_frame(file, self.next + length)?;
                if after.is_some_and(|(after, _)| after == layout) {
                    return Ok(Some(self.next));
                }
                self.next += 1;
                continue;
            }
            self.next += length;
        }
        Ok(None)
    }
}

/// The layout and the length of the frame at this byte of the file, if there is one.
fn adts_frame(file: &File, at: u64) -> io::Result<Option<(Layout, u64)>> {
    let head = peek::<{ ADTS_HEADER_BYTES as usize }>(file, at)?;
    let [0xff, second, third, fourth, fifth, sixth, _] = head[..] else { return Ok(None) };
    let length = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
    let is_frame = second & 0xf6 == 0xf0 && third & 0x3c < 13 << 2 && length > ADTS_HEADER_BYTES;
    // Without the private bit.
    Ok(is_frame.then_some(([third & 0xfd, fourth & 0xc0], length)))
}

/// Sets the bounds of `part` of a file that ends at `len` by what its container says of its own
/// length. What it does not say is found out while it is read.
///
/// # Errors
/// The file cannot be read.
pub(super) fn bound(
    container: Container,
    file: &File,
    part: &FilePart,
    len: u64,
) -> io::Result<()> {
    match container {
        Container::Mp4 => {
            let seam = match second_movie(file, part.start(), len) {
                Some(seam) => Some(seam),
                None => behind_boxes(file, part.start(), len)?,
            };
            if let Some(seam) = seam {
                part.end_at(seam);
            }
        }
        Container::Matroska => {
            if let Some(end) = segment_end(file, part.start()).filter(|end| *end < len) {
                part.end_at(end);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Where a second film begins: a file type with a table of contents of its own. Films in fragments
/// may repeat both, but go on counting.
fn second_movie(file: &File, start: u64, len: u64) -> Option<u64> {
    let (mut movies, mut seam, mut fragment) = (0, None, None);
    for (name, at) in names(&mut BufReader::new(file), start..len) {
        match &name {
            b"ftyp" if movies == 1 => seam = seam.or(Some(at)),
            b"moov" => movies += 1,
            b"moof" => {
                let number = fragment_number(file, at)?;
                if movies > 1 && fragment.is_none_or(|last| number > last) {
                    (movies, seam) = (1, None);
                }
                fragment = Some(number);
            }
            _ => {}
        }
        let is_counted = fragment.is_none() || name == *b"moof";
        if movies > 1 && is_counted {
            return seam;
        }
    }
    seam.filter(|_| movies > 1)
}

/// Where another recording begins behind the boxes of a film.
fn behind_boxes(file: &File, start: u64, len: u64) -> io::Result<Option<u64>> {
    let mut boxes = BufReader::new(file);
    let Some((_, last)) = names(&mut boxes, start..len).last() else { return Ok(None) };
    let Ok((_, content)) = read_box(&mut BufReader::new(file), last, len) else { return Ok(None) };
    let is_seam = content.end < len && recording_begins(file, content.end)?;
    Ok(is_seam.then_some(content.end))
}

/// The number of the fragment whose box is at this byte (ISO/IEC 14496-12, section 8.8.5).
fn fragment_number(file: &File, at: u64) -> Option<u32> {
    let head = peek::<24>(file, at).ok()?;
    let number = head.get(20..).filter(|_| head.get(12..16) == Some(b"mfhd"))?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// Where the segment that begins at `start` ends; `None` if its size is unknown, or wrong, since it
/// goes on.
fn segment_end(file: &File, start: u64) -> Option<u64> {
    let end = segment(file, start)?.end?;
    let next = Element::read(&mut BufReader::new(file), end);
    (!next.is_ok_and(|next| IN_SEGMENT.contains(&next.id))).then_some(end)
}

/// What a segment has, and a file beside it does not: clusters, seek heads, information, tracks, cues,
/// tags, chapters and attachments (RFC 9559, section 5.1).
const IN_SEGMENT: [u64; 8] =
    [CLUSTER, 0x114d_9b74, 0x1549_a966, TRACKS, 0x1c53_bb6b, 0x1254_c367, 0x1043_a770, 0x1941_a469];

/// The segment behind the EBML header at `start`.
fn segment(file: &File, start: u64) -> Option<Element> {
    let mut file = BufReader::new(file);
    let header = Element::read(&mut file, start).ok()?;
    let segment = Element::read(&mut file, header.end?).ok()?;
    (segment.id == SEGMENT).then_some(segment)
}

/// Whether a recording in Matroska that begins at `start` is whole wherever it ends, as browsers
/// record.
pub(super) fn is_endless(container: Container, file: &File, start: u64) -> bool {
    container == Container::Matroska
        && segment(file, start).is_some_and(|segment| segment.end.is_none())
}
