//! Detects a file's format by its first bytes alone; names and content types lie.
//!
//! The decoder's own probe scans for markers anywhere and takes RF64 for MPEG audio or AVI for
//! AAC, so the container is decided here, and only that container's reader is tried.

use std::io::{self, Read, Seek, SeekFrom};

use super::codecs::Container;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// A container with a reader, which begins at this byte (after ID3 tags).
    Audio(Container, u64),
    /// A container that ffmpeg reads.
    Convertible(Convertible),
    /// Something that is recognised and not read at all: its name with an article.
    Foreign(&'static str),
    /// Nothing known at the start. MPEG audio may still follow some junk.
    Unknown,
    /// No bytes at all.
    Empty,
}

/// A container without a reader here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Convertible {
    /// The name that people use.
    pub(super) container: &'static str,
    /// What ffmpeg calls its reader.
    pub(super) demuxer: &'static str,
}

/// Bytes needed for most decisions; the farthest mark is that of a tar archive.
const HEAD_BYTES: u64 = 512;

/// The most ID3 tags in a row; a file with more is hostile.
const MAX_ID3_TAGS: usize = 8;

/// Looks at what begins at byte `start` of `file`; the position afterwards is undefined.
///
/// # Errors
/// What reading and seeking return.
pub(super) fn sniff(file: &mut (impl Read + Seek), mut start: u64) -> io::Result<Sniffed> {
    for _ in 0..MAX_ID3_TAGS {
        let head = read(file, start, HEAD_BYTES)?;
        match id3_bytes(&head) {
            Some(bytes) => start += bytes,
            None if head.is_empty() && start == 0 => return Ok(Sniffed::Empty),
            None => {
                let sniffed = classify(&head, start);
                if !matches!(sniffed, Sniffed::Unknown | Sniffed::Audio(Container::Mpeg, _)) {
                    return Ok(sniffed);
                }
                let far = behind_run_in(&read(file, start, RUN_IN_BYTES)?);
                return Ok(far.map_or(sniffed, Sniffed::Convertible));
            }
        }
    }
    Ok(Sniffed::Unknown)
}

fn read(file: &mut (impl Read + Seek), start: u64, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut head = Vec::new();
    file.take(bytes).read_to_end(&mut head)?;
    Ok(head)
}

/// What may be before the first byte that means something: an MXF file's run-in (SMPTE ST 377-1,
/// section 6.5).
const RUN_IN_BYTES: u64 = 64 << 10;

/// How far into a transport stream its first whole packet is looked for.
const TS_CUT_BYTES: usize = 4 << 10;

/// How many packets of a transport stream in a row are no accident.
const TS_PACKETS: usize = 5;

/// The key of an MXF file's first partition.
const MXF: &[u8] = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02";

/// Containers that need not begin with the first byte.
fn behind_run_in(head: &[u8]) -> Option<Convertible> {
    if head.windows(MXF.len()).any(|window| window == MXF) {
        return Some(Convertible { container: "MXF", demuxer: "mxf" });
    }
    (0..head.len().min(TS_CUT_BYTES)).find(|start| is_transport_stream(head, *start)).map(|_| TS)
}

const TS: Convertible = Convertible { container: "MPEG transport stream", demuxer: "mpegts" };

/// Whether packets begin at `start`: of 188 bytes, with a time stamp before each as cameras write
/// them, or with a check sum behind.
fn is_transport_stream(head: &[u8], start: usize) -> bool {
    [188, 192, 204]
        .iter()
        .any(|bytes| (0..TS_PACKETS).all(|packet| at(head, start + packet * bytes, b"\x47")))
}

fn classify(head: &[u8], start: u64) -> Sniffed {
    if let Some(convertible) = convertible(head) {
        return Sniffed::Convertible(convertible);
    }
    if let Some(container) = Container::ALL.into_iter().find(|c| is_container(*c, head)) {
        return Sniffed::Audio(container, start);
    }
    match foreign(head) {
        Some(name) => Sniffed::Foreign(name),
        None => Sniffed::Unknown,
    }
}

