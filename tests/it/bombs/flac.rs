//! FLAC, whose silence takes next to nothing.

use super::{Bomb, Decodes, Refused, bomb};

/// The most frames of audio that a FLAC frame can hold.
const LONGEST_BLOCK: u16 = u16::MAX;

fn block(kind: u8, is_last: bool, body: &[u8]) -> Vec<u8> {
    let [_, size @ ..] = (body.len() as u32).to_be_bytes();
    [&[kind | u8::from(is_last) << 7][..], &size, body].concat()
}

fn stream_info(rate_hz: u32, is_last: bool) -> Vec<u8> {
    // 20 bits of rate, 3 of channels less 1, 5 of bits less 1, 36 of length.
    let packed = u64::from(rate_hz) << 44 | 15 << 36;
    let sizes = [LONGEST_BLOCK; 2].map(u16::to_be_bytes).concat();
    block(0, is_last, &[&sizes[..], &[0; 6], &packed.to_be_bytes(), &[0; 16]].concat())
}

/// The remainder that FLAC checks its bytes by.
fn crc(bytes: &[u8], polynomial: u32, width: u32) -> u32 {
    let top = 1 << (width - 1);
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << (width - 8)), |crc, _| {
            let shifted = crc << 1;
            let next = if crc & top == 0 { shifted } else { shifted ^ polynomial };
            next & ((top << 1) - 1)
        })
    })
}

/// A number as UTF-8 writes characters, up to 16 bits.
fn coded_number(number: u32) -> Vec<u8> {
    char::from_u32(number).unwrap().to_string().into_bytes()
}

/// A frame of silence.
fn silent_frame(number: u32) -> Vec<u8> {
    // Sync; a block size of 16 bits and the stream's rate; one channel of 16 bits.
    let mut frame = vec![0xff, 0xf8, 0x70, 0x08];
    frame.extend(coded_number(number));
    frame.extend((LONGEST_BLOCK - 1).to_be_bytes());
    frame.push(crc(&frame, 0x07, 8) as u8);
    // A constant subframe of the value 0.
    frame.extend([0, 0, 0]);
    let check = crc(&frame, 0x8005, 16) as u16;
    frame.extend(check.to_be_bytes());
    frame
}

fn silence(rate_hz: u32, frames: u32, blocks: &[u8]) -> Vec<u8> {
    let is_last = blocks.is_empty();
    let frames: Vec<u8> = (0..frames).flat_map(silent_frame).collect();
    [&b"fLaC"[..], &stream_info(rate_hz, is_last), blocks, &frames].concat()
}

fn comments(count: u32, body: &[u8]) -> Vec<u8> {
    block(4, true, &[&[0; 4][..], &count.to_le_bytes(), body].concat())
}

/// A picture block of so many bytes of picture.
fn picture(bytes: usize, is_last: bool) -> Vec<u8> {
    let body = [&[0; 28][..], &(bytes as u32).to_be_bytes(), &vec![7; bytes]].concat();
    block(6, is_last, &body)
}

pub(super) fn bombs() -> Vec<Bomb> {
    let short = || Decodes(4.0..=4.2);
    let tiny_tags = [2, 0, 0, 0, b'a', b'='].repeat(2 << 20);
    vec![
        bomb("FLAC", silence(16_000, 1, b""), short()),
        bomb("an hour of silence in 36 kB", silence(44_100, 2_500, b""), Refused("audio_too_long")),
        bomb("FLAC at 1 Hz", silence(1, 100, b""), Refused("unsupported_layout")),
        bomb("FLAC at 0 Hz", silence(0, 1, b""), Refused("undecodable_audio")),
        bomb(
            "4 G comments",
            silence(16_000, 1, &comments(u32::MAX, b"")),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a comment of 4 GB",
            silence(16_000, 1, &comments(1, &[0xff; 8])),
            Refused("undecodable_audio"),
        ),
        bomb(
            "two million tags",
            silence(16_000, 1, &comments(2 << 20, &tiny_tags)),
            Refused("undecodable_audio"),
        ),
        bomb(
            "400,000 tags",
            silence(16_000, 1, &comments(400_000, &tiny_tags[..400_000 * 6])),
            short(),
        ),
        bomb(
            "48 MB of cover art",
            silence(
                16_000,
                1,
                &[picture(16_000_000, false).repeat(2), picture(16_000_000, true)].concat(),
            ),
            short(),
        ),
        bomb(
            "96 MB of cover art",
            silence(
                16_000,
                1,
                &[picture(16_000_000, false).repeat(5), picture(16_000_000, true)].concat(),
            ),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a million empty blocks",
            silence(
                16_000,
                1,
                &[block(1, false, b"").repeat(1 << 20), block(1, true, b"")].concat(),
            ),
            Refused("undecodable_audio"),
        ),
        bomb(
            "no end of headers",
            silence(16_000, 1, &block(1, false, b"")),
            Refused("undecodable_audio"),
        ),
    ]
}
