//! Estimates how fast a model runs on a device, from measurements. Pure.

use std::time::{Duration, Instant};

/// The assumed speed of a CPU slot until it is measured, in seconds of audio per second.
const ASSUMED_CPU_SPEED: f64 = 2.0;
const ASSUMED_GPU_SPEED: f64 = 40.0;

/// A GPU that has not been measured is assumed to be very fast, so that it is tried.
const FASTEST_GPU_SPEED: f64 = 400.0;

/// A chunk costs as much as its own length plus this many seconds: the encoder takes the same time
/// for a short chunk as for one of 30 s.
const FIXED_SECONDS: f64 = 10.0;

/// The length of a typical chunk.
const CHUNK_SECONDS: f64 = 30.0;

/// The weight of the newest measurement in the running mean.
const WEIGHT: f64 = 0.2;

/// After this time, a slow GPU may be fast again: another program may have been using it.
const STALE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct SpeedEstimate {
    is_gpu: bool,
    /// Seconds of audio per second, with the fixed cost and without it.
    rate: Option<(f64, Instant)>,
    speed: Option<f64>,
    /// Finished chunks, and the seconds of audio in them.
    pub(super) chunks: u64,
    pub(super) audio_seconds: f64,
}

impl SpeedEstimate {
    pub(super) fn new(is_gpu: bool) -> Self {
        Self { is_gpu, rate: None, speed: None, chunks: 0, audio_seconds: 0.0 }
    }

    /// Learns from a worker's warm-up, which encodes a window. Only on the CPU, where nothing else
    /// makes the first one slow.
    pub(super) fn learn_warm_up(&mut self, seconds: f64, now: Instant) {
        if !self.is_gpu && self.rate.is_none() && seconds > 0.0 {
            self.rate = Some((FIXED_SECONDS / seconds, now));
        }
    }

    /// Learns from a finished chunk.
    pub(super) fn learn(&mut self, audio_seconds: f64, inference_seconds: f64, now: Instant) {
        self.chunks += 1;
        self.audio_seconds += audio_seconds;
        let mean = |old: Option<f64>, new: f64| old.map_or(new, |old| old + WEIGHT * (new - old));
        let took = inference_seconds.max(1e-6);
        let rate = mean(self.rate.map(|(rate, _)| rate), (FIXED_SECONDS + audio_seconds) / took);
        self.rate = Some((rate, now));
        self.speed = Some(mean(self.speed, audio_seconds / took));
    }

    /// Estimated seconds for a chunk.
    pub(super) fn seconds(&self, audio_seconds: f64, now: Instant) -> f64 {
        let assumed = if self.is_gpu { FASTEST_GPU_SPEED } else { ASSUMED_CPU_SPEED };
        let rate = match self.rate {
            Some((rate, at)) if self.is_gpu && now.duration_since(at) > STALE => rate.max(assumed),
            Some((rate, _)) => rate,
            None => assumed,
        };
        (FIXED_SECONDS + audio_seconds) / rate.max(1e-3)
    }

    /// Seconds of audio that a slot transcribes per second.
    pub(super) fn speed(&self) -> f64 {
        let assumed = if self.is_gpu { ASSUMED_GPU_SPEED } else { ASSUMED_CPU_SPEED };
        // The warm-up measures the encoder only, which is most of the work.
        let by_rate =
            self.rate.map(|(rate, _)| rate * CHUNK_SECONDS / (FIXED_SECONDS + CHUNK_SECONDS));
        self.speed.or(by_rate).unwrap_or(assumed)
    }

    /// The same, if a chunk has finished yet.
    pub(super) fn measured(&self) -> Option<f64> {
        self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_replaces_the_assumption_and_later_ones_move_it() {
        let now = Instant::now();
        let mut speed = SpeedEstimate::new(true);
        assert_eq!((speed.speed(), speed.measured()), (ASSUMED_GPU_SPEED, None));
        speed.learn(30.0, 3.0, now);
        assert_eq!(speed.speed(), 10.0);
        speed.learn(30.0, 1.5, now);
        assert_eq!(speed.speed(), 12.0);
        assert_eq!((speed.chunks, speed.audio_seconds), (2, 60.0));
    }

    #[test]
    fn cpu_speed_comes_from_the_warm_up_until_a_chunk_finishes() {
        let now = Instant::now();
        let mut speed = SpeedEstimate::new(false);
        speed.learn_warm_up(0.5, now);
        assert_eq!(speed.seconds(30.0, now), 2.0);
        assert_eq!(speed.measured(), None);
        let mut gpu = SpeedEstimate::new(true);
        gpu.learn_warm_up(10.0, now); // it compiles its kernels
        assert_eq!(gpu.seconds(30.0, now), 0.1);
    }

    #[test]
    fn short_chunks_do_not_make_a_device_look_slow() {
        let now = Instant::now();
        let mut speed = SpeedEstimate::new(false);
        speed.learn(1.0, 1.1, now); // mostly the encoder
        assert!((speed.seconds(30.0, now) - 4.0).abs() < 0.01);
    }

    #[test]
    fn a_slow_gpu_is_retried_and_a_slow_cpu_is_not() {
        let now = Instant::now();
        let later = now + STALE + Duration::from_secs(1);
        for (is_gpu, expected) in [(true, 0.1), (false, 40.0)] {
            let mut speed = SpeedEstimate::new(is_gpu);
            speed.learn(30.0, 40.0, now);
            assert!((speed.seconds(30.0, now) - 40.0).abs() < 0.01);
            assert!((speed.seconds(30.0, later) - expected).abs() < 0.01);
        }
    }
}
