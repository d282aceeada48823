//! One file as a stream of samples at 16 kHz: one signal, or one for each channel.

use std::fs::File;
use std::slice;
use std::time::{Duration, Instant};

use super::block::Block;
use super::budget::Pace;
use super::joined::Joined;
use super::resample::Resampler;
use super::{AudioError, AudioInfo, Limits, Losses, SAMPLE_RATE_HZ};
use auris_core::recording::{Selection, TranscribedParts};

/// A file that is being decoded and resampled, some milliseconds at a time.
pub struct AudioStream {
    info: AudioInfo,
    limits: Limits,
    decoder: Joined,
    /// Decoded, but not resampled yet: at first what [`AudioStream::open`] had to decode.
    block: Block,
    /// One for each signal.
    resamplers: Vec<Resampler>,
    decoded_samples: u64,
    pace: Pace,
    ended: bool,
}

impl AudioStream {
    /// Finds out what `file` is by its content and decodes its first samples: its usual track,
    /// with all channels mixed to one.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub fn open(file: File, limits: &Limits) -> Result<Self, AudioError> {
        Self::open_selected(file, limits, &Selection::default())
    }

    /// The same for another track or other channels.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub fn open_selected(
        file: File,
        limits: &Limits,
        selection: &Selection,
    ) -> Result<Self, AudioError> {
        let mut block = Block::default();
        let mut pace = Pace::new(limits.max_decode);
        let started = Instant::now();
        let opened = Joined::open(file, selection, limits, pace.deadline(started), &mut block);
        pace.count(started.elapsed(), Duration::ZERO)?;
        let (decoder, info) = opened?;
        Ok(Self {
            info,
            limits: limits.clone(),
            decoder,
            resamplers: resamplers(&block),
            block,
            decoded_samples: 0,
            pace,
            ended: false,
        })
    }

    /// Which track and channels of the file are decoded.
    pub fn parts(&self) -> TranscribedParts {
        self.decoder.parts()
    }

    /// How many signals there are: one, or one for each channel if they are transcribed separately.
    pub fn signals(&self) -> usize {
        self.resamplers.len()
    }

    /// What the file is.
    pub fn info(&self) -> &AudioInfo {
        &self.info
    }

    /// Appends at least one sample of the only signal, or of the first one; false at the end.
    ///
    /// # Errors
    /// Those of [`AudioStream::read_signals`].
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, AudioError> {
        self.read_signals(slice::from_mut(samples))
    }

    /// Appends at least one sample of each signal, f32 in [-1, 1] at 16 kHz, and as many of each;
    /// false at the end. `signals` has as many as [`AudioStream::signals`].
    ///
    /// # Errors
    /// [`AudioError::TooLong`] beyond the limit; [`AudioError::TooSlow`] if decoding falls behind;
    /// [`AudioError::SampleRate`] and [`AudioError::TooManyChannels`] where chained streams change
    /// to that; [`AudioError::Io`] if the file cannot be read. The stream is of no use afterwards.
    /// Damage is no error here: the stream ends early and [`AudioStream::truncated`] is true.
    pub fn read_signals(&mut self, signals: &mut [Vec<f32>]) -> Result<bool, AudioError> {
        let before = length(signals);
        let started = Instant::now();
        let result = self.read_by(self.pace.deadline(started), signals);
        // First, since a reader takes the deadline for the end of the file.
        self.pace.count(started.elapsed(), duration_of(length(signals) - before))?;
        result?;
        self.decoded_samples += (length(signals) - before) as u64;
        let limit = self.limits.max_duration;
        // Each signal is work of its own.
        let samples = u128::from(self.decoded_samples) * self.signals() as u128;
        if samples > limit.as_nanos() * u128::from(SAMPLE_RATE_HZ) / NANOS {
            return Err(AudioError::TooLong { limit, signals: self.signals() });
        }
        Ok(length(signals) > before)
    }

    /// Appends at least one sample, unless it is the end.
    fn read_by(
        &mut self,
        deadline: Option<Instant>,
        signals: &mut [Vec<f32>],
    ) -> Result<(), AudioError> {
        let before = length(signals);
        while length(signals) == before && !self.ended {
            if self.block.frames() == 0 && !self.decoder.next_block(deadline, &mut self.block)? {
                self.ended = true;
                self.finish(signals);
                break;
            }
            if self.resamplers.iter().any(|own| own.rate_hz() != self.block.rate_hz) {
                self.finish(signals);
                self.resamplers = resamplers(&self.block);
            }
            let resampled = self.resamplers.iter_mut().zip(&self.block.signals).zip(&mut *signals);
            for ((resampler, signal), samples) in resampled {
                resampler.push(signal, samples);
            }
            self.block.clear();
        }
        Ok(())
    }

    fn finish(&mut self, signals: &mut [Vec<f32>]) {
        for (resampler, samples) in self.resamplers.iter_mut().zip(signals) {
            resampler.finish(samples);
        }
    }

    /// Samples of each signal at 16 kHz returned so far.
    pub fn decoded_samples(&self) -> u64 {
        self.decoded_samples
    }

    /// Whether the file broke off; what there was has been decoded. Final once `read` gave false.
    pub fn truncated(&self) -> bool {
        self.losses().truncated
    }

    /// What is missing so far. Final once `read` gave false.
    pub fn losses(&self) -> Losses {
        self.decoder.losses()
    }
}

/// A resampler for each signal of a block.
fn resamplers(block: &Block) -> Vec<Resampler> {
    block.signals.iter().map(|_| Resampler::new(block.rate_hz)).collect()
}

/// How many samples each of `signals` has.
fn length(signals: &[Vec<f32>]) -> usize {
    signals.first().map_or(0, Vec::len)
}

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

fn duration_of(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(SAMPLE_RATE_HZ))
}
