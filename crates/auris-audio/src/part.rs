//! A part of a file that is read as a file of its own: one of several recordings that were joined,
//! or samples behind a header that says what is true of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where a part is. Its copies share where it ends, which may turn out while it is read.
#[derive(Clone)]
pub(super) struct FilePart {
    /// What is read before the bytes of the file.
    head: Arc<[u8]>,
    /// Its first byte in the file.
    start: u64,
    bounds: Arc<Bounds>,
}

struct Bounds {
    /// The end of the part.
    end: AtomicU64,
    /// Where the file goes on, behind what belongs to the part but is not read.
    next: AtomicU64,
    /// Whether it was ended before the file.
    joined: AtomicBool,
}

impl FilePart {
    /// From `start` to `end`, with nothing between it and what follows.
    pub(super) fn new(start: u64, end: u64) -> Self {
        Self::with_head(Vec::new(), start..end, end)
    }

    /// `head` and a range of the file, which goes on at `next`.
    pub(super) fn with_head(head: Vec<u8>, range: std::ops::Range<u64>, next: u64) -> Self {
        let joined = false.into();
        let bounds = Bounds { end: range.end.into(), next: next.into(), joined };
        Self { head: head.into(), start: range.start, bounds: Arc::new(bounds) }
    }

    /// Its first byte in the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    fn end(&self) -> u64 {
        self.bounds.end.load(Ordering::Relaxed)
    }

    /// Where the file goes on.
    pub(super) fn next(&self) -> u64 {
        self.bounds.next.load(Ordering::Relaxed)
    }

    /// It ends at this byte of the file, where another recording may begin.
    pub(super) fn end_at(&self, at: u64) {
        self.bounds.end.fetch_min(at, Ordering::Relaxed);
        self.bounds.next.store(at, Ordering::Relaxed);
        self.bounds.joined.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended before the file, so that nothing of it is missing.
    pub(super) fn is_joined(&self) -> bool {
        self.bounds.joined.load(Ordering::Relaxed)
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> u64 {
        self.head.len() as u64 + self.end().saturating_sub(self.start)
    }

    /// The byte of the file that is at `position`; `None` in the head.
    pub(super) fn in_file(&self, position: u64) -> Option<u64> {
        Some(position.checked_sub(self.head.len() as u64)?.saturating_add(self.start))
    }

    /// Reads some bytes at `position`; none at the end.
    pub(super) fn read_at(
        &self,
        file: &File,
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        let Some(at) = self.in_file(position) else {
            // What is before the head's end fits into memory.
            let mut head = &self.head[position as usize..];
            return io::Read::read(&mut head, buffer);
        };
        let left = usize::try_from(self.end().saturating_sub(at)).unwrap_or(usize::MAX);
        match buffer.len().min(left) {
            0 => Ok(0),
            bytes => file.read_at(&mut buffer[..bytes], at),
        }
    }
}

/// Fills `buffer` from `at` on, as far as there is something.
pub(super) fn fill_at(
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    buffer: &mut [u8],
    at: u64,
) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match read_at(&mut buffer[read..], at.saturating_add(read as u64)) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Up to `N` bytes of a file at `at`.
pub(super) fn peek<const N: usize>(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; N];
    let read = fill_at(|buffer, at| file.read_at(buffer, at), &mut bytes, at)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::file_of;

    fn read(part: &FilePart, position: u64) -> Vec<u8> {
        let file = file_of(b"0123456789");
        let mut buffer = [0; 16];
        let read = fill_at(|b, at| part.read_at(&file, b, at), &mut buffer, position).unwrap();
        buffer[..read].to_vec()
    }

    #[test]
    fn a_part_is_read_as_a_file_of_its_own() {
        let part = FilePart::with_head(b"ab".to_vec(), 3..7, 8);
        assert_eq!((read(&part, 0), part.len()), (b"ab3456".to_vec(), 6));
        assert_eq!(read(&part, 1), b"b3456");
        assert_eq!(read(&part, 4), b"56");
        assert_eq!(read(&part, 6), b"");
        assert_eq!(read(&part, u64::MAX), b"");
        assert_eq!(part.next(), 8);
    }

    #[test]
    fn copies_share_where_a_part_ends() {
        let part = FilePart::new(3, 10);
        part.clone().end_at(5);
        assert_eq!((read(&part, 0), part.len(), part.next()), (b"34".to_vec(), 2, 5));
    }
}
