//! From a file to mono samples at the file's own rate, packet by packet.
//!
//! Damage is tolerated: a packet that cannot be decoded becomes silence of its length, so that what
//! follows keeps its time, and a truncated file ends where it breaks off.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::Packet;
use symphonia::core::units::Duration as Ticks;

use super::block::Block;
use super::budget::{Budget, Phase};
use super::clock::Clock;
use super::codecs::Container;
use super::ffmpeg::Conversion;
use super::part::FilePart;
use super::pcm::{Mixer, Signals};
use super::source::is_disk_error;
use super::track::AudioTrack;
use super::tracks::Tracks;
use super::trim::{Padding, Trim};
use super::{AudioError, AudioInfo, Limits, Losses};
use auris_core::recording::{Selection, TrackChoice, TranscribedParts};

mod failures;
mod open;
mod timing;

use failures::{Cause, Failures};

/// What is asked of a file, and what it may ask for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) selection: &'a Selection,
    pub(super) limits: &'a Limits,
    /// What becomes of the channels, where an earlier recording has decided it.
    pub(super) signals: Option<Signals>,
}

/// A file that is being decoded.
pub(super) struct Decoder {
    container: Container,
    reader: Box<dyn FormatReader>,
    track: AudioTrack,
    /// The tracks of the file, and the number of the one that is decoded.
    tracks: Tracks,
    number: Option<u32>,
    selection: Selection,
    limits: Limits,
    budget: Budget,
    /// Where the packets come from, if it is not the file itself.
    conversion: Option<Conversion>,
    /// Where they are in the file, if it is.
    part: Option<FilePart>,
    /// What becomes of the channels, once it is known how many there are.
    signals: Option<Signals>,
    mixer: Mixer,
    trim: Trim,
    clock: Clock,
    /// The next packet to decode, after so many frames of silence.
    waiting: Option<Packet>,
    gap_frames: u64,
    /// The rate of what was decoded last, in Hz.
    rate_hz: u32,
    /// Whether the reader has gone back, and nothing was decoded since.
    is_resuming: bool,
    /// Whether the file is whole wherever it ends.
    open_ended: bool,
    /// Time of packets that could not be decoded since the last one that could, in seconds.
    lost_seconds: f64,
    failures: Failures,
    /// Frames marked as padding so far.
    padding_frames: u64,
    /// Whether there was a sample yet: from then on, what is damaged is an early end.
    started: bool,
    losses: Losses,
}

/// Give up after this many packets in a row that do not decode: at 20 ms each, 20 s of audio.
const MAX_FAILED_PACKETS: u32 = 1_000;

/// Give up when the reader wants to begin anew this often without a sample in between.
const MAX_RESETS: u32 = 16;

/// The most padding that a LAME tag can declare: 12 bits.
const MAX_PADDING_FRAMES: u64 = 4_095;

