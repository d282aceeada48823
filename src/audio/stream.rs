//! One file as a stream of mono samples at 16 kHz.

use std::fs::File;
use std::time::{Duration, Instant};

use super::budget::Pace;
use super::decode::{Block, Decoder};
use super::resample::Resampler;
use super::{AudioError, AudioInfo, Limits, SAMPLE_RATE_HZ};

/// A file that is being decoded and resampled, some milliseconds at a time.
pub struct AudioStream {
    info: AudioInfo,
    limits: Limits,
    decoder: Decoder,
    /// Decoded, but not resampled yet: at first what [`AudioStream::open`] had to decode.
    block: Block,
    resampler: Resampler,
    decoded_samples: u64,
    pace: Pace,
    ended: bool,
}

impl AudioStream {
    /// Finds out what `file` is by its content and decodes its first samples.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub fn open(file: File, limits: &Limits) -> Result<Self, AudioError> {
        let mut block = Block::default();
        let mut pace = Pace::new(limits.max_decode);
        let started = Instant::now();
        let opened = Decoder::open(file, limits, pace.deadline(started), &mut block);
        pace.count(started.elapsed(), Duration::ZERO)?;
        let (decoder, info) = opened?;
        Ok(Self {
            info,
            limits: limits.clone(),
            decoder,
            resampler: Resampler::new(block.rate_hz),
            block,
            decoded_samples: 0,
            pace,
            ended: false,
        })
    }

    /// What the file is.
    pub fn info(&self) -> &AudioInfo {
        &self.info
    }

    /// Appends at least one sample, mono f32 in [-1, 1] at 16 kHz; false at the end.
    ///
    /// # Errors
    /// [`AudioError::TooLong`] beyond the limit; [`AudioError::TooSlow`] if decoding falls behind;
    /// [`AudioError::SampleRate`] and [`AudioError::TooManyChannels`] where chained streams change
    /// to that; [`AudioError::Io`] if the file cannot be read. The stream is of no use afterwards.
    /// Damage is no error here: the stream ends early and [`AudioStream::truncated`] tells.
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, AudioError> {
        let before = samples.len();
        let started = Instant::now();
        let result = self.read_by(self.pace.deadline(started), samples);
        // First, since a reader takes the deadline for the end of the file.
        self.pace.count(started.elapsed(), duration_of(samples.len() - before))?;
        result?;
        self.decoded_samples += (samples.len() - before) as u64;
        let limit = self.limits.max_duration;
        if u128::from(self.decoded_samples) > limit.as_nanos() * u128::from(SAMPLE_RATE_HZ) / NANOS
        {
            return Err(AudioError::TooLong { limit });
        }
        Ok(samples.len() > before)
    }

    /// Appends at least one sample, unless it is the end.
    fn read_by(
        &mut self,
        deadline: Option<Instant>,
        samples: &mut Vec<f32>,
    ) -> Result<(), AudioError> {
        let before = samples.len();
        while samples.len() == before && !self.ended {
            if self.block.mono.is_empty() && !self.decoder.next_block(deadline, &mut self.block)? {
                self.ended = true;
                self.resampler.finish(samples);
                break;
            }
            if self.block.rate_hz != self.resampler.rate_hz() {
                self.resampler.finish(samples);
                self.resampler = Resampler::new(self.block.rate_hz);
            }
            self.resampler.push(&self.block.mono, samples);
            self.block.mono.clear();
        }
        Ok(())
    }

    /// Samples at 16 kHz returned so far.
    pub fn decoded_samples(&self) -> u64 {
        self.decoded_samples
    }

    /// Whether the file broke off; what there was has been decoded. Final once `read` gave false.
    pub fn truncated(&self) -> bool {
        self.decoder.truncated()
    }
}

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

fn duration_of(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(SAMPLE_RATE_HZ))
}
