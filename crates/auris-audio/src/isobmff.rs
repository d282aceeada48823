//! A minimal reader of the boxes that MP4 files consist of (ISO/IEC 14496-12, section 4.2).

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// The most boxes in a row; a file with more is hostile: films have a handful of tracks.
const MAX_BOXES: usize = 10_000;

/// The id of a track by its box `tkhd`.
pub(super) fn id(file: &mut (impl Read + Seek), header: &Range<u64>) -> Option<u32> {
    after_times(file, header).ok()
}

/// The number behind the times of creation and change.
pub(super) fn after_times(file: &mut (impl Read + Seek), header: &Range<u64>) -> io::Result<u32> {
    file.seek(SeekFrom::Start(header.start))?;
    let times = if version(file)? == 1 { 16 } else { 8 };
    file.seek_relative(times)?;
    Ok(u32::from_be_bytes(read(file)?))
}

/// What a track holds, by its box `hdlr`: `soun` and `vide` for example.
pub(super) fn handler_type(
    file: &mut (impl Read + Seek),
    handler: &Range<u64>,
) -> io::Result<[u8; 4]> {
    file.seek(SeekFrom::Start(handler.start))?;
    read::<8>(file)?; // version, flags and a number that means nothing
    read(file)
}

/// The version of a box that has one; the flags behind it are skipped.
pub(super) fn version(file: &mut impl Read) -> io::Result<u8> {
    let [version, ..] = read::<4>(file)?;
    Ok(version)
}

/// Where the content of the first box of this kind is in `parent`.
pub(super) fn child(
    file: &mut (impl Read + Seek),
    parent: Range<u64>,
    kind: &[u8; 4],
) -> Option<Range<u64>> {
    find(file, parent, kind, 1).pop()
}

/// Where the contents of the boxes of this kind are in `parent`, up to damage.
pub(super) fn children(
    file: &mut (impl Read + Seek),
    parent: Range<u64>,
    kind: &[u8; 4],
) -> Vec<Range<u64>> {
    find(file, parent, kind, MAX_BOXES)
}

/// Where the contents of up to `most` boxes of this kind are in `parent`, up to damage.
fn find(
    file: &mut (impl Read + Seek),
    parent: Range<u64>,
    kind: &[u8; 4],
    most: usize,
) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut start = parent.start;
    for _ in 0..MAX_BOXES {
        let Ok((name, content)) = read_box(file, start, parent.end) else { break };
        start = content.end;
        if name == *kind {
            found.push(content);
        }
        if found.len() == most {
            break;
        }
    }
    found
}

/// The names of the boxes in `parent` and where each begins, up to damage.
pub(super) fn names(
    file: &mut (impl Read + Seek),
    parent: Range<u64>,
) -> impl Iterator<Item = ([u8; 4], u64)> {
    let mut start = parent.start;
    let next = move || {
        let at = start;
        let (name, content) = read_box(file, at, parent.end).ok()?;
        start = content.end;
        Some((name, at))
    };
    std::iter::from_fn(next).take(MAX_BOXES)
}

/// The name of the box at `start` and where its content is.
pub(super) fn read_box(
    file: &mut (impl Read + Seek),
    start: u64,
    parent_end: u64,
) -> io::Result<([u8; 4], Range<u64>)> {
    file.seek(SeekFrom::Start(start))?;
    let size = u32::from_be_bytes(read(file)?);
    let name = read(file)?;
    let (header, size) = match size {
        0 => (8, parent_end.saturating_sub(start)),
        1 => (16, u64::from_be_bytes(read(file)?)),
        size => (8, u64::from(size)),
    };
    let end = start.checked_add(size).filter(|end| *end <= parent_end && size >= header);
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    Ok((name, start + header..end))
}

/// So many bytes.
pub(super) fn read<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    pub(crate) fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = (content.len() as u32 + 8).to_be_bytes();
        [&size[..], name, content].concat()
    }

    pub(crate) fn numbers(numbers: &[i32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }
}