fn is_container(container: Container, head: &[u8]) -> bool {
    match container {
        Container::Wav => {
            [&b"RIFF"[..], b"RF64", b"BW64"].iter().any(|outer| at(head, 0, outer))
                && at(head, 8, b"WAVE")
                || at(head, 0, WAVE64)
        }
        Container::Aiff => at(head, 0, b"FORM") && (at(head, 8, b"AIFF") || at(head, 8, b"AIFC")),
        Container::Flac => at(head, 0, b"fLaC"),
        Container::Ogg => at(head, 0, b"OggS"),
        Container::Matroska => at(head, 0, &[0x1a, 0x45, 0xdf, 0xa3]),
        Container::Caf => at(head, 0, b"caff"),
        Container::Mp4 => {
            // The first box is `ftyp` by the book; old QuickTime files and fragments begin with
            // others.
            [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"]
                .iter()
                .any(|name| at(head, 4, *name))
        }
        // Both begin with a sync word of 11 or 12 ones; layer 0 means ADTS.
        Container::Adts => matches!(head, [0xff, second, ..] if second & 0xf6 == 0xf0),
        Container::Mpeg => {
            matches!(head, [0xff, second, third, ..] if second & 0xe0 == 0xe0
                && second & 0x18 != 0x08 // reserved version
                && second & 0x06 != 0 // ADTS
                && second & 0x06 != 0x06 // layer 1, which nobody uses for speech
                && third & 0xf0 != 0xf0 // reserved bit rate
                && third & 0x0c != 0x0c) // reserved sample rate
        }
    }
}

/// What begins a WAV file with sizes of 64 bits, as Sony writes it.
pub(super) const WAVE64: &[u8] = b"riff\x2e\x91\xcf\x11";

/// Containers that ffmpeg reads, by their magic bytes and where these are: each with its name and
/// that of ffmpeg's reader. Nothing that names other files is among them.
const CONVERTIBLE: &[(usize, &[u8], &str, &str)] = &[
    (0, b"RIFX", "RIFX", "wav"),
    (8, b"AVI ", "AVI", "avi"),
    (0, b".snd", "Sun audio (AU)", "au"),
    (0, b"#!AMR", "AMR", "amr"),
    (28, b"Speex   ", "Ogg Speex", "ogg"),
    (0, b"wvpk", "WavPack", "wv"),
    (0, b"MAC ", "Monkey's Audio", "ape"),
    (0, b"MPCK", "Musepack", "mpc8"),
    (0, b"MP+", "Musepack", "mpc"),
    (0, b"TTA1", "True Audio", "tta"),
    (0, b"DSD ", "DSD", "dsf"),
    (0, b"\x0b\x77", "AC-3", "ac3"),
    (0, b"\x7f\xfe\x80\x01", "DTS", "dts"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (ASF)", "asf"),
    (0, b".RMF", "RealMedia", "rm"),
    (0, b".ra\xfd", "RealAudio", "rm"),
    (0, b"FLV\x01", "Flash video", "flv"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream", "mpeg"),
    (0, b"Creative Voice File", "Creative Voice (VOC)", "voc"),
    (0, b"NIST_1A", "NIST SPHERE", "nistsphere"),
];

fn convertible(head: &[u8]) -> Option<Convertible> {
    let by_magic = CONVERTIBLE.iter().find(|(offset, magic, _, _)| at(head, *offset, magic));
    let (container, demuxer) = match by_magic {
        // Both begin with the same word; E-AC-3 has a version above 10 (ETSI TS 102 366, E.1.3.1).
        Some((_, _, "AC-3", _)) if head.get(5).is_some_and(|byte| byte >> 3 > 10) => {
            ("E-AC-3", "eac3")
        }
        Some((_, _, container, demuxer)) => (*container, *demuxer),
        None if [0, 188, 376].iter().all(|offset| at(head, *offset, b"\x47")) => return Some(TS),
        None => return None,
    };
    Some(Convertible { container, demuxer })
}

/// What else is worth a name in the error.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"RIFF", "a RIFF file without sound"),
    (0, b"MThd", "a MIDI file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an XZ archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"SQLite format 3", "an SQLite database"),
];

fn foreign(head: &[u8]) -> Option<&'static str> {
    let by_magic = FOREIGN.iter().find(|(offset, magic, _)| at(head, *offset, magic));
    if let Some((_, _, name)) = by_magic {
        return Some(name);
    }
    text(head)
}

/// Names the kind of text, if `head` is text at all.
fn text(head: &[u8]) -> Option<&'static str> {
    // A multi-byte character may be cut at the end.
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let text = valid.trim_start_matches('\u{feff}').trim_start();
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let lower = text.get(..text.len().min(14)).unwrap_or(text).to_ascii_lowercase();
    Some(match lower {
        _ if lower.starts_with("<!doctype html") || lower.starts_with("<html") => "an HTML page",
        _ if lower.starts_with("<?xml") => "an XML document",
        _ if lower.starts_with('{') || lower.starts_with('[') => "a JSON document",
        _ => "a text file",
    })
}

/// The size of the ID3v2 tag at the start of `head`, with its header and footer
/// (ID3v2.4 structure, section 3.1: four bytes of seven bits each).
fn id3_bytes(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', major, revision, flags, size @ ..] = head else { return None };
    let size = size.get(..4)?;
    if *major == 0xff || *revision == 0xff || size.iter().any(|byte| *byte >= 0x80) {
        return None;
    }
    let body = size.iter().fold(0_u64, |sum, byte| (sum << 7) | u64::from(*byte));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + body + footer)
}

