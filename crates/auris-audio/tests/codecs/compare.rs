//! How much two signals at 16 kHz are alike.

use auris_audio::SAMPLE_RATE_HZ;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

/// Above this, or above this part of what the file can hold, resamplers differ by how steeply they
/// filter.
const COMPARED_HZ: f64 = 7_000.0;
const COMPARED_PART: f64 = 0.85;

/// How far apart the same sound is looked for, in samples.
const MOST_SHIFT: usize = SAMPLE_RATE_HZ as usize / 5;

/// One signal against another.
pub(super) struct Comparison {
    /// How much longer it is, in milliseconds.
    pub(super) longer_ms: f64,
    /// The power of the reference over that of the difference below 7 kHz, sample by sample as
    /// they lie: a shift counts as a difference.
    pub(super) snr_db: f64,
    /// How late it is, by the peak of the cross-correlation, in milliseconds.
    pub(super) shift_ms: f64,
}

impl Comparison {
    /// Compares signals that were resampled from `rate_hz`.
    pub(super) fn new(reference: &[f32], signal: &[f32], rate_hz: u32) -> Self {
        let limit_hz = COMPARED_HZ.min(f64::from(rate_hz) / 2.0 * COMPARED_PART);
        let common = reference.len().min(signal.len());
        let difference: Vec<f32> = reference.iter().zip(signal).map(|(a, b)| a - b).collect();
        let noise = power_below(&difference, limit_hz).max(1e-12);
        let longer = signal.len() as f64 - reference.len() as f64;
        Self {
            longer_ms: longer * ms_per_sample(),
            snr_db: 10.0 * (power_below(&reference[..common], limit_hz) / noise).log10(),
            shift_ms: shift(reference, signal) as f64 * ms_per_sample(),
        }
    }
}

fn ms_per_sample() -> f64 {
    1_000.0 / f64::from(SAMPLE_RATE_HZ)
}

/// The energy of all frequencies below `limit_hz`.
fn power_below(signal: &[f32], limit_hz: f64) -> f64 {
    let spectrum = spectrum(signal, signal.len());
    let last = (limit_hz / f64::from(SAMPLE_RATE_HZ) * signal.len() as f64) as usize;
    spectrum.iter().take(last).map(Complex::norm_sqr).sum()
}

/// By how many samples `signal` is later than `reference`.
fn shift(reference: &[f32], signal: &[f32]) -> i64 {
    let length = (reference.len().max(signal.len()) + MOST_SHIFT).next_power_of_two();
    let (a, b) = (spectrum(reference, length), spectrum(signal, length));
    let mut product: Vec<Complex<f64>> = a.iter().zip(&b).map(|(a, b)| a.conj() * b).collect();
    // They are real by symmetry, but for rounding.
    product[0].im = 0.0;
    product[length / 2].im = 0.0;
    let inverse = RealFftPlanner::new().plan_fft_inverse(length);
    let mut correlation = inverse.make_output_vec();
    inverse.process(&mut product, &mut correlation).expect("the buffers have the planned sizes");
    let most = MOST_SHIFT as i64;
    let at = |shift: i64| correlation[shift.rem_euclid(length as i64) as usize];
    (-most..=most).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap_or(0)
}

/// The spectrum of `signal`, padded with zeros to `length`.
fn spectrum(signal: &[f32], length: usize) -> Vec<Complex<f64>> {
    let forward = RealFftPlanner::new().plan_fft_forward(length);
    let mut padded = forward.make_input_vec();
    for (sample, value) in padded.iter_mut().zip(signal) {
        *sample = f64::from(*value);
    }
    let mut spectrum = forward.make_output_vec();
    forward.process(&mut padded, &mut spectrum).expect("the buffers have the planned sizes");
    spectrum
}
