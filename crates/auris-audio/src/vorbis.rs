//! Looks through the set-up of a Vorbis stream before a decoder is made of it.
//!
//! A codebook of 60 bytes can ask for 150 MB and seconds of work, and a stream may have 256 of them.
//! The decoder bounds each, but not all of them together. Nothing is decoded here.

use symphonia::core::io::{BitReaderRtl, ReadBitsRtl};

/// The most memory that all codebooks may take. Those of libvorbis have up to 20,000 entries and
/// 90,000 values, which is a third of this.
const MAX_BYTES: u64 = 64 << 20;

/// What the decoder was seen to take for an entry, beside its values: 1.1 kB for each of 131,072.
const ENTRY_BYTES: u64 = 1024;

/// What it takes for a value.
const VALUE_BYTES: u64 = 4;

/// Begins the set-up header (Vorbis I specification, section 4.2.1).
const SETUP: &[u8] = b"\x05vorbis";

/// Whether the codebooks of a stream with these headers take little memory. What is no set-up is
/// left to the decoder.
pub(super) fn is_modest(headers: &[u8]) -> bool {
    // The headers may be joined in two ways, and what looks like a set-up may be in a comment.
    let mut starts = (0..headers.len()).filter(|at| headers[*at..].starts_with(SETUP));
    starts.all(|at| has_modest_codebooks(&headers[at + SETUP.len()..]))
}

fn has_modest_codebooks(setup: &[u8]) -> bool {
    let mut bits = BitReaderRtl::new(setup);
    let Ok(count) = bits.read_bits_leq32(8) else { return true };
    let mut bytes = 0;
    for _ in 0..=count {
        match codebook_bytes(&mut bits) {
            Some(more) => bytes += more,
            // The decoder refuses it, after those before it.
            None => return true,
        }
        if bytes > MAX_BYTES {
            return false;
        }
    }
    true
}

/// Reads past a codebook (section 3.2.1) and returns what it takes; `None` if it is not one.
fn codebook_bytes(bits: &mut BitReaderRtl<'_>) -> Option<u64> {
    if bits.read_bits_leq32(24).ok()? != 0x56_4342 {
        return None;
    }
    let dimensions = bits.read_bits_leq32(16).ok()?;
    let entries = bits.read_bits_leq32(24).ok()?;
    // What the decoder accepts, which bounds the loops below.
    if !(1..=32).contains(&dimensions) || entries > 128 << 10 {
        return None;
    }
    read_lengths(bits, entries)?;
    let lookup = bits.read_bits_leq32(4).ok()?;
    let values = if lookup == 0 { 0 } else { u64::from(dimensions) };
    let multiplicands = match lookup {
        0 => 0,
        1 => lookup1_values(entries, dimensions),
        2 => entries * dimensions,
        _ => return None,
    };
    if lookup != 0 {
        bits.ignore_bits(64).ok()?;
        let value_bits = bits.read_bits_leq32(4).ok()? + 1;
        bits.ignore_bits(1).ok()?;
        for _ in 0..multiplicands {
            bits.ignore_bits(value_bits).ok()?;
        }
    }
    Some(u64::from(entries) * (values * VALUE_BYTES + ENTRY_BYTES))
}

/// Reads over the lengths of the codewords.
fn read_lengths(bits: &mut BitReaderRtl<'_>, entries: u32) -> Option<()> {
    if !bits.read_bool().ok()? {
        let is_sparse = bits.read_bool().ok()?;
        for _ in 0..entries {
            if !is_sparse || bits.read_bool().ok()? {
                bits.ignore_bits(5).ok()?;
            }
        }
        return Some(());
    }
    bits.ignore_bits(5).ok()?;
    let mut entry = 0;
    loop {
        let number_bits = u32::BITS - (entries - entry).leading_zeros();
        entry += bits.read_bits_leq32(number_bits).ok()?;
        match entry.cmp(&entries) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Some(()),
            std::cmp::Ordering::Greater => return None,
        }
    }
}

/// The greatest number whose `dimensions`th power is at most `entries` (section 9.2.3), found as
/// the decoder finds it.
fn lookup1_values(entries: u32, dimensions: u32) -> u32 {
    (entries as f32).powf(1.0 / dimensions as f32).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with their widths in bits, packed from the least significant bit on.
    fn pack(numbers: &[(u32, u32)]) -> Vec<u8> {
        let bits =
            numbers.iter().flat_map(|(number, width)| (0..*width).map(move |n| number >> n & 1));
        let bits: Vec<u32> = bits.collect();
        bits.chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | *bit as u8))
            .collect()
    }

    /// A codebook of `entries` times `dimensions` values in some 60 bytes: codewords of one length.
    fn codebook(entries: u32, dimensions: u32) -> Vec<(u32, u32)> {
        let width = u32::BITS - entries.leading_zeros();
        let mut numbers = vec![(0x56_4342, 24), (dimensions, 16), (entries, 24), (1, 1), (0, 5)];
        numbers.extend((1..entries.ilog2()).map(|_| (0, width)));
        numbers.push((entries, width));
        numbers.extend([(1, 4), (0, 32), (0, 32), (0, 4), (0, 1)]);
        numbers.extend((0..lookup1_values(entries, dimensions)).map(|_| (0, 1)));
        numbers
    }

    #[track_caller]
    fn check(codebooks: u32, entries: u32, dimensions: u32, expected: bool) {
        let mut numbers = vec![(codebooks - 1, 8)];
        numbers.extend((0..codebooks).flat_map(|_| codebook(entries, dimensions)));
        let headers = [b"\x01vorbis and what follows it", SETUP, &pack(&numbers)].concat();
        assert_eq!(is_modest(&headers), expected, "{codebooks} of {entries} x {dimensions}");
    }

    #[test]
    fn large_codebooks_are_found_however_few_bytes_they_have() {
        check(1, 1 << 17, 32, false);
        check(256, 1 << 10, 16, false);
        check(40, 1 << 10, 8, true);
        check(256, 64, 4, true);
    }

    #[test]
    fn real_and_broken_headers_are_let_through() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/codecs/ogg-vorbis.ogg");
        let clip = std::fs::read(path).unwrap();
        assert!(clip.windows(SETUP.len()).any(|window| window == SETUP));
        assert!(is_modest(&clip));
        assert!(is_modest(b""));
        assert!(is_modest(b"\x05vorbis"));
        assert!(is_modest(b"\x05vorbis\xff nonsense"));
    }
}
