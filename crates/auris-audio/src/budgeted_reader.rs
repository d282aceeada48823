//! A file as the readers of containers see it: within a budget, and without tags of some kinds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use symphonia::core::io::MediaSource;

use super::budget::{Budget, Phase};
use super::codecs::Container;

/// The name of a box or chunk, four characters.
type Mark = [u8; 4];

/// A file that is read within a budget.
pub(super) struct BudgetedReader {
    pub(super) file: File,
    pub(super) seekable: bool,
    pub(super) budget: Budget,
    /// A mark that is not to be seen, and what is seen instead.
    pub(super) masked: Option<(Mark, Mark)>,
}

/// The tags that a reader must not see.
pub(super) fn masked(container: Container) -> Option<(Mark, Mark)> {
    match container {
        // Chapters in ID3 tags may hold each other, which the reader follows by recursion: some
        // thousand levels, at 27 bytes each, overflow the stack and end the program.
        Container::Aiff => Some((*b"ID3 ", *b"JUNK")),
        // Tags may be as small as 24 bytes, and the tables of a long file leave room for a million.
        Container::Mp4 => Some((*b"ilst", *b"free")),
        _ => None,
    }
}

impl BudgetedReader {
    /// Masks `bytes`, which were read at `position`. A mark may begin before them or end behind.
    fn mask(&self, (mark, mask): (Mark, Mark), bytes: &mut [u8], position: u64) -> io::Result<()> {
        let before = position.min(3) as usize;
        let mut window = vec![0; before + bytes.len() + 3];
        let known = read_at(&self.file, &mut window, position - before as u64)?;
        for start in 0..known.saturating_sub(3) {
            if window[start..start + 4] == mark {
                for (offset, byte) in mask.iter().enumerate() {
                    let at = (start + offset).checked_sub(before);
                    if let Some(seen) = at.and_then(|at| bytes.get_mut(at)) {
                        *seen = *byte;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads as much as there is.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], position + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl Read for BudgetedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.budget.pay(buffer.len()).map_err(io::Error::other)?;
        let masked = self.masked.filter(|_| self.budget.phase() == Phase::Headers);
        let Some(masked) = masked else { return self.file.read(buffer) };
        let position = self.file.stream_position()?;
        let read = self.file.read(buffer)?;
        self.mask(masked, &mut buffer[..read], position)?;
        Ok(read)
    }
}

impl Seek for BudgetedReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self.seekable {
            true => self.file.seek(position),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl MediaSource for BudgetedReader {
    fn is_seekable(&self) -> bool {
        self.seekable
    }

    fn byte_len(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        self.seekable.then_some(metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::file_of;

    /// Reads `bytes` by `step` bytes, in a phase, with the mark `abcd` masked by `wxyz`.
    fn read(bytes: &[u8], step: usize, phase: Phase) -> Vec<u8> {
        let budget = Budget::new(Container::Wav, None);
        budget.begin(phase).unwrap();
        let masked = Some((*b"abcd", *b"wxyz"));
        let mut source = BudgetedReader { file: file_of(bytes), seekable: true, budget, masked };
        let mut seen = Vec::new();
        loop {
            let mut buffer = vec![0; step];
            let read = source.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..read]);
            if read == 0 {
                return seen;
            }
        }
    }

    #[test]
    fn a_mark_is_masked_wherever_a_read_cuts_it() {
        for step in 1..20 {
            let seen = read(b"abcd1abcabcd23bcdabcd", step, Phase::Headers);
            assert_eq!(seen, b"wxyz1abcwxyz23bcdwxyz", "by {step} bytes");
        }
    }

    #[test]
    fn audio_is_not_masked() {
        assert_eq!(read(b"1abcd2", 4, Phase::Packets), b"1abcd2");
    }
}
