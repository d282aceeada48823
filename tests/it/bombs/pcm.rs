//! WAV, AIFF and CAF.

use super::{Bomb, Decodes, Refused, bomb};

/// A second of silence: 16-bit mono at 16 kHz.
const SECOND: &[u8] = &[0; 32_000];

/// A chunk of RIFF, whose size is a lie if one is given.
fn chunk(name: &[u8; 4], body: &[u8], lie: Option<u32>) -> Vec<u8> {
    let size = lie.unwrap_or(body.len() as u32);
    [name, &size.to_le_bytes()[..], body].concat()
}

fn wav(chunks: &[&[u8]]) -> Vec<u8> {
    let body = [&b"WAVE"[..], &chunks.concat()].concat();
    chunk(b"RIFF", &body, None)
}

/// What WAV's format chunk says.
struct Layout {
    format: u16,
    channels: u16,
    rate_hz: u32,
    block_bytes: u16,
    bits: u16,
}

const PLAIN: Layout = Layout { format: 1, channels: 1, rate_hz: 16_000, block_bytes: 2, bits: 16 };

fn format(layout: &Layout) -> Vec<u8> {
    let Layout { format, channels, rate_hz, block_bytes, bits } = layout;
    let mut body = [*format, *channels].map(u16::to_le_bytes).concat();
    body.extend(
        [*rate_hz, rate_hz.wrapping_mul((*block_bytes).into())].map(u32::to_le_bytes).concat(),
    );
    body.extend([*block_bytes, *bits].map(u16::to_le_bytes).concat());
    chunk(b"fmt ", &body, None)
}

fn wav_of(layout: &Layout) -> Vec<u8> {
    wav(&[&format(layout), &chunk(b"data", SECOND, None)])
}

fn aiff_chunk(name: &[u8; 4], body: &[u8], lie: Option<u32>) -> Vec<u8> {
    let size = lie.unwrap_or(body.len() as u32);
    [name, &size.to_be_bytes()[..], body].concat()
}

fn aiff(rate: [u8; 10], more: &[u8]) -> Vec<u8> {
    let common = [&[0, 1][..], &16_000_u32.to_be_bytes(), &[0, 16], &rate].concat();
    let sound = [&[0; 8], SECOND].concat();
    let chunks = [
        &b"AIFF"[..],
        &aiff_chunk(b"COMM", &common, None),
        more,
        &aiff_chunk(b"SSND", &sound, None),
    ];
    aiff_chunk(b"FORM", &chunks.concat(), None)
}

/// 16,000 as an extended-precision number.
const RATE: [u8; 10] = [0x40, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0];

/// An ID3 tag of chapters that hold each other.
fn nested_chapters(levels: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for level in (0..levels).rev() {
        let size = ((levels - level) * 27 - 10) as u32;
        // Name, size, flags; then an empty name and four times.
        frames.push([b"CHAP", &size.to_be_bytes()[..], &[0; 2], &[0; 17]].concat());
    }
    frames.reverse();
    let body = frames.concat();
    let size = [21, 14, 7, 0].map(|shift| (body.len() >> shift & 0x7f) as u8);
    let tag = [&b"ID3\x03\0\0"[..], &size, &body].concat();
    aiff_chunk(b"ID3 ", &[&tag[..], &[0][..tag.len() % 2]].concat(), None)
}

fn caf(rate: f64, bytes: u32, frames: u32, channels: u32, more: &[u8]) -> Vec<u8> {
    let numbers = [2, bytes, frames, channels, 16].map(u32::to_be_bytes).concat();
    let description = [&rate.to_be_bytes()[..], b"lpcm", &numbers].concat();
    let data = [&[0; 4], SECOND].concat();
    let caf_chunk =
        |name: &[u8], body: &[u8]| [name, &(body.len() as u64).to_be_bytes(), body].concat();
    let chunks = [caf_chunk(b"desc", &description), more.to_vec(), caf_chunk(b"data", &data)];
    [&b"caff\0\x01\0\0"[..], &chunks.concat()].concat()
}

/// A chunk of CAF that claims 2^62 bytes.
fn caf_giant(name: &[u8; 4]) -> Vec<u8> {
    [name, &(1_u64 << 62).to_be_bytes()[..], &[0xff; 1_000]].concat()
}

