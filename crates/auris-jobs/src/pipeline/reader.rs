//! Decoding on the blocking pool, a chunk at a time.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use super::{Decoders, Pipeline, PipelineError};
use auris_audio::{AudioError, AudioStream, Chunk, ChunkPolicy, Chunks, Piece, SAMPLE_RATE_HZ};
use auris_core::recording::{DecodedAudio, Losses, Selection, TranscribedParts};
use auris_core::shortage::Shortage;

/// The bit rate assumed for compressed audio without a declared length: 128 kbit/s.
const GUESSED_BYTES_PER_SECOND: f64 = 16_000.0;

/// How long a file waits for ffmpeg, which has only so many at once.
const BUSY: Duration = Duration::from_secs(15);

/// After how long it asks again: at first, and at most. Each time reads the beginning of the file, and
/// of some formats all of it.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
const MAX_BUSY_PAUSE: Duration = Duration::from_secs(2);

type DecodedPiece = (Chunks, Result<Option<Piece>, AudioError>);

/// A file being decoded.
pub(super) struct Reader {
    /// Decodes the next piece. It survives a caller that stops waiting. `None` at the end.
    decoding: Option<BoxFuture<'static, Result<DecodedPiece, PipelineError>>>,
    decoders: Decoders,
    parts: TranscribedParts,
    guessed_seconds: f64,
    decoded_samples: u64,
    silent_samples: u64,
    start_offset: f64,
    losses: Losses,
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
        let open = || {
            let (file, limits, selection) =
                (file.try_clone(), Arc::clone(&limits), selection.clone());
            decoders.run(move || {
                let file = file?;
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                let stream = AudioStream::open_selected(file, &limits, &selection)?;
                Ok::<_, AudioError>((Chunks::new(stream, policy), bytes))
            })
        };
        // Without a decoding thread, which files that need no ffmpeg can use.
        let waiting = Instant::now();
        let mut pause = BUSY_PAUSE;
        let (chunks, bytes) = loop {
            match open().await? {
                Err(AudioError::Io(error))
                    if error.kind() == ErrorKind::ResourceBusy && waiting.elapsed() < BUSY =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(MAX_BUSY_PAUSE);
                }
                opened => break opened?,
            }
        };
        let declared = chunks.info().declared_duration.map(|declared| declared.as_secs_f64());
        let guessed = declared.unwrap_or(bytes as f64 / GUESSED_BYTES_PER_SECOND);
        Ok(Self {
            parts: chunks.parts(),
            guessed_seconds: guessed.min(most_seconds),
            decoding: Some(decode(chunks, decoders.clone())),
            decoders,
            decoded_samples: 0,
            silent_samples: 0,
            start_offset: 0.0,
            losses: Losses::default(),
        })
    }

    /// The next chunk; `None` at the end. A file without a single sample is an error. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, PipelineError> {
        while let Some(decoding) = &mut self.decoding {
            let decoded = decoding.await;
            self.decoding = None;
            let (chunks, piece) = decoded?;
            self.decoded_samples = chunks.decoded_samples();
            self.silent_samples = chunks.silent_samples();
            self.start_offset = chunks.info().start_offset.as_secs_f64();
            self.losses = chunks.losses();
            match piece? {
                None if self.decoded_samples == 0 => {
                    let container = chunks.info().container;
                    return Err(AudioError::NoSamples { container }.into());
                }
                None => {}
                Some(piece) => {
                    self.decoding = Some(decode(chunks, self.decoders.clone()));
                    if let Piece::Chunk(chunk) = piece {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
        Ok(None)
    }

    pub(super) fn ended(&self) -> bool {
        self.decoding.is_none()
    }

    /// The length of the audio decoded so far, in seconds.
    pub(super) fn decoded_seconds(&self) -> f64 {
        self.decoded_samples as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// Which track and channels of the file are decoded.
    pub(super) fn parts(&self) -> &TranscribedParts {
        &self.parts
    }

    /// How many signals there are to transcribe: one, or one for each channel.
    pub(super) fn signals(&self) -> f64 {
        self.parts.signals() as f64
    }

    /// The length of the silence left out so far, in seconds over all signals.
    pub(super) fn silent_seconds(&self) -> f64 {
        self.silent_samples as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// The length of the whole file in seconds: an estimate until the end is reached.
    pub(super) fn estimated_seconds(&self) -> f64 {
        let decoded = self.decoded_seconds();
        if self.ended() { decoded } else { decoded.max(self.guessed_seconds) }
    }

    /// What was found out about the whole file. Final at the end.
    pub(super) fn decoded(&self) -> DecodedAudio {
        let (start_offset, losses) = (self.start_offset, self.losses);
        DecodedAudio { duration: self.decoded_seconds(), start_offset, losses }
    }
}

/// Decodes a chunk, or part of a long silence, so that other files get their turn in between. In a
/// task of its own: a caller that does something else holds no decoder.
fn decode(
    mut chunks: Chunks,
    decoders: Decoders,
) -> BoxFuture<'static, Result<DecodedPiece, PipelineError>> {
    let decode = move || {
        let piece = chunks.next_piece();
        (chunks, piece)
    };
    Box::pin(async move {
        let task = tokio::spawn(async move { decoders.run(decode).await });
        // It only ends early with the runtime.
        AbortOnDropHandle::new(task).await.unwrap_or(Err(Shortage::Processes.into()))
    })
}
