//! MP3, AAC and what is no audio at all.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Bomb, Decodes, Refused, bomb, fixture};

/// The frames of an MP3 file, which have no mark but their first bytes.
fn frames(mp3: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = mp3;
    std::iter::from_fn(move || {
        // 64 kbit/s at 44.1 kHz; every frame may be a byte longer.
        let [0xff, 0xfb, third, ..] = rest else { return None };
        let bytes = 144 * 64_000 / 44_100 + usize::from(third >> 1 & 1);
        let (frame, after) = rest.split_at_checked(bytes)?;
        rest = after;
        Some(frame)
    })
}

/// An ID3 tag that claims so many bytes.
fn id3(claimed: u32, body: &[u8]) -> Vec<u8> {
    let size = [21, 14, 7, 0].map(|shift| (claimed >> shift & 0x7f) as u8);
    [&b"ID3\x03\0\0"[..], &size, body].concat()
}

/// A gigabyte of zeros.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..64 {
        encoder.write_all(&vec![0; 16 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

pub(super) fn bombs() -> Vec<Bomb> {
    let mp3 = fixture("mp3-cbr.mp3");
    let flac = fixture("flac.flac");
    let frames: Vec<&[u8]> = frames(&mp3).collect();
    assert!(frames.len() > 30, "{} frames", frames.len());
    let second = || Decodes(0.9..=1.2);
    vec![
        bomb(
            "a byte of garbage before each frame",
            frames.join(&b"\0"[..]),
            Refused("unsupported_audio"),
        ),
        bomb(
            "a false start before each frame",
            frames.join(&b"\xff\xfb"[..]),
            Refused("unsupported_audio"),
        ),
        bomb(
            "beginnings of frames",
            b"\xff\xfb\x52\x44".repeat(1 << 20),
            Refused("unsupported_audio"),
        ),
        bomb(
            "beginnings of AAC",
            b"\xff\xf1\x50\x80\x00\x1f\xfc".repeat(1 << 20),
            Refused("unsupported_audio"),
        ),
        bomb(
            "garbage in the middle",
            [&mp3[..], &vec![0x55; 20 << 20], &mp3].concat(),
            Decodes(0.9..=2.2),
        ),
        bomb("a tag of 256 MB", id3(u32::MAX, &mp3), second()),
        bomb("ten tags", [id3(0, b"").repeat(10), mp3.clone()].concat(), second()),
        bomb(
            "a million tags",
            [id3(0, b"").repeat(1 << 20), mp3.clone()].concat(),
            Refused("unsupported_audio"),
        ),
        bomb("20 MB of tag", [id3(20 << 20, &vec![7; 20 << 20]), flac].concat(), second()),
        bomb("an archive of a gigabyte", gzip_bomb(), Refused("unsupported_audio")),
        bomb(
            "an archive in an archive",
            b"PK\x03\x04".repeat(1 << 18),
            Refused("unsupported_audio"),
        ),
    ]
}
