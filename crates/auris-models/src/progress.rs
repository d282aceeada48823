//! How far a download is, and a progress bar for a person at a terminal.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadProgress {
    /// Waits for another process or task that downloads the same file.
    Waiting,
    /// Bytes on their way to the disk, those of earlier attempts included.
    Receiving { received_bytes: u64, total_bytes: u64 },
    /// Everything has arrived and is compared with the checksum.
    Verifying,
    /// The file is in its place.
    Done,
}

/// A bar on standard error for the download of the model `name`, as a callback for
/// [`pull`](super::pull). It draws nothing where standard error is no terminal, and is gone when
/// the callback is dropped.
pub fn progress_bar(name: &str) -> impl Fn(DownloadProgress) + Send + Sync + use<> {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_finish(ProgressFinish::AndClear)
        .with_message(name.to_owned());
    let name = name.to_owned();
    move |progress| match progress {
        DownloadProgress::Waiting => {
            bar.set_message(format!("{name}: another download of it is running"));
        }
        DownloadProgress::Receiving { received_bytes, total_bytes } => {
            bar.set_message(name.clone());
            bar.set_length(total_bytes);
            bar.set_position(received_bytes);
        }
        DownloadProgress::Verifying => bar.set_message(format!("{name}: verifying")),
        DownloadProgress::Done => bar.finish_and_clear(),
    }
}
