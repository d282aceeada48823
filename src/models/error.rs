//! What can go wrong between a model's name and its file, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no usable model file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The text is neither a known name, nor the name of a file in the models folders.
    #[error(
        "unknown model `{0}`: see `auris models list`, or give the path of a whisper.cpp .bin file"
    )]
    Unknown(String),

    /// A path was given and nothing is there.
    #[error("there is no model file at {}", .0.display())]
    NoSuchFile(PathBuf),

    /// A known model that is in none of the folders.
    #[error(
        "model `{name}` is not installed: run `auris models pull {name}`, or put the file {url} \
         at {}, or start with `--models demo`",
        path.display()
    )]
    NotInstalled {
        /// The model.
        name: String,
        /// Where its file is published.
        url: String,
        /// Where the file belongs.
        path: PathBuf,
    },

    /// The model that comes with the program is not beside it.
    #[error(
        "the bundled model `{name}` was not found in {folders}: install it again, or put {file_name} \
         into one of them"
    )]
    BundledMissing {
        /// The model.
        name: String,
        /// Its file.
        file_name: String,
        /// The folders that were searched.
        folders: String,
    },

    /// The file is there but cannot be read.
    #[error("cannot read {}: {source}: check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The file is something other than a whisper.cpp model.
    #[error("{} is not a whisper.cpp model: {found}", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What it looks like instead, and what to do.
        found: String,
    },

    /// The file does not have the length of the model whose name it carries.
    #[error(
        "{} has {size_bytes} bytes where model `{name}` has {expected_bytes}: delete it and \
         run `auris models pull {name}`, or rename it if it is another model",
        path.display()
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// The model that it is named after.
        name: String,
        /// Its length in bytes.
        size_bytes: u64,
        /// The published length in bytes.
        expected_bytes: u64,
    },

    /// The model is not in the folder that may be changed.
    #[error(
        "cannot remove model `{name}`: {} is not in the models folder, but installed with the program",
        path.display()
    )]
    ReadOnly {
        /// The model.
        name: String,
        /// Its file.
        path: PathBuf,
    },

    /// There is nothing to remove.
    #[error("cannot remove model `{name}`: it is not in {}", folder.display())]
    NothingToRemove {
        /// The model.
        name: String,
        /// The models folder.
        folder: PathBuf,
    },

    /// There is no home folder to keep models in.
    #[error("no home folder is known, so there is no default models folder: name one")]
    NoHome,

    /// The models folder cannot be changed: read-only, full, or not ours.
    #[error("cannot write {}: {source}: {}", path.display(), write_advice(source))]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn write_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space; what has arrived is kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a models folder that this user may write"
        }
        _ => "check the models folder",
    }
}
