//! What a writer of Matroska has done to the frames of a track (RFC 9559, section 5.1.4.1.31):
//! compressed them, taken bytes off that all of them begin with, or encrypted them.
//!
//! The decoding library does not know of it and would take what is left for audio.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;

use super::AudioError;
use super::codecs::Container;
use super::ebml::{CLUSTER, Element, SEGMENT, TRACK_ENTRY, TRACK_NUMBER, TRACKS, move_to};

// Ids of elements, with their length marks.
const CONTENT_ENCODINGS: u64 = 0x6d80;
const CONTENT_ENCODING: u64 = 0x6240;
const ORDER: u64 = 0x5031;
const SCOPE: u64 = 0x5032;
const TYPE: u64 = 0x5033;
const COMPRESSION: u64 = 0x5034;
const ALGORITHM: u64 = 0x4254;
const SETTINGS: u64 = 0x4255;

/// Bits of the scope, which is [`FRAMES`] by default.
const FRAMES: u64 = 1;
const PRIVATE: u64 = 2;

/// The list of tracks must be within this many elements, or it is not found.
const MAX_ELEMENTS: usize = 100_000;

/// The most encodings of a track; writers use one.
const MAX_ENCODINGS: usize = 4;

/// The most bytes that every frame may begin with; writers take off less than 10.
const MAX_HEADER_BYTES: u64 = 1 << 10;

/// The longest frame that may come out, in bytes: a second of PCM in 8 channels at 192 kHz.
const MAX_FRAME_BYTES: u64 = 8 << 20;

/// What undoes one encoding.
#[derive(Debug, Clone, PartialEq)]
enum EncodingStep {
    Inflate,
    Prepend(Vec<u8>),
}

/// What is to be done to each frame of a track, in order; mostly nothing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decoding(Vec<EncodingStep>);

impl Decoding {
    /// What the container that begins at byte `start` of `file` declares for its track `track_id`.
    /// The position in the file stays where a reader has left it.
    ///
    /// # Errors
    /// [`AudioError::EncodedTrack`] where only ffmpeg may be able to undo it,
    /// [`AudioError::EncryptedTrack`], and [`AudioError::Io`] if the position cannot be kept.
    pub(super) fn read_from(
        container: Container,
        mut file: &File,
        start: u64,
        track_id: u32,
    ) -> Result<Self, AudioError> {
        if container != Container::Matroska {
            return Ok(Self::default());
        }
        let here = file.stream_position()?;
        let encodings = encodings(&mut BufReader::new(file), start, track_id);
        file.seek(SeekFrom::Start(here))?;
        let Some(mut encodings) = encodings else { return Ok(Self::default()) };
        // What was done last is undone first.
        encodings.sort_by_key(|encoding| std::cmp::Reverse(encoding.order));
        let container = container.name();
        let refused = |how| AudioError::EncodedTrack { container, how };
        if encodings.iter().any(|encoding| encoding.kind == Kind::Encryption) {
            return Err(AudioError::EncryptedTrack { container });
        }
        if encodings.len() > MAX_ENCODINGS {
            return Err(refused("in several ways"));
        }
        let mut steps = Vec::new();
        for encoding in encodings {
            if encoding.scope & !FRAMES != 0 {
                return Err(refused("together with its headers"));
            }
            if encoding.scope & FRAMES != 0 {
                steps.push(match encoding.kind {
                    Kind::Zlib => EncodingStep::Inflate,
                    Kind::HeaderStripping(header) => EncodingStep::Prepend(header),
                    Kind::Bzlib => return Err(refused("with bzip2")),
                    Kind::Lzo => return Err(refused("with LZO")),
                    Kind::Encryption | Kind::Unknown => return Err(refused("in an unknown way")),
                });
            }
        }
        Ok(Self(steps))
    }

    /// The frame as it was before it was encoded.
    ///
    /// # Errors
    /// It is damaged, or too long.
    pub(super) fn undo(&self, mut frame: Box<[u8]>) -> io::Result<Box<[u8]>> {
        for step in &self.0 {
            frame = match step {
                EncodingStep::Prepend(header) => [header, &*frame].concat().into(),
                EncodingStep::Inflate => inflate(&frame)?.into(),
            };
        }
        Ok(frame)
    }
}

fn inflate(frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(frame).take(MAX_FRAME_BYTES + 1).read_to_end(&mut inflated)?;
    match inflated.len() as u64 > MAX_FRAME_BYTES {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(inflated),
    }
}

/// One entry of a track's `ContentEncodings`.
struct Encoding {
    order: u64,
    scope: u64,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Zlib,
    Bzlib,
    Lzo,
    HeaderStripping(Vec<u8>),
    Encryption,
    Unknown,
}

/// The encodings of the track with this number, up to damage; `None` if there is no such track.
fn encodings(
    file: &mut (impl Read + Seek),
    start: u64,
    track_number: u32,
) -> Option<Vec<Encoding>> {
    let mut at = start;
    for _ in 0..MAX_ELEMENTS {
        let element = Element::read(file, at).ok()?;
        at = match (element.id, element.end) {
            (TRACKS, _) => return of_track(file, &element, track_number),
            // Their children are walked through in the same way.
            (SEGMENT, _) | (CLUSTER, None) => element.start,
            (_, end) => end?,
        };
    }
    None
}

