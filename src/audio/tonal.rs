//! Held tones: what hums, rings, whistles and simple music have, and speech has not.
//!
//! The spectrum of speech changes all the time, even within a vowel, since its pitch glides. A tone
//! keeps its place in the spectrum while it is held. So two short spectra 96 ms apart are compared:
//! the part of the energy that is in the same place in both. Measured in windows of 2 s, the
//! highest fifth of the frames has a part above 0.58 in one of a hundred windows of speech (clean
//! and beside noise of 5 dB less), and one above 0.87 in tones, chords and most melodies. Noise has
//! 0.5.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// The length of a spectrum's window: 64 ms. In a shorter one a low voice's harmonics run together.
const WINDOW: usize = 1_024;

/// A spectrum is taken every 32 ms.
pub(super) const HOP: usize = 512;

/// So many spectra apart, windows do not overlap.
const LAG: usize = 3;

/// The bins from 80 Hz, above the hum of mains, to 4 kHz.
const BINS: std::ops::Range<usize> = 5..256;

/// From this part on, a tone is held.
const HELD: f32 = 0.85;

/// Compares spectra of the stream that is pushed into it.
pub(super) struct Tones {
    fft: Arc<dyn RealToComplex<f32>>,
    shape: Vec<f32>,
    windowed: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    /// The samples from `start` on.
    samples: Vec<f32>,
    start: u64,
    /// The last spectra by their number, each with its energy shared out among the bins.
    recent: Vec<(u64, Vec<f32>)>,
}

impl Tones {
    pub(super) fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let turn = std::f32::consts::TAU / WINDOW as f32;
        Self {
            shape: (0..WINDOW).map(|n| 0.5 - 0.5 * (n as f32 * turn).cos()).collect(),
            windowed: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            fft,
            samples: Vec::new(),
            start: 0,
            recent: Vec::new(),
        }
    }

    /// Hears mono samples.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
    }

    /// Whether a tone is held around the sample `position`; none at the ends of the stream. Asked
    /// in order: what is earlier is forgotten.
    pub(super) fn is_held(&mut self, position: u64) -> Option<bool> {
        // The middle of the two windows is half a window behind the one's start and half the lag
        // before it.
        let later =
            (position + (LAG * HOP / 2) as u64).checked_sub(WINDOW as u64 / 2)? / HOP as u64;
        let earlier = later.checked_sub(LAG as u64)?;
        self.forget(earlier * HOP as u64);
        let one = self.spectrum(earlier)?;
        let other = self.spectrum(later)?;
        let [one, other] = [one, other].map(|place| &self.recent[place].1);
        let common: f32 = one.iter().zip(other).map(|(one, other)| one.min(*other)).sum();
        Some(common > HELD)
    }

    /// The place of a spectrum among the recent ones.
    fn spectrum(&mut self, number: u64) -> Option<usize> {
        if let Some(place) = self.recent.iter().position(|recent| recent.0 == number) {
            return Some(place);
        }
        let from = usize::try_from((number * HOP as u64).checked_sub(self.start)?).ok()?;
        let window = self.samples.get(from..from + WINDOW)?;
        let shaped = window.iter().zip(&self.shape).map(|(sample, shape)| sample * shape);
        self.windowed.iter_mut().zip(shaped).for_each(|(place, sample)| *place = sample);
        // It fails for buffers of another length, and these are its own.
        self.fft.process(&mut self.windowed, &mut self.spectrum).ok()?;
        let mut energy: Vec<f32> = self.spectrum[BINS].iter().map(Complex::norm_sqr).collect();
        let total = energy.iter().sum::<f32>() + f32::MIN_POSITIVE;
        energy.iter_mut().for_each(|energy| *energy /= total);
        self.recent.push((number, energy));
        Some(self.recent.len() - 1)
    }

    /// What is before the sample `position` is of no interest any more.
    pub(super) fn forget(&mut self, position: u64) {
        self.recent.retain(|(number, _)| *number >= position / HOP as u64);
        let past = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        // In one move for many, since the rest is copied.
        if past >= 16 * HOP {
            let past = past.min(self.samples.len());
            self.samples.drain(..past);
            self.start += past as u64;
        }
    }
}
