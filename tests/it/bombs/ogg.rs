//! Ogg: pages without end, chains, comments and codebooks.

use super::{Bomb, Decodes, Refused, bomb};

/// The serial number of the stream that is listened to.
const SERIAL: u32 = 7;

/// What a page is.
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// The table of Ogg's checksum: CRC-32 with the polynomial 0x04c11db7, most significant bit first.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// A page of `body`, which `lacing` divides into packets.
fn page(kind: u8, serial: u32, position: u64, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut page =
        [&b"OggS\0"[..], &[kind], &position.to_le_bytes(), &serial.to_le_bytes()].concat();
    page.extend([0; 8]);
    page.push(lacing.len() as u8);
    page.extend(lacing);
    page.extend(body);
    let crc =
        page.iter().fold(0_u32, |crc, byte| (crc << 8) ^ CRC[((crc >> 24) as u8 ^ byte) as usize]);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

/// A packet on as many pages as it needs.
fn packet(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut rest = content;
    let mut kind = kind;
    while rest.len() >= 255 * 255 {
        let (body, after) = rest.split_at(255 * 255);
        pages.extend(page(kind, SERIAL, u64::MAX, &[255; 255], body));
        (rest, kind) = (after, CONTINUED);
    }
    let mut lacing = vec![255; rest.len() / 255];
    lacing.push((rest.len() % 255) as u8);
    pages.extend(page(kind, SERIAL, 0, &lacing, rest));
    pages
}

fn opus_head() -> Vec<u8> {
    packet(FIRST, b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0")
}

fn opus_tags(vendor_bytes: u32, count: u32, tags: &[u8]) -> Vec<u8> {
    packet(0, &[&b"OpusTags"[..], &vendor_bytes.to_le_bytes(), &count.to_le_bytes(), tags].concat())
}

/// Pages of 5 s of silence: packets of a byte, each of them 20 ms.
fn silence(pages: u64, kind: u8) -> Vec<u8> {
    let silent = |number| page(kind, SERIAL, (number + 1) * 250 * 960, &[1; 250], &[0xf8; 250]);
    (0..pages).flat_map(silent).collect()
}

fn opus(tags: &[u8], audio: &[u8]) -> Vec<u8> {
    [&opus_head()[..], tags, audio].concat()
}

/// Numbers with their widths in bits, packed from the least significant bit on.
fn pack(numbers: &[(u32, u32)]) -> Vec<u8> {
    let bits = numbers.iter().flat_map(|(number, width)| (0..*width).map(move |n| number >> n & 1));
    let bits: Vec<u32> = bits.collect();
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | *bit as u8)).collect()
}

/// Vorbis's first and third header, the latter with so many codebooks of 131,072 vectors of 31
/// values: 150 MB in 60 bytes.
pub(super) fn vorbis_headers(codebooks: u32) -> [Vec<u8>; 2] {
    let layout = [&[0; 4][..], &[1], &16_000_u32.to_le_bytes(), &[0; 12], &[0xb8, 1]].concat();
    let mut numbers = vec![(codebooks - 1, 8)];
    for _ in 0..codebooks {
        numbers.extend([(0x56_4342, 24), (31, 16), (1 << 17, 24), (1, 1), (0, 5)]);
        // Codewords of 17 bits: none of 1 to 16, and then all of them.
        numbers.extend([(0, 18); 16]);
        numbers.push((1 << 17, 18));
        numbers.extend([(1, 4), (0, 32), (0, 32), (0, 4), (0, 1), (0, 1)]);
    }
    let setup = [&b"\x05vorbis"[..], &pack(&numbers)].concat();
    [[&b"\x01vorbis"[..], &layout].concat(), setup]
}

fn vorbis(codebooks: u32) -> Vec<u8> {
    let [first, setup] = vorbis_headers(codebooks);
    let comments = packet(0, b"\x03vorbis\0\0\0\0\0\0\0\0\x01");
    [packet(FIRST, &first), comments, packet(0, &setup), packet(LAST, &[0; 50])].concat()
}

pub(super) fn bombs() -> Vec<Bomb> {
    let (plain, five) = (opus_tags(0, 0, b""), silence(1, 0));
    let decodes = || Decodes(4.9..=5.1);
    let tag = [2, 0, 0, 0, b'a', b'='];
    let tags = |count: u32| opus_tags(0, count, &tag.repeat(count as usize));
    let link = |tags: u32| {
        let tags = opus_tags(0, tags, &tag.repeat(tags as usize));
        [opus_head(), tags, page(LAST, SERIAL, 960, &[1], &[0xf8])].concat()
    };
    let empty_link = [opus_head(), plain.clone()].concat();
    let foreign = page(0, SERIAL + 1, 0, &[1], &[0]);
    vec![
        bomb("Ogg", opus(&plain, &five), decodes()),
        bomb(
            "an hour of silence in 190 kB",
            opus(&plain, &silence(720, 0)),
            Refused("audio_too_long"),
        ),
        bomb(
            "an empty comment of 4 GB",
            opus(&opus_tags(u32::MAX, 0, b""), &five),
            Refused("undecodable_audio"),
        ),
        bomb(
            "4 G comments",
            opus(&opus_tags(0, u32::MAX, b""), &five),
            Refused("undecodable_audio"),
        ),
        bomb("600,000 tags", opus(&tags(600_000), &five), decodes()),
        bomb("two million tags", opus(&tags(2 << 20), &five), decodes()),
        bomb(
            "a packet of 20 MB",
            opus(&plain, &packet(0, &vec![0xf8; 20_000_000])),
            Refused("undecodable_audio"),
        ),
        bomb(
            "300,000 pages of another stream",
            opus(&plain, &[foreign.repeat(300_000), five.clone()].concat()),
            Refused("undecodable_audio"),
        ),
        bomb(
            "300,000 empty pages",
            opus(&plain, &[page(0, SERIAL, 0, &[], &[]).repeat(300_000), five.clone()].concat()),
            Refused("undecodable_audio"),
        ),
        bomb(
            "a chain of 100,000 empty links",
            empty_link.repeat(100_000),
            Refused("undecodable_audio"),
        ),
        bomb("a chain of 3,000 links", link(0).repeat(3_000), Decodes(10.0..=60.1)),
        bomb(
            "a chain of 200 links with 10,000 tags each",
            link(10_000).repeat(200),
            Decodes(1.0..=4.1),
        ),
        bomb(
            "pages of silence that never begin",
            silence(1_000, CONTINUED),
            Refused("undecodable_audio"),
        ),
        bomb("codebooks of gigabytes", vorbis(256), Refused("undecodable_audio")),
    ]
}
