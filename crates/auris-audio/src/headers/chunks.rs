//! The chunks of a file, up to its samples and behind them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::codecs::Container;
use crate::part::{fill_at, peek};
use crate::seams::{begins, recording_begins};

/// How a container writes its chunks.
pub(super) struct Dialect {
    /// Where the first chunk is.
    first: u64,
    /// The bytes of an id, of which the first four are letters.
    id: usize,
    /// The bytes of a size.
    size: usize,
    little_endian: bool,
    /// Whether a size counts the chunk's header.
    inclusive: bool,
    /// RiffChunks begin at multiples of this.
    align: u64,
    /// The chunk with the samples, and how many bytes are before them in it.
    samples: (&'static [u8; 4], u64),
    /// What else is to be known.
    kept: &'static [&'static [u8; 4]],
    /// Where the file says that it ends.
    outer_end: Option<u64>,
}

/// A chunk with its size as the file has it.
struct RiffChunk {
    id: [u8; 4],
    body: u64,
    size: u64,
}

/// What is in a file.
pub(super) struct Found {
    /// The chunks to be known, with their bodies.
    pub(super) kept: Vec<([u8; 4], Vec<u8>)>,
    pub(super) range: Range<u64>,
    pub(super) next: u64,
    pub(super) truncated: bool,
}

/// The file to look through.
pub(super) struct RiffChunks<'a> {
    pub(super) dialect: Dialect,
    pub(super) file: &'a File,
    /// Where the recording begins.
    pub(super) start: u64,
    /// Where the file ends.
    pub(super) len: u64,
}

/// The most chunks of a file.
const MAX_CHUNKS: usize = 10_000;

/// The most bytes of a chunk that is kept: the packets of a day of AAC.
const MAX_KEPT_BYTES: u64 = 16 << 20;

/// How far from a damaged chunk the samples are looked for.
const SEARCH_BYTES: usize = 64 << 10;

/// Sizes from here on are what programs write that do not know them, if there is not half as much.
const ENDLESS: u64 = 0x7000_0000;

/// The most zeros behind the samples that are looked through for more.
const MAX_ZEROS: u64 = 8 << 20;

/// The bytes behind the samples that may belong to nothing.
const MAX_REST: u64 = 16;

impl Dialect {
    /// That of a file with this container, which begins with `head`.
    pub(super) fn of(container: Container, head: &[u8]) -> Option<Self> {
        let outer = |order: fn([u8; 4]) -> u32| {
            let size = order(head.get(4..8)?.try_into().ok()?);
            Some(u64::from(size) + 8)
        };
        let riff = Self {
            first: 12,
            id: 4,
            size: 4,
            little_endian: true,
            inclusive: false,
            align: 2,
            samples: (b"data", 0),
            kept: &[b"fmt ", b"ds64"],
            outer_end: outer(u32::from_le_bytes),
        };
        match container {
            Container::Wav if head.starts_with(b"riff") => Some(Self {
                first: 40,
                id: 16,
                size: 8,
                inclusive: true,
                align: 8,
                outer_end: None,
                ..riff
            }),
            Container::Wav => Some(riff),
            Container::Aiff => Some(Self {
                little_endian: false,
                samples: (b"SSND", 8),
                kept: &[b"COMM"],
                outer_end: outer(u32::from_be_bytes),
                ..riff
            }),
            Container::Caf => Some(Self {
                first: 8,
                size: 8,
                little_endian: false,
                align: 1,
                samples: (b"data", 4),
                kept: &[b"desc", b"chan", b"kuki", b"pakt"],
                outer_end: None,
                ..riff
            }),
            _ => None,
        }
    }

    /// Whether a chunk of this name is to be known.
    fn wants(&self, id: &[u8]) -> bool {
        id == self.samples.0 || self.kept.iter().any(|kept| id == *kept)
    }
}

