//! A minimal reader of the EBML elements (RFC 8794) that Matroska files consist of.

use std::io::{self, Read, Seek};

// Ids of elements, with their length marks (RFC 9559, section 5.1).
pub(super) const SEGMENT: u64 = 0x1853_8067;
pub(super) const TRACKS: u64 = 0x1654_ae6b;
pub(super) const TRACK_ENTRY: u64 = 0xae;
pub(super) const TRACK_NUMBER: u64 = 0xd7;
pub(super) const CLUSTER: u64 = 0x1f43_b675;
pub(super) const SIMPLE_BLOCK: u64 = 0xa3;
pub(super) const BLOCK_GROUP: u64 = 0xa0;
pub(super) const BLOCK: u64 = 0xa1;

/// The most children of one element, which are held in memory; a file with more is hostile.
const MAX_CHILDREN: usize = 100_000;

/// An element, with its content from `start` to `end`; without an end if its size is unknown.
pub(super) struct Element {
    pub(super) id: u64,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

impl Element {
    /// The element at this byte.
    pub(super) fn read(file: &mut (impl Read + Seek), at: u64) -> io::Result<Self> {
        move_to(file, at)?;
        let (id, id_bytes) = number(file, true)?;
        let (size, size_bytes) = number(file, false)?;
        let start = at + id_bytes + size_bytes;
        // All bits set is a size that was not known.
        let is_known = size != (1 << (7 * size_bytes)) - 1;
        let end = is_known.then(|| start.checked_add(size)).flatten();
        Ok(Self { id, start, end })
    }

    /// Its children, up to damage.
    pub(super) fn children(&self, file: &mut (impl Read + Seek)) -> Vec<Self> {
        let mut children = Vec::new();
        let Some(end) = self.end else { return children };
        let mut at = self.start;
        while at < end && children.len() < MAX_CHILDREN {
            let Ok(child) = Self::read(file, at) else { break };
            let Some(child_end) = child.end else { break };
            at = child_end;
            children.push(child);
        }
        children
    }

    /// Its content as a big-endian number.
    pub(super) fn value(&self, file: &mut (impl Read + Seek)) -> Option<u64> {
        let bytes = usize::try_from(self.end? - self.start).ok().filter(|bytes| *bytes <= 8)?;
        let mut buffer = [0; 8];
        move_to(file, self.start).ok()?;
        file.read_exact(&mut buffer[8 - bytes..]).ok()?;
        Some(u64::from_be_bytes(buffer))
    }
}

/// A number whose first byte encodes its length, and that length; `marked` keeps the length mark,
/// as ids do.
pub(super) fn number(file: &mut impl Read, marked: bool) -> io::Result<(u64, u64)> {
    let mut first = [0];
    file.read_exact(&mut first)?;
    let [first] = first;
    let bytes = first.leading_zeros() as usize + 1;
    if bytes > 8 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = [0; 8];
    file.read_exact(&mut rest[9 - bytes..])?;
    rest[8 - bytes] = if marked { first } else { first & (0x7f_u16 >> (bytes - 1)) as u8 };
    Ok((u64::from_be_bytes(rest), bytes as u64))
}

/// Goes to this byte without leaving the buffer, if it is near.
pub(super) fn move_to(file: &mut impl Seek, at: u64) -> io::Result<()> {
    let here = file.stream_position()?;
    file.seek_relative(at.wrapping_sub(here) as i64)
}

#[cfg(test)]
pub(super) mod tests {
    pub(crate) fn element(id: u64, content: &[u8]) -> Vec<u8> {
        with_size(id, Some(content.len()), content)
    }

    /// An element, of unknown size if `size` is `None`.
    pub(crate) fn with_size(id: u64, size: Option<usize>, content: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes();
        let id = &id[id.iter().position(|byte| *byte != 0).unwrap()..];
        let size = size.map_or(u64::MAX >> 7, |size| size as u64) | 1 << 56;
        [id, &size.to_be_bytes(), content].concat()
    }
}
