//! Decoding on the blocking pool, a chunk at a time.

use std::fs::File;
use std::sync::Arc;

use super::{Decoders, Pipeline, PipelineError};
use auris_audio::{AudioError, AudioStream, Chunk, ChunkPolicy, Chunks, Piece, SAMPLE_RATE_HZ};
use auris_core::recording::{Selection, TranscribedParts};

/// The bit rate assumed for compressed audio without a declared length: 128 kbit/s.
const GUESSED_BYTES_PER_SECOND: f64 = 16_000.0;

/// A file being decoded.
pub(super) struct Reader {
    /// `None` while the blocking pool decodes a chunk.
    chunks: Option<Chunks>,
    heard: TranscribedParts,
    decoders: Decoders,
    guessed_seconds: f64,
    ended: bool,
}

impl Reader {
    /// Detects the file's format and opens it.
    pub(super) async fn open(
        file: File,
        policy: ChunkPolicy,
        selection: Selection,
        pipeline: &Pipeline,
    ) -> Result<Self, PipelineError> {
        let limits = Arc::clone(&pipeline.limits);
        let decoders = pipeline.decoders.clone();
        let most_seconds = limits.max_duration.as_secs_f64();
        let open = move || {
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            let stream = AudioStream::open_selected(file, &limits, &selection)?;
            Ok::<_, PipelineError>((Chunks::new(stream, policy), bytes))
        };
        let (chunks, bytes) = decoders.run(open).await??;
        let declared = chunks.info().declared_duration.map(|declared| declared.as_secs_f64());
        let guessed_seconds =
            declared.unwrap_or(bytes as f64 / GUESSED_BYTES_PER_SECOND).min(most_seconds);
        let heard = chunks.heard();
        Ok(Self { chunks: Some(chunks), heard, decoders, guessed_seconds, ended: false })
    }

    /// The next chunk; `None` at the end. A file without a single sample is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, PipelineError> {
        while !self.ended
            && let Some(mut chunks) = self.chunks.take()
        {
            // Long silence is decoded piece by piece, so that other files get their turn.
            let decode = move || {
                let piece = chunks.next_piece();
                (chunks, piece)
            };
            let (chunks, piece) = self.decoders.run(decode).await?;
            let chunks = self.chunks.insert(chunks);
            match piece? {
                Some(Piece::Chunk(chunk)) => return Ok(Some(chunk)),
                Some(Piece::Silence) => {}
                None if chunks.decoded_samples() == 0 => {
                    let container = chunks.info().container;
                    return Err(AudioError::NoSamples { container }.into());
                }
                None => self.ended = true,
            }
        }
        Ok(None)
    }

    /// The length of the audio decoded so far, in seconds.
    pub(super) fn decoded_seconds(&self) -> f64 {
        let samples = self.chunks.as_ref().map_or(0, Chunks::decoded_samples);
        samples as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// Which track and channels of the file are decoded.
    pub(super) fn heard(&self) -> &TranscribedParts {
        &self.heard
    }

    /// How many signals there are to transcribe: one, or one for each channel.
    pub(super) fn signals(&self) -> f64 {
        self.heard.signals() as f64
    }

    /// The length of the silence left out so far, in seconds over all signals.
    pub(super) fn silent_seconds(&self) -> f64 {
        let samples = self.chunks.as_ref().map_or(0, Chunks::silent_samples);
        samples as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// The length of the whole file in seconds: an estimate until the end is reached.
    pub(super) fn estimated_seconds(&self) -> f64 {
        let decoded = self.decoded_seconds();
        if self.ended { decoded } else { decoded.max(self.guessed_seconds) }
    }

    /// Whether the file ended early.
    pub(super) fn truncated(&self) -> bool {
        self.chunks.as_ref().is_some_and(Chunks::truncated)
    }
}
