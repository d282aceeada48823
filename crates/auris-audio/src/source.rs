//! Opening a file with the reader of its container.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};

use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::AudioError;
use super::budget::{Budget, Phase};
use super::budgeted_reader::{BudgetedReader, masked};
use super::codecs::Container;

/// A file of a known container.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) container: Container,
    /// Where the container begins, in bytes.
    pub(super) start: u64,
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
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.start))?;
        let seekable = matches!(access, Access::Seek);
        let (budget, masked) = (self.budget.clone(), masked(self.container));
        Ok(Box::new(BudgetedReader { file, seekable, budget, masked }))
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
