use std::io::Cursor;

use super::*;
use crate::ebml::tests::{element, with_size};
use crate::isobmff::tests::{boxed, numbers};

/// What is reported of each track: id, default, codec, language and channels.
type Declared = Vec<(u32, bool, String, Option<String>, Option<u32>)>;

fn declared(entries: Option<Vec<Entry>>) -> Declared {
    let entries = entries.unwrap_or_default().into_iter();
    let declared = entries.map(|Entry { id, is_default, track }| {
        (id, is_default, track.codec, track.language, track.channels)
    });
    declared.collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A Matroska track of this number, type and further fields.
fn entry(number: u8, kind: u8, fields: &[(u64, &[u8])]) -> Vec<u8> {
    let fields: Vec<u8> = fields.iter().flat_map(|(id, content)| element(*id, content)).collect();
    let head = [element(0xd7, &[number]), element(0x83, &[kind])].concat();
    element(0xae, &[head, fields].concat())
}

fn matroska_file() -> Vec<u8> {
    let stereo = element(0x9f, &[2]);
    let tracks = [
        entry(1, 1, &[(0x86, b"V_VP9")]),
        entry(7, 2, &[(0x86, b"A_AC3"), (0xe1, &stereo), (0x88, &[0])]),
        entry(3, 2, &[(0x86, b"A_OPUS"), (0x22_b59c, b"hin\0"), (0x22_b59d, b"hi-IN")]),
        entry(4, 2, &[(0x86, b"A_OPUS"), (0x22_b59c, b"und")]),
    ];
    let tracks = element(0x1654_ae6b, &tracks.concat());
    with_size(0x1853_8067, None, &[element(0xec, &[0; 9]), tracks].concat())
}

/// An MP4 track of this id, with its handler, its language of three letters and a sample entry.
fn track(id: i32, handler: &[u8; 4], language: &[u8; 3], kind: &[u8; 4], more: &[u8]) -> Vec<u8> {
    let packed = language.iter().fold(0, |sum, letter| sum << 5 | i32::from(letter - 0x60));
    let sample = [kind.to_vec(), vec![0; 16], vec![0, 2, 0, 16]].concat();
    let descriptions = [numbers(&[0, 1, 20]), sample].concat();
    let table = boxed(b"stbl", &boxed(b"stsd", &descriptions));
    let media = [
        boxed(b"mdhd", &numbers(&[0, 0, 0, 1_000, 0, packed << 16])),
        boxed(b"hdlr", &[numbers(&[0, 0]), handler.to_vec()].concat()),
        boxed(b"minf", &table),
        more.to_vec(),
    ];
    let header = boxed(b"tkhd", &numbers(&[0, 0, 0, id]));
    boxed(b"trak", &[header, boxed(b"mdia", &media.concat())].concat())
}

fn mp4_file() -> Vec<u8> {
    let extended = boxed(b"elng", b"\0\0\0\0pt-BR\0");
    let tracks = [
        track(1, b"vide", b"und", b"avc1", b""),
        track(5, b"soun", b"eng", b"ac-3", b""),
        track(2, b"soun", b"und", b"mp4a", b""),
        track(9, b"soun", b"por", b"mp4a", &extended),
    ];
    [boxed(b"mdat", &[0; 9]), boxed(b"moov", &tracks.concat())].concat()
}

#[test]
fn matroska_reports_its_audio_tracks() {
    let found = declared(matroska::tracks(&mut Cursor::new(matroska_file())));
    let expected: Declared = vec![
        (7, false, "AC-3".to_owned(), some("eng"), Some(2)),
        (3, true, "A_OPUS".to_owned(), some("hi-IN"), Some(1)),
        (4, true, "A_OPUS".to_owned(), None, Some(1)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn mp4_reports_its_audio_tracks() {
    let found = declared(mp4::tracks(&mut Cursor::new(mp4_file())));
    let expected: Declared = vec![
        (5, false, "AC-3".to_owned(), some("eng"), None),
        (2, false, "mp4a".to_owned(), None, None),
        (9, false, "mp4a".to_owned(), some("pt-BR"), None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn tracks_are_numbered_in_the_order_of_the_file() {
    let tracks = Tracks::new(matroska::tracks(&mut Cursor::new(matroska_file())).unwrap());
    let found = |choice: &str| {
        let found = tracks.find(&choice.parse().unwrap(), "WebM/Matroska");
        found.ok().flatten().map(|entry| (entry.id, entry.track.number))
    };
    assert_eq!(found("1"), Some((7, 1)));
    assert_eq!(found("HI-in"), Some((3, 2)));
    assert_eq!(found("4"), None);
    assert_eq!(tracks.usual().unwrap().id, 3, "the first is not marked as the default");
    assert_eq!((tracks.number_of(4), tracks.numbered(3).unwrap().id), (Some(3), 4));
}

#[test]
fn a_hundred_tracks_are_enough() {
    let many: Vec<u8> = (0..=255).flat_map(|_| track(1, b"soun", b"eng", b"mp4a", b"")).collect();
    let file = boxed(b"moov", &many);
    assert_eq!(mp4::tracks(&mut Cursor::new(file)).unwrap().len(), MAX_TRACKS);
}

#[test]
fn damage_does_not_panic() {
    for whole in [mp4_file(), matroska_file()] {
        for at in 0..whole.len() {
            for value in [0, 1, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                mp4::tracks(&mut Cursor::new(&bytes));
                matroska::tracks(&mut Cursor::new(&bytes));
            }
            mp4::tracks(&mut Cursor::new(&whole[..at]));
            matroska::tracks(&mut Cursor::new(&whole[..at]));
        }
    }
}

#[test]
fn names_are_short_and_printable() {
    assert_eq!(name(b"A_\x07OP US\xff\0rest"), some("A_OPUS"));
    assert_eq!(name(b"\0\0"), None);
    assert_eq!(name(&[b'x'; 90]).unwrap().len(), MAX_NAME_CHARS);
    assert_eq!((language("und"), language("UND"), language("ta")), (None, None, some("ta")));
}