impl Decoder {
    /// Replaces `block` by the next one, by `deadline` if there is one; false at the end, which is
    /// also where reading was ended by the deadline.
    ///
    /// # Errors
    /// [`AudioError::SampleRate`] and [`AudioError::TooManyChannels`] where the stream changes to
    /// these, [`AudioError::TooSlow`], [`AudioError::Io`] if reading fails.
    pub(super) fn next_block(
        &mut self,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<bool, AudioError> {
        self.budget.set_deadline(deadline);
        self.fill(block)
    }

    fn fill(&mut self, block: &mut Block) -> Result<bool, AudioError> {
        block.clear();
        while !self.trim.next(block) {
            let behind = self.trim.rewind().filter(|_| !self.is_resuming);
            let is_lost = match behind {
                Some(seconds) => !self.rewind(seconds)?,
                None => false,
            };
            self.losses.truncated |= is_lost;
            if !is_lost && !self.trim.is_over() {
                if self.next_decoded(block)? {
                    self.trim.push(block);
                    continue;
                }
                self.is_resuming = false;
                if self.trim.end_part() {
                    continue;
                }
            }
            if !self.losses.truncated {
                // One that was given up may never end by itself.
                let failed = self.conversion.as_mut().map(Conversion::failed).transpose()?;
                self.losses.truncated = failed.unwrap_or(false);
            }
            // What broke off has no padding at its end.
            if self.losses.truncated {
                block.signals = self.trim.take_held();
            }
            return Ok(block.frames() > 0);
        }
        Ok(true)
    }

    fn next_decoded(&mut self, block: &mut Block) -> Result<bool, AudioError> {
        match guarded(self.container, || self.next_decodable(block)) {
            Err(
                AudioError::Corrupt { .. }
                | AudioError::UnsupportedCodec { .. }
                | AudioError::NoAudioTrack { .. },
            ) if self.started => {
                self.losses.truncated = true;
                Ok(false)
            }
            result => result,
        }
    }

    fn next_decodable(&mut self, block: &mut Block) -> Result<bool, AudioError> {
        loop {
            self.budget.begin(Phase::Packets)?;
            if self.fill_gap(block) {
                return Ok(true);
            }
            if let Some(packet) = self.waiting.take() {
                if self.decode(packet, block)? {
                    return Ok(true);
                }
                continue;
            }
            let (reader, timestamps) = (self.reader.as_mut(), &mut self.track.timestamps);
            let packet = match timestamps.next_packet(reader, &self.budget, self.track.id) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(Error::ResetRequired) => {
                    self.reset()?;
                    continue;
                }
                Err(Error::IoError(error))
                    if error.kind() == ErrorKind::UnexpectedEof && self.is_whole() =>
                {
                    return Ok(false);
                }
                Err(Error::IoError(error)) if is_disk_error(&error) => {
                    return Err(AudioError::Io(error));
                }
                // Its reader has gone on to behind what it took for a frame.
                Err(error @ (Error::DecodeError(_) | Error::Unsupported(_)))
                    if self.container == Container::Adts =>
                {
                    self.fail(&error)?;
                    continue;
                }
                Err(error) => {
                    self.failures.add(&error);
                    return Err(self.refusal());
                }
            };
            if packet.track_id == self.track.id {
                self.take(packet);
            }
        }
    }

    /// What is missing so far.
    pub(super) fn losses(&self) -> Losses {
        let by_ffmpeg = self.conversion.as_ref().map_or(0, Conversion::gaps);
        let by_ffmpeg = by_ffmpeg as f64 / f64::from(self.rate_hz.max(1));
        let gaps = self.losses.gaps + Duration::try_from_secs_f64(by_ffmpeg).unwrap_or_default();
        Losses { gaps, ..self.losses }
    }

    /// Whether nothing is missing where the bytes end.
    fn is_whole(&self) -> bool {
        self.open_ended || self.part.as_ref().is_some_and(FilePart::is_joined)
    }

    /// Which part of the file is decoded.
    pub(super) fn parts(&self) -> TranscribedParts {
        let split = self.signals.map(Signals::split).unwrap_or_default();
        TranscribedParts { track: self.number, tracks: self.tracks.list(), split }
    }

    /// What becomes of the channels, once there is a sample.
    pub(super) fn signals(&self) -> Option<Signals> {
        self.signals
    }

    /// The byte of the file at which another recording may begin, once this one has ended.
    pub(super) fn next_recording(&self) -> Option<u64> {
        self.part.as_ref().map(FilePart::next)
    }

    /// Decodes up to the first samples.
    fn begin(
        container: Container,
        reader: Box<dyn FormatReader>,
        track: AudioTrack,
        padding: Padding,
        wanted: Wanted<'_>,
        budget: Budget,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        // What is written to a pipe has a header without a length.
        let is_piped = container == Container::Wav && track.declared_duration.is_none();
        let mut decoder = Self {
            container,
            reader,
            tracks: Tracks::default(),
            number: None,
            selection: wanted.selection.clone(),
            limits: wanted.limits.clone(),
            budget,
            conversion: None,
            part: None,
            signals: wanted.signals,
            mixer: Mixer::default(),
            open_ended: padding.open_ended || is_piped,
            trim: Trim::new(padding, track.usual_start),
            clock: Clock::default(),
            waiting: None,
            gap_frames: 0,
            rate_hz: 0,
            is_resuming: false,
            track,
            lost_seconds: 0.0,
            failures: Failures::default(),
            padding_frames: 0,
            started: false,
            losses: Losses::default(),
        };
        if !decoder.fill(block)? {
            return Err(decoder.refusal());
        }
        decoder.started = true;
        let info = AudioInfo {
            container: container.name(),
            codec: decoder.track.codec,
            sample_rate_hz: block.rate_hz,
            channels: decoder.track.decoder.last_decoded().spec().channels().count(),
            declared_duration: decoder.track.declared_duration,
            start_offset: decoder.trim.delay(),
        };
        Ok((decoder, info))
    }

