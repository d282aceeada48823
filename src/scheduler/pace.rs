//! How fast a model is on a device, as measured. Pure.

/// What is assumed of a slot until it has been measured, in seconds of audio a second.
const ASSUMED_CPU_SPEED: f64 = 2.0;
const ASSUMED_GPU_SPEED: f64 = 40.0;

/// The weight of the newest measurement in the running mean of the speed.
const SPEED_WEIGHT: f64 = 0.2;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    assumed: f64,
    measured: Option<f64>,
    chunks: u64,
    audio_seconds: f64,
}

impl Pace {
    pub(super) fn new(is_gpu: bool) -> Self {
        let assumed = if is_gpu { ASSUMED_GPU_SPEED } else { ASSUMED_CPU_SPEED };
        Self { assumed, measured: None, chunks: 0, audio_seconds: 0.0 }
    }

    /// Learns from a finished chunk.
    pub(super) fn learn(&mut self, audio_seconds: f64, inference_seconds: f64) {
        self.chunks += 1;
        self.audio_seconds += audio_seconds;
        let new = audio_seconds / inference_seconds.max(1e-6);
        self.measured = Some(match self.measured {
            Some(old) => old + SPEED_WEIGHT * (new - old),
            None => new,
        });
    }

    /// Seconds of audio that a slot does in a second.
    pub(super) fn speed(&self) -> f64 {
        self.measured.unwrap_or(self.assumed)
    }

    /// The same, if a chunk was finished yet.
    pub(super) fn measured(&self) -> Option<f64> {
        self.measured
    }

    /// Chunks finished.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Seconds of audio in them.
    pub(super) fn audio_seconds(&self) -> f64 {
        self.audio_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_replaces_the_assumption_and_later_ones_move_it() {
        let mut pace = Pace::new(true);
        assert_eq!((pace.speed(), pace.measured()), (ASSUMED_GPU_SPEED, None));
        pace.learn(30.0, 3.0);
        assert_eq!(pace.speed(), 10.0);
        pace.learn(30.0, 1.5);
        assert_eq!(pace.speed(), 12.0);
        assert_eq!((pace.chunks(), pace.audio_seconds()), (2, 60.0));
    }
}
