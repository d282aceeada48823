//! WebM and Matroska: elements of any size, in each other, without end.

use super::ogg::vorbis_headers;
use super::{Bomb, Decodes, Refused, bomb};

const HEADER: &[u8] = &[0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: &[u8] = &[0x18, 0x53, 0x80, 0x67];
const TRACKS: &[u8] = &[0x16, 0x54, 0xae, 0x6b];
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];
const TAGS: &[u8] = &[0x12, 0x54, 0xc3, 0x67];
const TAG: &[u8] = &[0x73, 0x73];
const SIMPLE_TAG: &[u8] = &[0x67, 0xc8];
const CUES: &[u8] = &[0x1c, 0x53, 0xbb, 0x6b];
const ATTACHMENTS: &[u8] = &[0x19, 0x41, 0xa4, 0x69];
const CODEC_PRIVATE: &[u8] = &[0x63, 0xa2];

/// An element with a size of eight bytes, the largest of which are unknown sizes.
fn sized(id: &[u8], size: u64, body: &[u8]) -> Vec<u8> {
    [id, &(size | 1 << 56).to_be_bytes(), body].concat()
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    sized(id, body.len() as u64, body)
}

/// The same with a size of one byte.
fn small(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &[0x80 | body.len() as u8], body].concat()
}

/// A stream's codec and layout.
struct Stream<'a> {
    codec: &'a [u8],
    private: Vec<u8>,
    rate_hz: f64,
    channels: &'a [u8],
}

const PCM: Stream<'_> =
    Stream { codec: b"A_PCM/INT/LIT", private: Vec::new(), rate_hz: 16_000.0, channels: &[1] };

fn tracks(stream: &Stream<'_>) -> Vec<u8> {
    let audio = [
        small(&[0xb5], &stream.rate_hz.to_be_bytes()),
        small(&[0x9f], stream.channels),
        small(&[0x62, 0x64], &[16]),
    ];
    let parts = [
        small(&[0xd7], &[1]),
        small(&[0x73, 0xc5], &[1]),
        small(&[0x83], &[2]),
        small(&[0x86], stream.codec),
        stream.private.clone(),
        small(&[0xe1], &audio.concat()),
    ];
    element(TRACKS, &element(&[0xae], &parts.concat()))
}

/// A block of the first track.
fn block(flags: u8, content: &[u8]) -> Vec<u8> {
    element(&[0xa3], &[&[0x81, 0, 0, flags], content].concat())
}

fn cluster(blocks: &[u8]) -> Vec<u8> {
    element(CLUSTER, &[&small(&[0xe7], &[0]), blocks].concat())
}

/// A file of `parts`.
fn file(parts: &[&[u8]]) -> Vec<u8> {
    let kind = [small(&[0x42, 0x82], b"matroska"), small(&[0x42, 0x87], &[4])].concat();
    let information = [
        small(&[0x2a, 0xd7, 0xb1], &[0x0f, 0x42, 0x40]),
        small(&[0x4d, 0x80], b"auris"),
        small(&[0x57, 0x41], b"auris"),
    ];
    let information = element(&[0x15, 0x49, 0xa9, 0x66], &information.concat());
    let segment = [&information, &parts.concat()[..]].concat();
    [element(HEADER, &kind), element(SEGMENT, &segment)].concat()
}

/// A second of silence, with `more` before it.
fn second(stream: &Stream<'_>, more: &[u8]) -> Vec<u8> {
    file(&[&tracks(stream), more, &cluster(&block(0, &[0; 32_000]))])
}

/// Elements in elements.
fn nested(id: &[u8], levels: usize) -> Vec<u8> {
    let level_bytes = id.len() + 8;
    (0..levels)
        .flat_map(|level| sized(id, ((levels - level - 1) * level_bytes) as u64, b""))
        .collect()
}

pub(super) fn bombs() -> Vec<Bomb> {
    let decodes = || Decodes(0.99..=1.01);
    let tag = small(SIMPLE_TAG, &[small(&[0x45, 0xa3], b"a"), small(&[0x44, 0x87], b"b")].concat());
    let tags = |count| element(TAGS, &element(TAG, &tag.repeat(count)));
    let positions = small(&[0xb7], &[small(&[0xf7], &[1]), small(&[0xf1], &[0])].concat());
    let cue = small(&[0xbb], &[small(&[0xb3], &[0]), positions].concat());
    let attachment = [
        small(&[0x46, 0x6e], b"a"),
        small(&[0x46, 0x60], b"font/ttf"),
        small(&[0x46, 0xae], &[1]),
        element(&[0x46, 0x5c], &vec![7; 48_000_000]),
    ];
    let attachments = element(ATTACHMENTS, &element(&[0x61, 0xa7], &attachment.concat()));
    let private = |private| Stream { private, ..PCM };
    let vorbis = Stream {
        codec: b"A_VORBIS",
        private: element(CODEC_PRIVATE, &vorbis_headers(256).concat()),
        ..PCM
    };
    let giant = (1 << 55) + 1;
    vec![
        bomb("Matroska", second(&PCM, b""), decodes()),
        bomb(
            "at 1 Hz",
            second(&Stream { rate_hz: 1.0, ..PCM }, b""),
            Refused("unsupported_layout"),
        ),
        bomb(
            "at no rate",
            second(&Stream { rate_hz: f64::NAN, ..PCM }, b""),
            Refused("undecodable_audio"),
        ),
        bomb(
            "at 10^300 Hz",
            second(&Stream { rate_hz: 1e300, ..PCM }, b""),
            Refused("unsupported_layout"),
        ),
        bomb(
            "2^64 channels",
            second(&Stream { channels: &[0xff; 8], ..PCM }, b""),
            Refused("unsupported_layout"),
        ),
        bomb(
            "a header of 2^55 bytes",
            second(&private(sized(CODEC_PRIVATE, giant, b"abc")), b""),
            Refused("no_audio"),
        ),
        bomb("codebooks of gigabytes", second(&vorbis, b""), Refused("undecodable_audio")),
        bomb(
            "tags in tags",
            second(&PCM, &element(TAGS, &nested(SIMPLE_TAG, 50_000))),
            Refused("undecodable_audio"),
        ),
        bomb("150,000 tags", second(&PCM, &tags(150_000)), decodes()),
        bomb("a million tags", second(&PCM, &tags(1 << 20)), Refused("undecodable_audio")),
        bomb(
            "a million cues",
            second(&PCM, &element(CUES, &cue.repeat(1 << 20))),
            Refused("undecodable_audio"),
        ),
        bomb("48 MB of fonts", second(&PCM, &attachments), decodes()),
        bomb(
            "an element of 2^55 bytes",
            second(&PCM, &sized(&[0xec], giant, b"")),
            Refused("no_audio"),
        ),
        bomb(
            "nested clusters",
            file(&[&tracks(&PCM), &nested(CLUSTER, 100_000)]),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a block of 2^55 bytes",
            file(&[&tracks(&PCM), &cluster(&sized(&[0xa3], giant, &[0x81, 0, 0, 0, 1, 2]))]),
            Refused("no_audio"),
        ),
        bomb(
            "laces that are not there",
            file(&[&tracks(&PCM), &cluster(&block(0x06, &[0xff; 40]).repeat(100))]),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a million empty blocks",
            file(&[&tracks(&PCM), &cluster(&small(&[0xa3], &[0x81, 0, 0, 0]).repeat(1 << 20))]),
            Refused("no_audio"),
        ),
    ]
}
