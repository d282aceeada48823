//! Pauses that end a chunk at once, for callers who want short chunks.
//!
//! What is loud counts as speech: music does, and a whisper beside a shout does not.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::segment::{SILENCE, STEP, mean_square, samples_in};

/// Which pause ends a chunk, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pauses {
    /// The shortest pause that does.
    pub shortest: Duration,
    /// How loud speech is, from 0 to 1: from 40 dB below the loudest sound in the 30 s that
    /// follow, up to that. Higher finds more pauses, and cuts into soft speech.
    pub threshold: f32,
    /// How much of the pause stays with the speech that follows it, at most all of it.
    pub padding: Duration,
}

impl Default for Pauses {
    /// OpenAI's values of `server_vad`.
    fn default() -> Self {
        Self {
            shortest: Duration::from_millis(200),
            threshold: 0.5,
            padding: Duration::from_millis(300),
        }
    }
}

/// How far below the loudest sound the lowest threshold is, in decibels.
const RANGE_DB: f64 = 40.0;

/// The loudest sound is what a twentieth of the time is louder than, so that a click is none.
const LOUD_PERCENTILE: usize = 95;

/// The first sample in `range` at which a pause with sound before it and behind it ends a chunk.
///
/// A pause that goes on beyond `range` is cut at the end of it.
pub(super) fn first_cut(
    samples: &[f32],
    range: RangeInclusive<usize>,
    pauses: Pauses,
) -> Option<usize> {
    let (earliest, latest) = range.into_inner();
    let energy: Vec<f64> = samples.chunks_exact(STEP).map(mean_square).collect();
    let threshold = speech_threshold(&energy, pauses.threshold)?;
    let (shortest, padding) = (samples_in(pauses.shortest), samples_in(pauses.padding));

    let mut last_sound = None;
    for (step, energy) in energy.into_iter().enumerate() {
        if energy < threshold {
            continue;
        }
        // The chunk starts with silence if there was no sound yet; that is no pause.
        let (start, end) = (last_sound.map(|last| (last + 1) * STEP), step * STEP);
        last_sound = Some(step);
        let Some(start) = start.filter(|start| end - start >= shortest) else { continue };
        let cut = end.saturating_sub(padding).max(start).min(latest);
        if start <= latest && cut >= earliest {
            return Some(cut);
        }
    }
    None
}

/// The mean square from which a step is speech; `None` for silence.
fn speech_threshold(energy: &[f64], threshold: f32) -> Option<f64> {
    let mut sorted = energy.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let loud = *sorted.get(sorted.len() * LOUD_PERCENTILE / 100)?;
    let below_db = RANGE_DB * (1.0 - f64::from(threshold));
    (loud > SILENCE).then(|| (loud * 10_f64.powf(-below_db / 10.0)).max(SILENCE))
}