fn at(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn check(bytes: &[u8], expected: Sniffed) {
        assert_eq!(sniff(&mut Cursor::new(bytes), 0).unwrap(), expected, "{bytes:?}");
    }

    #[test]
    fn containers_are_known_by_their_first_bytes() {
        check(b"RIFF\x24\0\0\0WAVEfmt ", Sniffed::Audio(Container::Wav, 0));
        check(b"\0\0\0\x20ftypM4A ", Sniffed::Audio(Container::Mp4, 0));
        check(b"\xff\xfb\x90\x64\0\0", Sniffed::Audio(Container::Mpeg, 0));
        check(b"\xff\xf1\x50\x80\0\0", Sniffed::Audio(Container::Adts, 0));
    }

    #[test]
    fn id3_tags_are_skipped() {
        let mut bytes = b"ID3\x04\0\0\0\0\x01\x02".to_vec();
        bytes.extend([0; 130]);
        bytes.extend(b"fLaC");
        check(&bytes, Sniffed::Audio(Container::Flac, 140));
    }

    #[test]
    fn id3_tag_longer_than_the_file_is_unknown() {
        check(b"ID3\x04\0\0\x7f\x7f\x7f\x7fabc", Sniffed::Unknown);
    }

    #[test]
    fn other_formats_are_named() {
        check(b"", Sniffed::Empty);
        check(b"%PDF-1.7", Sniffed::Foreign("a PDF document"));
        check(b"PK\x03\x04\x14\0", Sniffed::Foreign("a ZIP archive"));
        check(b"\xff\xd8\xff\xe0\0\x10JFIF", Sniffed::Foreign("a JPEG image"));
        check(b"  <!DOCTYPE HTML><html>", Sniffed::Foreign("an HTML page"));
        check(b"{\"error\": 1}", Sniffed::Foreign("a JSON document"));
        check("na\u{ef}ve text".as_bytes(), Sniffed::Foreign("a text file"));
    }

    #[test]
    fn what_ffmpeg_reads_is_known_by_its_first_bytes() {
        let check = |bytes: &[u8], container, demuxer| {
            check(bytes, Sniffed::Convertible(Convertible { container, demuxer }));
        };
        check(b"RIFX\0\0\0\0WAVE", "RIFX", "wav");
        check(b"RIFF\x24\0\0\0AVI LIST", "AVI", "avi");
        check(b"\x0b\x77\x5b\xd4\x08\x40", "AC-3", "ac3");
        check(b"\x0b\x77\x00\xbf\x34\x80", "E-AC-3", "eac3");
        let stream = [[0x47; 1].as_slice(), &[0; 187]].concat().repeat(3);
        check(&stream, "MPEG transport stream", "mpegts");
    }

    #[test]
    fn bytes_without_meaning_are_unknown() {
        check(&[0; 600], Sniffed::Unknown);
        check(&[0xff; 64], Sniffed::Unknown);
    }
}
