//! Opening a file with the reader of its container.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::time::Instant;

use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::AudioError;
use super::budget::{Budget, Phase};
use super::budgeted_reader::BudgetedReader;
use super::codecs::Container;
use super::headers::{self, Samples};
use super::part::{FilePart, peek};
use super::seams;
use super::sniff::WAVE64;

/// A recording in a file, of a known container.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) container: Container,
    /// What ffmpeg calls its reader of the file.
    pub(super) demuxer: &'static str,
    pub(super) part: FilePart,
    is_first: bool,
    /// Whether the header promises more than there is.
    pub(super) truncated: bool,
    /// What reading it may cost.
    pub(super) budget: Budget,
}

/// Whether a reader may move about in the file.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Seek,
    Forward,
}

impl Source {
    /// The recording that begins at `start` in `file`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(
        file: File,
        container: Container,
        start: u64,
        deadline: Option<Instant>,
    ) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let is_wave64 = peek::<8>(&file, start)? == WAVE64;
        let demuxer = if is_wave64 { "w64" } else { container.demuxer() };
        let (container, part, truncated) = match headers::read(container, &file, start, len)? {
            Some(Samples { container, head, range, next, truncated }) => {
                (container, FilePart::with_head(head, range, next), truncated)
            }
            None => (container, FilePart::new(start, len), false),
        };
        seams::bound(container, &file, &part, len)?;
        let budget = Budget::new(container, deadline);
        Ok(Self { file, container, demuxer, part, truncated, is_first: start == 0, budget })
    }

    /// Whether nothing is before it in its file.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// A reader for the container, which has parsed its headers.
    ///
    /// # Errors
    /// [`AudioError::UnknownFormat`], [`AudioError::UnsupportedCodec`], [`AudioError::Corrupt`],
    /// [`AudioError::TooSlow`] and [`AudioError::Io`].
    pub(super) fn reader(&self, access: Access) -> Result<Box<dyn FormatReader>, AudioError> {
        self.budget.begin(Phase::Headers)?;
        reader(self.container, self.open(access)?)
    }

    fn open(&self, access: Access) -> io::Result<Box<dyn MediaSource>> {
        let (file, part, budget) = (self.file.try_clone()?, self.part.clone(), self.budget.clone());
        let reader = BudgetedReader::new(file, part, self.container, budget);
        Ok(Box::new(match access {
            Access::Seek => reader,
            Access::Forward => reader.forward_only(),
        }))
    }
}

/// A reader for a `container` in `source`, which has parsed its headers.
///
/// # Errors
/// Those of [`Source::reader`].
pub(super) fn reader(
    container: Container,
    source: Box<dyn MediaSource>,
) -> Result<Box<dyn FormatReader>, AudioError> {
    let stream = MediaSourceStream::new(source, Default::default());
    container
        .probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| reader_error(container, error))
}

/// What it means that no reader could be made for `container`.
fn reader_error(container: Container, error: Error) -> AudioError {
    match error {
        Error::IoError(error) if is_disk_error(&error) => AudioError::Io(error),
        // Bare frames carry no mark of their own: without two of them in a row it is just bytes.
        _ if container.forward_only() => AudioError::UnknownFormat { found: "of no known format" },
        Error::Unsupported(what) if what.contains("unsupported") => {
            let codec = format!("unknown ({what})");
            AudioError::UnsupportedCodec { container: container.name(), codec }
        }
        error => AudioError::Corrupt { container: container.name(), cause: error.to_string() },
    }
}

/// Whether reading failed, not parsing: the library reports both as I/O errors. To seek to a
/// position that cannot be is the file's fault, not the disk's.
pub(super) fn is_disk_error(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() != ErrorKind::InvalidInput
}
