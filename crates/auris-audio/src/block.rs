//! Decoded audio on its way through the crate.

/// Frames at one sample rate.
#[derive(Default)]
pub(super) struct Block {
    /// In Hz; may change between blocks where streams are chained.
    pub(super) rate_hz: u32,
    /// The samples in [-1, 1]: one signal, or one for each channel. All have the same length.
    pub(super) signals: Vec<Vec<f32>>,
}

impl Block {
    /// How many frames there are.
    pub(super) fn frames(&self) -> usize {
        self.signals.first().map_or(0, Vec::len)
    }

    pub(super) fn clear(&mut self) {
        self.signals.iter_mut().for_each(Vec::clear);
    }
}

pub(super) fn finite_or_zero(sample: f32) -> f32 {
    // Wide enough for any scaling mistake, and eight of them still have a finite sum.
    if sample.abs() < 1e30 { sample } else { 0.0 }
}
