//! Decoding on the blocking pool, a chunk at a time.

use std::fs::File;
use std::sync::Arc;

use super::{Decoders, Pipeline, PipelineError};
use crate::audio::{AudioError, AudioStream, Chunk, ChunkPolicy, Chunks, SAMPLE_RATE_HZ};

/// What an hour of compressed audio without a declared length is guessed to weigh: 128 kbit/s.
const GUESSED_BYTES_PER_SECOND: f64 = 16_000.0;

/// A file being decoded.
pub(super) struct Reader {
    /// Away on the blocking pool while a chunk is made.
    chunks: Option<Chunks>,
    decoders: Decoders,
    guessed_seconds: f64,
    chunks_read: usize,
    ended: bool,
}

impl Reader {
    /// Finds out what the file is.
    pub(super) async fn open(
        file: File,
        policy: ChunkPolicy,
        pipeline: &Pipeline,
    ) -> Result<Self, PipelineError> {
        let limits = Arc::clone(&pipeline.limits);
        let decoders = pipeline.decoders.clone();
        let most_seconds = limits.max_duration.as_secs_f64();
        let open = move || {
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            let stream = AudioStream::open(file, &limits)?;
            Ok::<_, PipelineError>((Chunks::new(stream, policy), bytes))
        };
        let (chunks, bytes) = decoders.run(open).await??;
        let declared = chunks.info().declared_duration.map(|declared| declared.as_secs_f64());
        let guessed_seconds =
            declared.unwrap_or(bytes as f64 / GUESSED_BYTES_PER_SECOND).min(most_seconds);
        Ok(Self { chunks: Some(chunks), decoders, guessed_seconds, chunks_read: 0, ended: false })
    }

    /// The next chunk; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, PipelineError> {
        let Some(mut chunks) = self.chunks.take().filter(|_| !self.ended) else {
            return Ok(None);
        };
        let decode = move || {
            let chunk = chunks.next_chunk();
            (chunks, chunk)
        };
        let (chunks, chunk) = self.decoders.run(decode).await?;
        self.chunks = Some(chunks);
        let chunk = chunk?;
        self.ended = chunk.is_none();
        self.chunks_read += usize::from(chunk.is_some());
        Ok(chunk)
    }

    /// How many chunks have been returned.
    pub(super) fn chunks_read(&self) -> usize {
        self.chunks_read
    }

    /// The length of the audio decoded so far, in seconds.
    pub(super) fn decoded_seconds(&self) -> f64 {
        let samples = self.chunks.as_ref().map_or(0, Chunks::decoded_samples);
        samples as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// The length of all of it: a guess until the end is reached.
    pub(super) fn estimated_seconds(&self) -> f64 {
        let decoded = self.decoded_seconds();
        if self.ended { decoded } else { decoded.max(self.guessed_seconds) }
    }

    /// The error for a file that ended before its first sample.
    pub(super) fn no_samples(&self) -> AudioError {
        let container = self.chunks.as_ref().map_or("audio", |chunks| chunks.info().container);
        AudioError::NoSamples { container }
    }

    /// Whether the file ended before it should.
    pub(super) fn truncated(&self) -> bool {
        self.chunks.as_ref().is_some_and(Chunks::truncated)
    }
}
