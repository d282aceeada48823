//! Turns raw samples into a WAV file.
//!
//! whisper-asr-webservice takes a file with `encode=false` for mono samples of 16 bits at 16 kHz,
//! little-endian; that is how programs send it what they have decoded themselves.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::task;

use crate::http::error::ApiError;
use crate::http::state::UploadSettings;
use crate::http::upload::spool_failed;
use auris_audio::SAMPLE_RATE_HZ;

/// `file` with a WAV header before it, unless it has one or is empty.
pub(super) async fn as_wav(file: File, settings: &Arc<UploadSettings>) -> Result<File, ApiError> {
    let settings = Arc::clone(settings);
    match task::spawn_blocking(move || with_header(file, &settings.spool)).await {
        Ok(wav) => wav.map_err(|error| spool_failed(&error)),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

fn with_header(mut file: File, spool: &Path) -> io::Result<File> {
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(12).read_to_end(&mut start)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    if start.is_empty() || start.get(8..12) == Some(b"WAVE") {
        return Ok(file);
    }
    let mut wav = tempfile::tempfile_in(spool)?;
    wav.write_all(&header(bytes))?;
    io::copy(&mut file, &mut wav)?;
    wav.rewind()?;
    Ok(wav)
}

/// The header of a WAV file (RIFF, Microsoft's Multimedia Programming Interface 1.0) with `bytes`
/// of mono 16-bit PCM.
fn header(bytes: u64) -> Vec<u8> {
    let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let bytes_per_second = (SAMPLE_RATE_HZ * 2).to_le_bytes();
    [
        b"RIFF".as_slice(),
        &size(bytes.saturating_add(36)),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &[1, 0, 1, 0], // PCM, one channel
        &SAMPLE_RATE_HZ.to_le_bytes(),
        &bytes_per_second,
        &[2, 0, 16, 0], // two bytes to a sample, 16 bits
        b"data",
        &size(bytes),
    ]
    .concat()
}
