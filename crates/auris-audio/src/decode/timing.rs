//! Keeps decoded audio on the clock of its container, and goes back in it where an edit list does.

use symphonia::core::formats::{SeekMode, SeekTo};
use symphonia::core::packet::Packet;
use symphonia::core::units::Time;

use super::{AudioError, Clock, Container, Decoder, Duration, guarded};
use crate::block::Block;

/// How much before a place decoding begins after a jump, in seconds: decoders take some packets to
/// settle, Opus 80 ms.
const PREROLL_SECONDS: f64 = 0.2;

/// The longest silence that takes the place of lost packets; their length is only claimed.
const MAX_LOST_SECONDS: f64 = 10.0;

impl Decoder {
    /// Takes the next packet of the track, which is decoded after the silence before it.
    pub(super) fn take(&mut self, packet: Packet) {
        if self.track.timestamps.have_clock() {
            let start = self.track.packet_start(&packet);
            let most = self.limits.max_duration.as_secs_f64();
            let seconds = self.clock.gap(start, self.declared_length(), most);
            if seconds > 0.0 {
                self.gap_frames = (seconds * f64::from(self.rate_hz)).round() as u64;
                let gap = (seconds - self.lost_seconds).max(0.0);
                self.losses.gaps += Duration::from_secs_f64(gap);
                self.lost_seconds = 0.0;
            }
        }
        self.waiting = Some(packet);
    }

    /// Replaces the empty `block` by some of the silence before the packet that waits; false if there
    /// is none left.
    pub(super) fn fill_gap(&mut self, block: &mut Block) -> bool {
        let Some(signals) = self.signals.filter(|_| self.gap_frames > 0) else { return false };
        // A second at a time.
        let frames = self.gap_frames.min(self.rate_hz.into());
        self.gap_frames -= frames;
        block.rate_hz = self.rate_hz;
        block.signals.resize(signals.count(), Vec::new());
        block.signals.iter_mut().for_each(|signal| signal.resize(frames as usize, 0.0));
        true
    }

    /// Counts a packet that could not be decoded.
    pub(super) fn lose(&mut self, packet: &Packet) {
        let claimed = self.track.packet_seconds(packet);
        let seconds = if claimed > 0.0 { claimed } else { self.clock.packet_seconds() };
        let seconds = seconds.min(MAX_LOST_SECONDS);
        self.losses.undecodable += Duration::from_secs_f64(seconds);
        self.lost_seconds = (self.lost_seconds + seconds).min(MAX_LOST_SECONDS);
    }

    /// Counts what was decoded of a packet. How much silence takes the place of those before it, in
    /// seconds.
    pub(super) fn keep_time(&mut self, start: f64, seconds: f64) -> f64 {
        let lost = std::mem::take(&mut self.lost_seconds);
        let has_clock = self.track.timestamps.have_clock();
        // Later on, there is a gap before a packet that follows others which were lost.
        let undecoded = self.clock.undecoded(start);
        self.clock.count(start, seconds);
        if std::mem::take(&mut self.is_resuming) {
            self.trim.resume_at(start);
            return 0.0;
        }
        if has_clock { undecoded.unwrap_or(0.0).clamp(0.0, MAX_LOST_SECONDS) } else { lost }
    }

    /// Goes back to a time, in seconds. False if that cannot be.
    pub(super) fn rewind(&mut self, seconds: f64) -> Result<bool, AudioError> {
        // Every track must have a place to go to, which one that is shorter may only have at 0.
        for seconds in [(seconds - PREROLL_SECONDS).max(0.0), 0.0] {
            let Some(time) = Time::try_from_secs_f64(seconds) else { continue };
            let to = SeekTo::Time { time, track_id: Some(self.track.id) };
            let sought = guarded(self.container, || Ok(self.reader.seek(SeekMode::Accurate, to)));
            if sought.is_ok_and(|sought| sought.is_ok()) {
                self.track.decoder.reset();
                self.clock = Clock::default();
                (self.waiting, self.gap_frames) = (None, 0);
                self.is_resuming = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How long the file claims to be.
    fn declared_length(&self) -> Option<Duration> {
        let declared = self.track.declared_duration;
        declared.or_else(|| {
            let info = self.reader.media_info();
            let (length, base) = (info.duration?, info.time_base?);
            let seconds = base.calc_duration(length)?.as_secs_f64();
            let is_declared = self.container == Container::Matroska && seconds > 0.0;
            is_declared.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
        })
    }
}
