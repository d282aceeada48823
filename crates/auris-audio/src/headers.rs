//! The headers of WAV, AIFF, CAF and Ogg files, as they should be.
//!
//! Recorders that crash leave sizes of 0, streams have sizes of 2 GB and more, and sizes in one
//! header contradict each other; readers refuse most of them, or find no samples. So the chunks are
//! walked through here, sizes are only believed if something sensible is where they lead, and the
//! reader gets a new header that says what is there.

mod chunks;
mod ogg;
mod wave_format;

use std::fs::File;
use std::io;
use std::ops::Range;

pub(super) use self::chunks::is_tag;
use self::chunks::{Dialect, Found, RiffChunks};
use self::wave_format::WaveFormat;
use super::codecs::Container;
use super::part::peek;

/// The samples of a recording, and what a reader needs to know of them.
#[derive(Debug, PartialEq)]
pub(super) struct Samples {
    /// What they are to be read as.
    pub(super) container: Container,
    /// The header that belongs before them.
    pub(super) head: Vec<u8>,
    /// Where they are in the file.
    pub(super) range: Range<u64>,
    /// Where the file goes on.
    pub(super) next: u64,
    /// Whether the header promises more of them.
    pub(super) truncated: bool,
}

/// Finds the samples of the recording that begins at `start` in a file of `len` bytes. `None` if
/// another container has other headers, or if the reader may know better.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(
    container: Container,
    file: &File,
    start: u64,
    len: u64,
) -> io::Result<Option<Samples>> {
    if container == Container::Ogg {
        return ogg::read(file, start, len);
    }
    let head = peek::<40>(file, start)?;
    let Some(dialect) = Dialect::of(container, &head) else { return Ok(None) };
    let Some(found) = RiffChunks { dialect, file, start, len }.find()? else { return Ok(None) };
    let Found { kept, mut range, next, truncated } = found;
    let kept = |id: &[u8; 4]| kept.iter().find(|(name, _)| name == id).map(|(_, body)| &body[..]);
    let bytes = range.end - range.start;
    let (container, head) = match container {
        Container::Wav => match kept(b"fmt ").map(wave_format::repaired) {
            Some(WaveFormat::Wave(format)) => (container, wave_head(&format, bytes)),
            Some(WaveFormat::Mpeg) => (Container::Mpeg, Vec::new()),
            None => return Ok(None),
        },
        Container::Aiff => match kept(b"COMM").and_then(|common| aiff_head(common, bytes)) {
            Some(head) => (container, head),
            None => return Ok(None),
        },
        _ => {
            let Some(description) = kept(b"desc") else { return Ok(None) };
            let packet = fixed_packet(description).unwrap_or(1);
            range.end -= bytes % packet;
            (container, core_audio_head(description, kept, bytes - bytes % packet))
        }
    };
    Ok(Some(Samples { container, head, range, next, truncated }))
}

/// A size that a field of 32 bits may be too small for; readers take the greatest for unknown.
fn size32(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn wave_head(format: &[u8], bytes: u64) -> Vec<u8> {
    let chunks = 4 + 8 + format.len() as u64 + 8;
    let mut head = b"RIFF".to_vec();
    head.extend(size32(chunks.saturating_add(bytes)).to_le_bytes());
    head.extend(b"WAVEfmt ");
    head.extend(size32(format.len() as u64).to_le_bytes());
    head.extend(format);
    head.extend(b"data");
    let fits = chunks.saturating_add(bytes) < u64::from(u32::MAX);
    head.extend(if fits { size32(bytes) } else { u32::MAX }.to_le_bytes());
    head
}

/// A header with the format that chunk `COMM` describes; `None` if it describes none.
fn aiff_head(common: &[u8], bytes: u64) -> Option<Vec<u8>> {
    // Channels, frames, bits of a sample, and the sample rate as an extended float.
    let mut common = common.get(..22).or(common.get(..18))?.to_vec();
    let (form, codec) = match common.get(18..) {
        Some(codec) if !codec.is_empty() => (b"AIFC", codec.to_ascii_lowercase()),
        _ => (b"AIFF", Vec::new()),
    };
    if form == b"AIFC" {
        // Apple gives the bits of what is decoded, the reader wants those that are stored.
        if matches!(&codec[..], b"ulaw" | b"alaw") {
            common[6..8].copy_from_slice(&8_u16.to_be_bytes());
        }
        common.extend([0, 0]); // a codec without a name
    }
    // What is beyond cannot be in an AIFF file.
    let sound = size32(bytes.min(u64::from(u32::MAX) - 100)) + 8;
    let mut head = b"FORM".to_vec();
    head.extend((4 + 8 + common.len() as u32 + 8 + sound).to_be_bytes());
    head.extend(form);
    head.extend(b"COMM");
    head.extend((common.len() as u32).to_be_bytes());
    head.extend(common);
    head.extend(b"SSND");
    head.extend(sound.to_be_bytes());
    head.extend([0; 8]); // neither an offset nor blocks
    Some(head)
}

/// The bytes of a packet, if all have as many and as many frames.
fn fixed_packet(description: &[u8]) -> Option<u64> {
    let number = |at: usize| {
        let bytes = description.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?)).filter(|number| *number > 0)
    };
    number(20)?;
    number(16).map(u64::from)
}

fn core_audio_head<'a>(
    description: &[u8],
    kept: impl Fn(&[u8; 4]) -> Option<&'a [u8]>,
    bytes: u64,
) -> Vec<u8> {
    let mut head = b"caff\0\x01\0\0".to_vec();
    let mut chunk = |id: &[u8; 4], size: usize, body: &[u8]| {
        head.extend(id);
        head.extend((size as u64).to_be_bytes());
        head.extend(body);
    };
    chunk(b"desc", description.len(), description);
    for id in [b"chan", b"kuki"] {
        if let Some(body) = kept(id) {
            chunk(id, body.len(), body);
        }
    }
    if let Some(table) = kept(b"pakt") {
        // The reader refuses a table for packets of one size.
        let table = match (fixed_packet(description), table.get(8..24)) {
            (Some(_), Some(frames)) => [&[0; 8], frames].concat(),
            _ => table.to_vec(),
        };
        chunk(b"pakt", table.len(), &table);
    }
    let edits = [0; 4];
    chunk(b"data", (bytes as usize).saturating_add(edits.len()), &edits);
    head
}
