//! What can go wrong between a model's name and its file, and what to do about it.

use std::io;
use std::path::PathBuf;

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
         at {}, or start with `--models base-q8_0`",
        path.display()
    )]
    NotInstalled { name: String, url: String, path: PathBuf },

    /// The model that comes with the program is not beside it.
    #[error(
        "the bundled model `{name}` was not found in {folders}: install it again, or put {file_name} \
         into one of them"
    )]
    BundledMissing { name: String, file_name: String, folders: String },

    /// The file is there but cannot be read.
    #[error("cannot read {}: {source}: check its permissions", path.display())]
    Unreadable { path: PathBuf, source: io::Error },

    /// The file is something other than a whisper.cpp model.
    #[error("{} is not a whisper.cpp model: {found}", path.display())]
    NotAModel {
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
        path: PathBuf,
        /// The model that it is named after.
        name: String,
        size_bytes: u64,
        expected_bytes: u64,
    },

    /// The model is not in the folder that may be changed.
    #[error(
        "cannot remove model `{name}`: {} is not in the models folder, but installed with the program",
        path.display()
    )]
    ReadOnly { name: String, path: PathBuf },

    /// There is nothing to remove.
    #[error("cannot remove model `{name}`: it is not in {}", folder.display())]
    NothingToRemove { name: String, folder: PathBuf },

    /// There is no home folder to keep models in.
    #[error("no home folder is known, so there is no default models folder: name one")]
    NoHome,

    /// Downloads are switched off.
    #[error(
        "model `{name}` is not installed and downloads are switched off: put the file {url} at {}, \
         or start with `--models base-q8_0`",
        path.display()
    )]
    Offline { name: String, url: String, path: PathBuf },

    /// The endpoint or the token cannot be used as they are.
    #[error("cannot set up downloads from {endpoint}: {reason}: check HF_ENDPOINT and HF_TOKEN")]
    Setting { endpoint: String, reason: String },

    /// No connection, or it broke; what has arrived is kept.
    #[error(
        "cannot download {url}: {reason}: check the network and try again, which goes on where \
         this ended, or put the file at {}, or start with `--models base-q8_0`",
        path.display()
    )]
    Network { url: String, path: PathBuf, reason: String },

    /// The server refused, or does not have the file.
    #[error("cannot download {url}: the server answered {status}: {}", status_advice(*status))]
    Status { url: String, status: u16 },

    /// The server has a file of another length, or sent a part that does not belong there.
    #[error(
        "cannot download {url}: the server offers {offered}, not the {expected_bytes} bytes of the \
         published file: a mirror or a proxy gets in between"
    )]
    WrongFile { url: String, offered: String, expected_bytes: u64 },

    /// The file arrived whole and is not the published one.
    #[error(
        "{url} arrived with the SHA-256 {found} instead of {expected} and was deleted: try again, \
         and if it happens again, a mirror or a proxy changes the file"
    )]
    Checksum { url: String, found: String, expected: String },

    /// The models folder cannot be changed: read-only, full, or not ours.
    #[error("cannot write {}: {source}: {}", path.display(), write_advice(source))]
    Write { path: PathBuf, source: io::Error },
}

impl ModelError {
    /// Whether the same download may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            // 416: the kept part is longer than the file is now, and has been dropped.
            Self::Status { status, .. } => matches!(status, 408 | 416 | 425 | 429 | 500..),
            _ => false,
        }
    }
}

fn status_advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "set HF_TOKEN to a token that may read it, or use the public endpoint",
        404 => "the file is not there; check HF_ENDPOINT, which must mirror the repository",
        416 => "the kept part of the file did not fit and was dropped; try again",
        429 => "too many requests; try again later, or set HF_TOKEN",
        500.. => "it is in trouble; try again later",
        _ => "check HF_ENDPOINT",
    }
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