fn of_track(
    file: &mut (impl Read + Seek),
    tracks: &Element,
    track_number: u32,
) -> Option<Vec<Encoding>> {
    for entry in tracks.children(file).iter().filter(|element| element.id == TRACK_ENTRY) {
        let fields = entry.children(file);
        let number = fields.iter().find(|field| field.id == TRACK_NUMBER)?.value(file);
        if number == Some(u64::from(track_number)) {
            let list = fields.iter().find(|field| field.id == CONTENT_ENCODINGS)?;
            let list = list.children(file);
            let list = list.iter().filter(|element| element.id == CONTENT_ENCODING);
            // One more, to know of it.
            let list = list.take(MAX_ENCODINGS + 1);
            return Some(list.map(|element| encoding(file, element)).collect());
        }
    }
    None
}

/// An encoding with the defaults of what is not written.
fn encoding(file: &mut (impl Read + Seek), element: &Element) -> Encoding {
    let fields = element.children(file);
    let mut value = |id, default| match fields.iter().find(|field| field.id == id) {
        Some(field) => field.value(file),
        None => Some(default),
    };
    let (order, scope) = (value(ORDER, 0), value(SCOPE, FRAMES));
    let kind = match value(TYPE, 0) {
        Some(0) => {
            let compression = fields.iter().find(|field| field.id == COMPRESSION);
            compression.map_or(Kind::Zlib, |element| compression_kind(file, element))
        }
        Some(1) => Kind::Encryption,
        _ => Kind::Unknown,
    };
    Encoding { order: order.unwrap_or(0), scope: scope.unwrap_or(FRAMES | PRIVATE), kind }
}

fn compression_kind(file: &mut (impl Read + Seek), element: &Element) -> Kind {
    let fields = element.children(file);
    let algorithm = match fields.iter().find(|field| field.id == ALGORITHM) {
        Some(field) => field.value(file),
        None => Some(0),
    };
    match algorithm {
        Some(0) => Kind::Zlib,
        Some(1) => Kind::Bzlib,
        Some(2) => Kind::Lzo,
        Some(3) => {
            let settings = fields.iter().find(|field| field.id == SETTINGS);
            settings
                .map_or(Some(Vec::new()), |own| header(file, own))
                .map_or(Kind::Unknown, Kind::HeaderStripping)
        }
        _ => Kind::Unknown,
    }
}

/// The bytes that every frame begins with.
fn header(file: &mut (impl Read + Seek), element: &Element) -> Option<Vec<u8>> {
    let bytes = (element.end? - element.start).min(MAX_HEADER_BYTES + 1);
    let mut header = Vec::new();
    move_to(file, element.start).ok()?;
    file.take(bytes).read_to_end(&mut header).ok()?;
    (header.len() as u64 == bytes && bytes <= MAX_HEADER_BYTES).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::tests::element;
    use crate::tests::file_of;

    /// A file whose track 1 has these encodings.
    fn file(encodings: &[Vec<u8>]) -> Vec<u8> {
        let list: Vec<u8> =
            encodings.iter().flat_map(|fields| element(CONTENT_ENCODING, fields)).collect();
        let fields = [element(TRACK_NUMBER, &[1]), element(CONTENT_ENCODINGS, &list)].concat();
        element(SEGMENT, &element(TRACKS, &element(TRACK_ENTRY, &fields)))
    }

    fn compression(algorithm: u8, settings: &[u8]) -> Vec<u8> {
        let fields = [element(ALGORITHM, &[algorithm]), element(SETTINGS, settings)].concat();
        element(COMPRESSION, &fields)
    }

    fn read(encodings: &[Vec<u8>]) -> Result<Vec<EncodingStep>, String> {
        let file = file_of(&file(encodings));
        let decoding = Decoding::read_from(Container::Matroska, &file, 0, 1);
        decoding.map(|decoding| decoding.0).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_encoding_is_undone_first() {
        let stripped = [element(ORDER, &[0]), compression(3, b"ab")].concat();
        let deflated = [element(ORDER, &[1]), compression(0, b"")].concat();
        let steps = vec![EncodingStep::Inflate, EncodingStep::Prepend(b"ab".to_vec())];
        assert_eq!(read(&[stripped, deflated]), Ok(steps));
        // What is not written is zlib of the frames.
        assert_eq!(read(&[element(COMPRESSION, b"")]), Ok(vec![EncodingStep::Inflate]));
        assert_eq!(read(&[Vec::new()]), Ok(vec![EncodingStep::Inflate]));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_undone_is_refused_with_what_to_do() {
        let refused = |encoding: Vec<u8>| read(&[encoding]).unwrap_err();
        insta::assert_snapshot!(refused(compression(2, b"")), @"the audio track of the WebM/Matroska file is compressed with LZO, which cannot be undone here: remux it, for example with `ffmpeg -i in.mkv -c copy out.mkv`");
        insta::assert_snapshot!(refused(element(TYPE, &[1])), @"the audio track of the WebM/Matroska file is encrypted: send it without encryption");
        assert!(refused(compression(1, b"")).contains("with bzip2,"));
        assert!(refused(compression(9, b"")).contains("in an unknown way,"));
        let private = [element(SCOPE, &[3]), compression(0, b"")].concat();
        assert!(refused(private).contains("together with its headers,"));
        assert!(refused(compression(3, &[0; 2_000])).contains("in an unknown way,"));
        assert!(read(&vec![Vec::new(); 5]).unwrap_err().contains("in several ways,"));
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        use std::io::Write;
        let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        bomb.write_all(&vec![0; MAX_FRAME_BYTES as usize + 1]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
        assert!(Decoding(vec![EncodingStep::Inflate]).undo(bomb.into()).is_err());
    }
}
