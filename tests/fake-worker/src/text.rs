//! The fake engine's text. The integration tests include this module, too.

/// The text that the fake engine writes for `samples`: a pure function of them.
pub fn text_of(samples: &[f32]) -> String {
    format!(" {} samples {:08x}", samples.len(), checksum(samples))
}

pub(crate) fn checksum(samples: &[f32]) -> u32 {
    samples.iter().fold(0u32, |sum, sample| {
        sum.rotate_left(1).wrapping_add((sample * 32_768.0).round() as i32 as u32)
    })
}