pub(super) fn bombs() -> Vec<Bomb> {
    let (plain, data) = (format(&PLAIN), chunk(b"data", SECOND, None));
    let second = || Decodes(0.99..=1.01);
    vec![
        bomb("WAV", wav_of(&PLAIN), second()),
        bomb("WAV at 1 Hz", wav_of(&Layout { rate_hz: 1, ..PLAIN }), Refused("unsupported_layout")),
        bomb(
            "WAV at 4 GHz",
            wav_of(&Layout { rate_hz: u32::MAX, ..PLAIN }),
            Refused("unsupported_layout"),
        ),
        bomb("WAV at 0 Hz", wav_of(&Layout { rate_hz: 0, ..PLAIN }), Refused("unsupported_layout")),
        bomb(
            "WAV with 65,535 channels",
            wav_of(&Layout { channels: u16::MAX, block_bytes: u16::MAX, ..PLAIN }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "WAV without channels",
            wav_of(&Layout { channels: 0, ..PLAIN }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "WAV of formats in formats",
            [&b"RIFF\xff\xff\xff\xffWAVE"[..], &b"fmt \xff\xff\xff\0".repeat(50_000)].concat(),
            Refused("unsupported_audio"),
        ),
        bomb("WAV of 0 bits", wav_of(&Layout { bits: 0, ..PLAIN }), second()),
        bomb("WAV in blocks of 0 bytes", wav_of(&Layout { block_bytes: 0, ..PLAIN }), second()),
        bomb("WAV in odd blocks", wav_of(&Layout { block_bytes: 3, ..PLAIN }), Decodes(0.6..=1.01)),
        bomb(
            "WAV of 4 GB that are not there",
            chunk(
                b"RIFF",
                &[&b"WAVE"[..], &plain, &chunk(b"data", SECOND, Some(u32::MAX))].concat(),
                Some(u32::MAX),
            ),
            second(),
        ),
        bomb("WAV of an odd length", wav(&[&plain, &chunk(b"data", &SECOND[1..], None)]), second()),
        bomb(
            "WAV with a list of 4 GB",
            wav(&[&plain, &chunk(b"LIST", b"INFO", Some(u32::MAX)), &data]),
            Refused("undecodable_audio"),
        ),
        bomb(
            "WAV with a million tags",
            wav(&[
                &plain,
                &chunk(
                    b"LIST",
                    &[&b"INFO"[..], &chunk(b"INAM", b"a\0", None).repeat(1 << 20)].concat(),
                    None,
                ),
                &data,
            ]),
            second(),
        ),
        bomb(
            "WAV with 200,000 empty chunks",
            wav(&[&plain, &chunk(b"JUNK", b"", None).repeat(200_000), &data]),
            second(),
        ),
        bomb("AIFF", aiff(RATE, b""), second()),
        bomb(
            "AIFF at an infinite rate",
            aiff([0x7f, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
            Refused("undecodable_audio"),
        ),
        bomb(
            "AIFF at a rate below 0",
            aiff([0xc0, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0], b""),
            Refused("undecodable_audio"),
        ),
        bomb("AIFF with nested chapters", aiff(RATE, &nested_chapters(200_000)), second()),
        bomb(
            "AIFF with a million tags",
            aiff(RATE, &aiff_chunk(b"NAME", b"ab", None).repeat(1 << 20)),
            Refused("undecodable_audio"),
        ),
        bomb(
            "AIFF with a comment of 4 GB",
            aiff(RATE, &aiff_chunk(b"COMT", &[0xff; 10], Some(u32::MAX))),
            second(),
        ),
        bomb("CAF", caf(16_000.0, 2, 1, 1, b""), second()),
        bomb("CAF at no rate", caf(f64::NAN, 2, 1, 1, b""), Refused("unsupported_layout")),
        bomb("CAF at an infinite rate", caf(1e300, 2, 1, 1, b""), Refused("unsupported_layout")),
        bomb(
            "CAF in packets of 4 G frames",
            caf(16_000.0, 2, u32::MAX, 1, b""),
            Refused("undecodable_audio"),
        ),
        bomb(
            "CAF in packets of 4 GB",
            caf(16_000.0, u32::MAX, 1, 1, b""),
            Refused("undecodable_audio"),
        ),
        bomb(
            "CAF with 4 G channels",
            caf(16_000.0, 2, 1, u32::MAX, b""),
            Refused("unsupported_audio"),
        ),
        bomb("CAF with a giant cookie", caf(16_000.0, 2, 1, 1, &caf_giant(b"kuki")), second()),
        bomb(
            "CAF with a giant table",
            caf(16_000.0, 0, 0, 1, &caf_giant(b"pakt")),
            Refused("no_audio"),
        ),
    ]
}
