//! MP4: tables that lie, boxes that are not there, tags without end.

use super::{Bomb, Decodes, Refused, bomb};

/// A second of 16-bit mono at 16 kHz.
const SECOND_BYTES: usize = 32_000;

fn atom(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    sized(name, body.len() as u32 + 8, body)
}

/// A box whose size is what it is said to be.
fn sized(name: &[u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], name, body].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A table: version, number of entries, entries.
fn table(name: &[u8; 4], count: u32, entries: &[u8]) -> Vec<u8> {
    atom(name, &[&numbers(&[0, count])[..], entries].concat())
}

/// The parts of a file that bombs change.
struct Tables {
    entry: Vec<u8>,
    times: Vec<u8>,
    sizes: Vec<u8>,
    /// More in the box `moov`.
    more: Vec<u8>,
}

/// One second, each sample a packet of its own.
fn plain() -> Tables {
    // Reserved, one channel of 16 bits at 16 kHz, as QuickTime's first version has it.
    let entry = [
        &[0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0; 8],
        &[0, 1, 0, 16, 0, 0, 0, 0],
        &numbers(&[16_000 << 16]),
    ];
    Tables {
        entry: atom(b"sowt", &entry.concat()),
        times: table(b"stts", 1, &numbers(&[16_000, 1])),
        sizes: atom(b"stsz", &numbers(&[0, 2, 16_000])),
        more: Vec::new(),
    }
}

/// PCM in packets of so many frames, as QuickTime's second version has it.
fn pcm_entry(frames_per_packet: u32) -> Vec<u8> {
    let rate = 16_000_f64.to_be_bytes();
    let layout = numbers(&[1, 0x7f00_0000, 16, 4, 2, frames_per_packet]);
    let start = [
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 2][..],
        &[0; 6],
        &[0, 3, 0, 16, 0xff, 0xfe, 0, 0],
        &numbers(&[0x1_0000, 72]),
    ];
    atom(b"lpcm", &[&start.concat()[..], &rate, &layout].concat())
}

fn movie(tables: &Tables, data_at: u32) -> Vec<u8> {
    let handler = [&[0; 8][..], b"soun", &[0; 13]].concat();
    let samples = [
        table(b"stsd", 1, &tables.entry),
        tables.times.clone(),
        table(b"stsc", 1, &numbers(&[1, 16_000, 1])),
        tables.sizes.clone(),
        table(b"stco", 1, &numbers(&[data_at])),
    ];
    let information = [atom(b"smhd", &[0; 8]), atom(b"stbl", &samples.concat())].concat();
    let media = [
        atom(b"mdhd", &numbers(&[0, 0, 0, 16_000, 16_000, 0])),
        atom(b"hdlr", &handler),
        atom(b"minf", &information),
    ];
    let track_header = [&numbers(&[7, 0, 0, 1, 0, 16_000])[..], &[0; 60]].concat();
    let track = [atom(b"tkhd", &track_header), atom(b"mdia", &media.concat())].concat();
    let movie_header = [&numbers(&[0, 0, 0, 16_000, 16_000])[..], &[0; 80]].concat();
    let parts = [atom(b"mvhd", &movie_header), atom(b"trak", &track), tables.more.clone()];
    atom(b"moov", &parts.concat())
}

fn mp4(tables: &Tables) -> Vec<u8> {
    let kind = atom(b"ftyp", b"qt  \0\0\0\0qt  ");
    let data_at = kind.len() + movie(tables, 0).len() + 8;
    let movie = movie(tables, data_at as u32);
    [kind, movie, atom(b"mdat", &[0; SECOND_BYTES])].concat()
}

/// A box of tags.
fn tags(tags: &[u8]) -> Vec<u8> {
    let handler = atom(b"hdlr", &[&[0; 8][..], b"mdir", &[0; 13]].concat());
    let meta = [&[0; 4][..], &handler, &atom(b"ilst", tags)].concat();
    atom(b"udta", &atom(b"meta", &meta))
}

fn tag(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    atom(name, &atom(b"data", &[&numbers(&[1, 0])[..], content].concat()))
}

/// Boxes in boxes.
fn nested(name: &[u8; 4], levels: u32) -> Vec<u8> {
    (0..levels).flat_map(|level| sized(name, (levels - level) * 8, b"")).collect()
}

pub(super) fn bombs() -> Vec<Bomb> {
    let second = || Decodes(0.99..=1.01);
    let with = |more: Vec<u8>| mp4(&Tables { more, ..plain() });
    let file = mp4(&plain());
    let (start, rest) = file.split_at(20);
    let before = |atoms: &[u8]| [start, atoms, rest].concat();
    let empty_entries = numbers(&[0, 1]).repeat(3_900_000);
    let slow = [&empty_entries[..], &numbers(&[16_000, 1])].concat();
    vec![
        bomb("MP4", file.clone(), second()),
        bomb("PCM in packets", mp4(&Tables { entry: pcm_entry(1), ..plain() }), second()),
        bomb(
            "PCM in packets of 4 G frames",
            mp4(&Tables { entry: pcm_entry(u32::MAX), ..plain() }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "times that are searched for each sample",
            mp4(&Tables { times: table(b"stts", 3_900_001, &slow), ..plain() }),
            Refused("decoding_timeout"),
        ),
        bomb(
            "4 G times",
            mp4(&Tables { times: table(b"stts", u32::MAX, &[0; 80]), ..plain() }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "times beyond all numbers",
            mp4(&Tables { times: table(b"stts", 3, &[0xff; 24]), ..plain() }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "4 G sizes that are not there",
            mp4(&Tables { sizes: atom(b"stsz", &numbers(&[0, 0, u32::MAX, 2, 2])), ..plain() }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "4 G samples of 4 GB",
            mp4(&Tables { sizes: atom(b"stsz", &numbers(&[0, u32::MAX, u32::MAX])), ..plain() }),
            Refused("undecodable_audio"),
        ),
        bomb(
            "40 MB of sizes",
            mp4(&Tables {
                sizes: atom(b"stsz", &[numbers(&[0, 0, 10_000_000]), vec![0; 40_000_000]].concat()),
                ..plain()
            }),
            Refused("undecodable_audio"),
        ),
        bomb("a million tags", with(tags(&tag(b"\xa9nam", b"a").repeat(1 << 20))), second()),
        bomb("48 MB of cover art", with(tags(&tag(b"covr", &vec![7; 48_000_000]))), second()),
        bomb("nested tracks", with(nested(b"trak", 100_000)), Refused("undecodable_audio")),
        bomb("nested media", with(nested(b"mdia", 100_000)), second()),
        bomb(
            "100,000 tracks without content",
            with(atom(b"trak", b"").repeat(100_000)),
            Refused("undecodable_audio"),
        ),
        bomb("a box of 4 GB", before(&sized(b"free", u32::MAX, b"")), Refused("undecodable_audio")),
        bomb(
            "a box smaller than its head",
            before(&sized(b"free", 4, b"")),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a box of 2^63 bytes",
            before(&[sized(b"free", 1, b""), (1_u64 << 63).to_be_bytes().to_vec()].concat()),
            Refused("undecodable_audio"),
        ),
        bomb("a box up to the end", before(&sized(b"free", 0, b"")), second()),
        bomb("a million empty boxes", before(&atom(b"free", b"").repeat(1 << 20)), second()),
    ]
}