    /// Decodes one packet into `block`; false if it gave no samples.
    fn decode(&mut self, mut packet: Packet, block: &mut Block) -> Result<bool, AudioError> {
        self.keep_joined_files(&mut packet);
        let AudioTrack { decoding, .. } = &mut self.track;
        let undone = decoding.undo(std::mem::take(&mut packet.data)).map_err(Error::IoError);
        if let Err(error) = undone.and_then(|data| {
            packet.data = data;
            self.track.follow(&packet)
        }) {
            self.lose(&packet);
            return self.fail(&error).map(|()| false);
        }
        let decoded = match self.track.decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.lose(&packet);
                return self.fail(&error).map(|()| false);
            }
        };
        if decoded.is_empty() {
            self.clock.skip();
            return Ok(false);
        }
        let spec = decoded.spec();
        self.limits.check(spec.rate(), spec.channels().count())?;
        block.rate_hz = spec.rate();
        let signals = match self.signals {
            Some(signals) => signals,
            None => *self
                .signals
                .insert(Signals::choose(self.selection.channel, spec.channels().count())?),
        };
        block.signals.resize(signals.count(), Vec::new());
        self.mixer.append(&decoded, signals, &mut block.signals);
        self.rate_hz = block.rate_hz;
        let seconds = block.frames() as f64 / f64::from(self.rate_hz);
        let lost_seconds = self.keep_time(self.track.packet_start(&packet), seconds);
        let lost_frames = (lost_seconds * f64::from(self.rate_hz)) as usize;
        if lost_frames > 0 {
            for signal in &mut block.signals {
                signal.splice(..0, std::iter::repeat_n(0.0, lost_frames));
            }
        }
        self.failures = Failures::default();
        Ok(true)
    }

    /// Where MP3 files were joined, the first one's Xing header ends the audio too early, and the
    /// reader marks all that follows as padding.
    fn keep_joined_files(&mut self, packet: &mut Packet) {
        if self.container == Container::Mpeg {
            self.padding_frames = self.padding_frames.saturating_add(packet.trim_end.get());
            if self.padding_frames > MAX_PADDING_FRAMES {
                packet.trim_end = Ticks::ZERO;
            }
        }
    }

    /// Counts a packet that did not decode.
    fn fail(&mut self, error: &Error) -> Result<(), AudioError> {
        self.failures.add(error);
        self.failures.packets += 1;
        if self.failures.packets < MAX_FAILED_PACKETS { Ok(()) } else { Err(self.refusal()) }
    }

    /// Why there is not one sample.
    fn refusal(&self) -> AudioError {
        let container = self.container.name();
        match &self.failures.cause {
            None => AudioError::NoSamples { container },
            Some(Cause::Damaged(cause)) => AudioError::Corrupt { container, cause: cause.clone() },
            Some(Cause::Unsupported(what)) => {
                let codec = format!("{} ({what})", self.track.codec);
                AudioError::UnsupportedCodec { container, codec }
            }
        }
    }

    /// Chained streams: the next one has its own parameters.
    fn reset(&mut self) -> Result<(), AudioError> {
        self.failures.resets += 1;
        if self.failures.resets > MAX_RESETS {
            let cause = "it starts anew again and again".to_owned();
            return Err(AudioError::Corrupt { container: self.container.name(), cause });
        }
        // Each stream of the chain brings its own tags, and the reader keeps those of all.
        self.reader.metadata().skip_to_latest();
        let reader = self.reader.as_ref();
        let tracks = Tracks::read(reader);
        let chosen = match self.selection.track {
            TrackChoice::Usual => None,
            _ => self.number.and_then(|number| tracks.numbered(number)),
        };
        let next = AudioTrack::choose(reader, chosen, self.container, &self.limits)?;
        let timestamps = std::mem::replace(&mut self.track, next).timestamps;
        self.track.timestamps = timestamps;
        self.track.timestamps.restart(self.track.id);
        self.clock = Clock::default();
        Ok(())
    }
}

/// Runs code of the decoding libraries on untrusted bytes. A slip there, such as an arithmetic
/// overflow in a build that checks for it, is the end of this file and of nothing else.
fn guarded<T>(
    container: Container,
    parse: impl FnOnce() -> Result<T, AudioError>,
) -> Result<T, AudioError> {
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|_| {
        let cause = "its decoder failed on it".to_owned();
        Err(AudioError::Corrupt { container: container.name(), cause })
    })
}
