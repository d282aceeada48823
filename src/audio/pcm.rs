//! From decoded planes of any sample type to one clean mono signal.

use symphonia::core::audio::GenericAudioBufferRef;

/// Mixes frames down, with buffers that are used again for each block.
#[derive(Default)]
pub(super) struct Downmix {
    planes: Vec<Vec<f32>>,
}

impl Downmix {
    /// Appends the mean of all channels of `decoded` to `mono`, clipped to [-1, 1].
    pub(super) fn append(&mut self, decoded: &GenericAudioBufferRef<'_>, mono: &mut Vec<f32>) {
        decoded.copy_to_vecs_planar(&mut self.planes);
        append_mean(&self.planes, mono);
    }
}

/// Appends the mean of `planes` (one for each channel, of equal length) to `mono`.
/// What is no number counts as 0: a single NaN would spread through a whole block of the
/// resampler's transform.
fn append_mean(planes: &[Vec<f32>], mono: &mut Vec<f32>) {
    let Some((first, others)) = planes.split_first() else { return };
    let start = mono.len();
    mono.extend(first.iter().copied().map(finite_or_zero));
    let mixed = &mut mono[start..];
    for plane in others {
        for (sum, sample) in mixed.iter_mut().zip(plane) {
            *sum += finite_or_zero(*sample);
        }
    }
    let share = 1.0 / planes.len() as f32;
    for sample in mixed {
        *sample = (*sample * share).clamp(-1.0, 1.0);
    }
}

fn finite_or_zero(sample: f32) -> f32 {
    // Wide enough for any scaling mistake, and eight of them still have a finite sum.
    if sample.abs() < 1e30 { sample } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(planes: &[Vec<f32>]) -> Vec<f32> {
        let mut mono = Vec::new();
        append_mean(planes, &mut mono);
        mono
    }

    #[test]
    fn channels_are_averaged() {
        assert_eq!(mean(&[vec![0.5, -0.5], vec![0.25, 0.5]]), [0.375, 0.0]);
    }

    #[test]
    fn what_is_no_number_becomes_silence() {
        let bad = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.5];
        assert_eq!(mean(&[bad]), [0.0, 0.0, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn overshoot_is_clipped() {
        assert_eq!(mean(&[vec![1.5, -7.0]]), [1.0, -1.0]);
    }
}
