//! Ogg files whose tags are large: a picture of some megabytes is text to be parsed, which readers
//! refuse or pay for dearly. The reader gets empty tags instead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Samples;
use crate::codecs::Container;
use crate::part::fill_at;

/// Tags that take less stay as they are.
const MAX_TAG_BYTES: usize = 1 << 20;

/// What the headers of one stream may take.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// The most segments of a page.
const MAX_SEGMENTS: usize = 255;

/// A page of a stream (RFC 3533, section 6).
struct Page {
    head: [u8; 27],
    segments: Vec<u8>,
    body: Vec<u8>,
    /// Where the next page begins.
    next: u64,
}

impl Page {
    fn read(file: &File, at: u64) -> io::Result<Option<Self>> {
        let read = |bytes: usize, at: u64| -> io::Result<Option<Vec<u8>>> {
            let mut buffer = vec![0; bytes];
            let read = fill_at(|buffer, at| file.read_at(buffer, at), &mut buffer, at)?;
            Ok((read == bytes).then_some(buffer))
        };
        let Some(head) = read(27, at)? else { return Ok(None) };
        let Ok(head) = <[u8; 27]>::try_from(head) else { return Ok(None) };
        if !head.starts_with(b"OggS\0") {
            return Ok(None);
        }
        let Some(segments) = read(head[26].into(), at + 27)? else { return Ok(None) };
        let bytes: usize = segments.iter().copied().map(usize::from).sum();
        let start = at + 27 + segments.len() as u64;
        let Some(body) = read(bytes, start)? else { return Ok(None) };
        Ok(Some(Self { head, segments, body, next: start + bytes as u64 }))
    }

    fn serial(&self) -> [u8; 4] {
        [self.head[14], self.head[15], self.head[16], self.head[17]]
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.segments, &self.body].concat()
    }
}

/// The samples of a file with large tags, behind new headers; `None` for any other file.
pub(super) fn read(file: &File, start: u64, len: u64) -> io::Result<Option<Samples>> {
    let Some(first) = Page::read(file, start)? else { return Ok(None) };
    let (packets, tags): (usize, &[u8]) = match &first.body {
        body if body.starts_with(b"OpusHead") => (1, b"OpusTags\0\0\0\0\0\0\0\0"),
        // Behind the tags is how to decode.
        body if body.starts_with(b"\x01vorbis") => (2, b"\x03vorbis\0\0\0\0\0\0\0\0\x01"),
        _ => return Ok(None),
    };
    let mut found = vec![Vec::new()];
    let mut at = first.next;
    while found.len() <= packets {
        let page = match Page::read(file, at)? {
            // Another stream would be interleaved with it.
            Some(page) if page.serial() == first.serial() && at - start < MAX_HEADER_BYTES => page,
            _ => return Ok(None),
        };
        at = page.next;
        let mut body = &page.body[..];
        for segment in &page.segments {
            let (part, rest) = body.split_at(usize::from(*segment));
            body = rest;
            if let Some(packet) = found.last_mut() {
                packet.extend_from_slice(part);
            }
            if *segment < 255 {
                found.push(Vec::new());
            }
        }
    }
    // Samples begin on a page of their own.
    let is_clean = found.len() == packets + 1 && found.last().is_some_and(Vec::is_empty);
    if !is_clean || found[0].len() < MAX_TAG_BYTES {
        return Ok(None);
    }
    let headers = std::iter::once(tags).chain(found[1..packets].iter().map(|packet| &packet[..]));
    let mut head = first.bytes();
    for page in pages(headers, first.serial()) {
        head.extend(page);
    }
    let container = Container::Ogg;
    Ok(Some(Samples { container, head, range: at..len, next: len, truncated: false }))
}

/// Pages with these packets, of which none is a sample.
fn pages<'a>(packets: impl Iterator<Item = &'a [u8]>, serial: [u8; 4]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut body = Vec::new();
    for packet in packets {
        segments.extend(vec![255; packet.len() / 255]);
        segments.push((packet.len() % 255) as u8);
        body.extend_from_slice(packet);
    }
    let mut rest = &body[..];
    let mut continues = false;
    let numbered = segments.chunks(MAX_SEGMENTS).zip(1_u32..);
    let pages = numbered.map(|(segments, number)| {
        let bytes = segments.iter().copied().map(usize::from).sum();
        let (own, others) = rest.split_at(bytes);
        rest = others;
        let mut page = b"OggS\0".to_vec();
        page.push(continues.into());
        // Where no packet ends on a page, there is no time.
        let ends = segments.iter().any(|segment| *segment < 255);
        page.extend(if ends { 0_i64 } else { -1 }.to_le_bytes());
        page.extend(serial);
        page.extend(number.to_le_bytes());
        page.extend([0; 4]);
        page.push(segments.len() as u8);
        page.extend(segments);
        page.extend(own);
        continues = segments.last() == Some(&255);
        let sum = checksum(&page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        page
    });
    pages.collect()
}

/// The check sum of a page (RFC 3533, section 6, field 7).
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum: u32, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{file_of, fixture_bytes};

    /// A file of tests/fixtures/codecs with tags of 1.5 MB.
    fn with_large_tags(name: &str) -> Vec<u8> {
        let small = fixture_bytes(&format!("codecs/{name}"));
        let file = file_of(&small);
        let first = Page::read(&file, 0).unwrap().unwrap();
        let second = Page::read(&file, first.next).unwrap().unwrap();
        let mut packets = Vec::new();
        let mut body = &second.body[..];
        let mut length = 0;
        for segment in &second.segments {
            length += usize::from(*segment);
            if *segment < 255 {
                let (packet, rest) = body.split_at(length);
                packets.push(packet.to_vec());
                (body, length) = (rest, 0);
            }
        }
        packets[0].extend(vec![b'A'; 1_500_000]);
        let pages = pages(packets.iter().map(|packet| &packet[..]), first.serial()).concat();
        [first.bytes(), pages, small[second.next as usize..].to_vec()].concat()
    }

    #[test]
    fn a_checksum_is_that_of_other_programs() {
        let file = file_of(&fixture_bytes("codecs/ogg-opus.opus"));
        let mut page = Page::read(&file, 0).unwrap().unwrap().bytes();
        let expected: Vec<u8> = page[22..26].to_vec();
        page[22..26].fill(0);
        assert_eq!(checksum(&page).to_le_bytes().to_vec(), expected);
    }

    #[test]
    fn large_tags_are_left_out() {
        for name in ["ogg-opus.opus", "ogg-vorbis.ogg"] {
            let large = with_large_tags(name);
            let found = read(&file_of(&large), 0, large.len() as u64).unwrap().unwrap();
            assert!(found.head.len() < 10_000, "{name}: {} bytes", found.head.len());
            let small = fixture_bytes(&format!("codecs/{name}"));
            assert!(read(&file_of(&small), 0, small.len() as u64).unwrap().is_none(), "{name}");
            let decoded = crate::tests::decode_bytes(&large).unwrap().samples;
            assert_eq!(decoded, crate::tests::decode_bytes(&small).unwrap().samples, "{name}");
        }
    }
}
