//! A file as the readers of containers see it: within a budget, up to the end of its recording, and
//! without tags of some kinds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::budget::{Budget, Phase};
use super::codecs::Container;
use super::part::{FilePart, fill_at};
use super::seams::Seams;

/// The name of a box or chunk, four characters.
type Mark = [u8; 4];

/// A part of a file that is read within a budget.
pub(super) struct BudgetedReader {
    file: File,
    part: FilePart,
    position: u64,
    seekable: bool,
    budget: Budget,
    /// A mark that is not to be seen, and what is seen instead.
    masked: Option<(Mark, Mark)>,
    seams: Seams,
}

/// The tags that a reader must not see.
fn masked(container: Container) -> Option<(Mark, Mark)> {
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
    /// Reads the part of `file` that is a `container`.
    pub(super) fn new(file: File, part: FilePart, container: Container, budget: Budget) -> Self {
        let (masked, seams) = (masked(container), Seams::new(container, &part));
        Self { file, part, position: 0, seekable: true, budget, masked, seams }
    }

    /// The same for readers that must not move about.
    pub(super) fn forward_only(self) -> Self {
        Self { seekable: false, ..self }
    }

    /// Masks `bytes`, which were read at `position`. A mark may begin before them or end behind.
    fn mask(&self, (mark, mask): (Mark, Mark), bytes: &mut [u8], position: u64) -> io::Result<()> {
        let before = position.min(3) as usize;
        let mut window = vec![0; before + bytes.len() + 3];
        let read_at = |buffer: &mut [u8], at| self.part.read_at(&self.file, buffer, at);
        let known = fill_at(read_at, &mut window, position - before as u64)?;
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

    /// How much of `bytes`, which were read at the position, is before another recording.
    fn up_to_seam(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(at) = self.part.in_file(self.position) else { return Ok(bytes.len()) };
        let Some(seam) = self.seams.find(&self.file, bytes, at)? else { return Ok(bytes.len()) };
        self.part.end_at(seam);
        Ok(usize::try_from(seam.saturating_sub(at)).map_or(bytes.len(), |own| own.min(bytes.len())))
    }
}

impl Read for BudgetedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.budget.pay(buffer.len()).map_err(io::Error::other)?;
        let read = self.part.read_at(&self.file, buffer, self.position)?;
        let read = self.up_to_seam(&buffer[..read])?;
        if let Some(masked) = self.masked.filter(|_| self.budget.phase() == Phase::Headers) {
            self.mask(masked, &mut buffer[..read], self.position)?;
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for BudgetedReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        if !self.seekable {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let position = match position {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.part.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl MediaSource for BudgetedReader {
    fn is_seekable(&self) -> bool {
        self.seekable
    }

    fn byte_len(&self) -> Option<u64> {
        self.seekable.then(|| self.part.len())
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
        let part = FilePart::new(0, bytes.len() as u64);
        let mut source = BudgetedReader {
            file: file_of(bytes),
            position: 0,
            seekable: true,
            budget,
            masked: Some((*b"abcd", *b"wxyz")),
            seams: Seams::new(Container::Wav, &part),
            part,
        };
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