impl RiffChunks<'_> {
    /// Walks through the chunks; `None` if there are no samples among them.
    pub(super) fn find(&self) -> io::Result<Option<Found>> {
        let mut at = self.start + self.dialect.first;
        let mut last = at;
        let mut kept: Vec<([u8; 4], Vec<u8>)> = Vec::new();
        let mut samples: Option<(Range<u64>, bool)> = None;
        let mut searched = false;
        for _ in 0..MAX_CHUNKS {
            let Some(chunk) = self.chunk(at)? else {
                if samples.is_some() || searched {
                    break;
                }
                // A chunk before it has a wrong size.
                searched = true;
                let near = peek::<SEARCH_BYTES>(self.file, last)?;
                let is_wanted = |window: &[u8]| self.dialect.wants(window);
                let Some(offset) = near.windows(4).position(is_wanted) else { break };
                at = last + offset as u64;
                continue;
            };
            last = chunk.body;
            let end = chunk.body.saturating_add(chunk.size);
            if chunk.id == *self.dialect.samples.0 && samples.is_none() {
                let long = kept.iter().find(|(id, _)| id == b"ds64").map(|(_, body)| body);
                let found = self.samples(&chunk, long.and_then(|body| ds64_bytes(body)))?;
                at = found.next;
                samples = Some((found.range, found.truncated));
                continue;
            }
            // Of several with one name, the first counts: chunks may nest, and take the same bytes
            // again and again.
            let is_new = kept.iter().all(|(id, _)| *id != chunk.id);
            if is_new && self.dialect.kept.contains(&&chunk.id) && chunk.size <= MAX_KEPT_BYTES {
                let bytes = chunk.size.min(self.len.saturating_sub(chunk.body));
                let mut body = vec![0; bytes as usize];
                self.read(&mut body, chunk.body)?;
                kept.push((chunk.id, body));
            }
            if end > self.len {
                // It breaks off, or its size is wrong.
                at = if samples.is_some() { self.len } else { chunk.body };
                continue;
            }
            at = self.behind(end)?;
        }
        let found = samples.map(|(range, truncated)| Found {
            kept,
            range,
            next: at.min(self.len),
            truncated,
        });
        Ok(found)
    }

    /// RiffChunks begin at even places in their recording.
    fn aligned(&self, at: u64) -> u64 {
        let own = at.saturating_sub(self.start);
        own.checked_next_multiple_of(self.dialect.align).map_or(at, |own| self.start + own)
    }

    /// Where the chunk behind `end` begins: some writers leave out the padding of odd ones.
    fn behind(&self, end: u64) -> io::Result<u64> {
        let aligned = self.aligned(end);
        if aligned == end || self.fits(aligned)? || !self.fits(end)? {
            Ok(aligned)
        } else {
            Ok(end)
        }
    }

    /// Whether a chunk begins at this byte that ends in the file, or may have a wrong size.
    fn fits(&self, at: u64) -> io::Result<bool> {
        Ok(self.chunk(at)?.is_some_and(|chunk| {
            chunk.body.saturating_add(chunk.size) <= self.len || chunk.id == *self.dialect.samples.0
        }))
    }

    /// The chunk that begins at this byte, if it may be one.
    fn chunk(&self, at: u64) -> io::Result<Option<RiffChunk>> {
        let Dialect { id, size, little_endian, inclusive, .. } = self.dialect;
        let bytes = peek::<32>(self.file, at)?;
        let (Some(name), Some(number)) = (bytes.get(..4), bytes.get(id..id + size)) else {
            return Ok(None);
        };
        let is_name = name.iter().all(|letter| (0x20..0x7f).contains(letter));
        let is_file = Container::ALL.into_iter().any(|container| begins(container, &bytes));
        if !is_name || is_file {
            return Ok(None);
        }
        let digits = number.iter().copied();
        let fold = |sum: u64, digit: u8| sum << 8 | u64::from(digit);
        let value = if little_endian { digits.rev().fold(0, fold) } else { digits.fold(0, fold) };
        let header = (id + size) as u64;
        let own = if inclusive { value.saturating_sub(header) } else { value };
        Ok(Some(RiffChunk {
            id: [name[0], name[1], name[2], name[3]],
            body: at + header,
            size: own,
        }))
    }

    /// Where the samples of `chunk` are; `long` is their size where it has no room for it.
    fn samples(&self, chunk: &RiffChunk, long: Option<u64>) -> io::Result<Found> {
        let size = long.filter(|_| chunk.size == u64::from(u32::MAX)).unwrap_or(chunk.size);
        let first = chunk.body.saturating_add(self.dialect.samples.1).min(self.len);
        let end = chunk.body.saturating_add(size).max(first);
        let found =
            |end, next, truncated| Found { kept: Vec::new(), range: first..end, next, truncated };
        if let Some(next) = self.next_behind(end)? {
            return Ok(found(end, next, false));
        }
        let is_claim = size < ENDLESS || (self.len - first) > size / 2;
        let outer_end = self.dialect.outer_end.map_or(u64::MAX, |outer| self.start + outer);
        Ok(found(self.len, self.len, end > self.len && is_claim && outer_end > self.len))
    }

    /// Where the file goes on if samples end at `end`; `None` if they do not, because what follows
    /// can only be more of them.
    fn next_behind(&self, end: u64) -> io::Result<Option<u64>> {
        if end > self.len {
            return Ok(None);
        }
        for at in [end, self.aligned(end)] {
            if recording_begins(self.file, at)? || is_tag(&peek::<8>(self.file, at)?) {
                return Ok(Some(at));
            }
            let rest = self.len.saturating_sub(at);
            if rest <= MAX_REST {
                return Ok(Some(self.len));
            }
            let chunk = self.chunk(at)?;
            if chunk.is_some_and(|chunk| chunk.size <= rest || is_known(&chunk.id)) {
                return Ok(Some(at));
            }
        }
        Ok(self.is_silent(end)?.then_some(self.len))
    }

    /// Whether nothing but zeros follows.
    fn is_silent(&self, mut at: u64) -> io::Result<bool> {
        let last = at.saturating_add(MAX_ZEROS);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = self.read(&mut buffer, at)?;
            if buffer[..read].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += read as u64;
            if read == 0 {
                return Ok(true);
            }
            if at > last {
                return Ok(false);
            }
        }
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        fill_at(|buffer, at| self.file.read_at(buffer, at), buffer, at)
    }
}

/// How many bytes of samples RF64 has (EBU Tech 3306).
fn ds64_bytes(body: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(body.get(8..16)?.try_into().ok()?))
}

/// Tags that are no chunks, at the end of any file.
pub(crate) fn is_tag(head: &[u8]) -> bool {
    [&b"TAG"[..], b"ID3", b"APETAGEX"].iter().any(|tag| head.starts_with(tag))
}

/// RiffChunks that are known even where they break off.
fn is_known(id: &[u8; 4]) -> bool {
    matches!(id, b"LIST" | b"id3 " | b"ID3 ")
}
