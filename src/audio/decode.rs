//! From a file to mono samples at the file's own rate, packet by packet.
//!
//! Damage is met the way a listener would wish: a packet that cannot be decoded becomes silence of
//! its length, so that what follows keeps its time, and a file that breaks off ends there.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration as Ticks, TimeBase};

use super::codecs::{Container, DECODERS, codec_name};
use super::pcm::Downmix;
use super::sniff::{Sniffed, sniff};
use super::{AudioError, AudioInfo, Limits};

/// Frames at one sample rate.
#[derive(Default)]
pub(super) struct Block {
    /// In Hz; may change between blocks where streams are chained.
    pub(super) rate_hz: u32,
    /// Mono frames in [-1, 1].
    pub(super) mono: Vec<f32>,
}

/// A file that is being decoded.
pub(super) struct Decoder {
    container: Container,
    reader: Box<dyn FormatReader>,
    track: AudioTrack,
    limits: Limits,
    downmix: Downmix,
    /// Time of packets that could not be decoded since the last one that could, in seconds.
    lost_seconds: f64,
    failures: Failures,
    /// Frames marked as padding so far.
    padding_frames: u64,
    truncated: bool,
}

struct AudioTrack {
    id: u32,
    time_base: Option<TimeBase>,
    declared_duration: Option<Duration>,
    codec: &'static str,
    decoder: Box<dyn AudioDecoder>,
}

/// What went wrong in a row, to give up on a file that is nothing else.
#[derive(Default)]
struct Failures {
    packets: u32,
    resets: u32,
    cause: Option<String>,
}

/// Give up after this many packets in a row that do not decode: at 20 ms each, 20 s of audio.
const MAX_FAILED_PACKETS: u32 = 1_000;

/// Give up when the reader wants to begin anew this often without a sample in between.
const MAX_RESETS: u32 = 16;

/// The longest silence that takes the place of lost packets; their length is only claimed.
const MAX_LOST_SECONDS: f64 = 10.0;

/// The most padding that a LAME tag can tell: 12 bits.
const MAX_PADDING_FRAMES: u64 = 4_095;

impl Decoder {
    /// Finds out what `file` is and decodes up to its first samples, which go to `block`.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub(super) fn open(
        mut file: File,
        limits: &Limits,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let (container, start) = match sniff(&mut file)? {
            Sniffed::Audio(container, start) => (container, start),
            // What is left is most likely MPEG audio with junk before its first frame.
            Sniffed::Unknown => (Container::Mpeg, 0),
            Sniffed::Foreign(found) => return Err(AudioError::UnknownFormat { found }),
            Sniffed::Empty => return Err(AudioError::Empty),
        };
        let source = Source { file, container, start };
        if container.forward_only() || start > 0 {
            return Self::start(&source, Access::Forward, limits, block);
        }
        match Self::start(&source, Access::Seek, limits, block) {
            // A truncated MP4 or WebM file can often still be read from front to back.
            Err(error @ (AudioError::Corrupt { .. } | AudioError::NoSamples { .. })) => {
                Self::start(&source, Access::Forward, limits, block).map_err(|_| error)
            }
            result => result,
        }
    }

    /// Replaces `block` by the next one; false at the end.
    ///
    /// # Errors
    /// [`AudioError::SampleRate`] and [`AudioError::TooManyChannels`] where the stream changes to
    /// these, [`AudioError::Io`] if reading fails, and while there was no sample yet
    /// [`AudioError::Corrupt`].
    pub(super) fn next_block(&mut self, block: &mut Block) -> Result<bool, AudioError> {
        block.mono.clear();
        guarded(self.container, || self.next_decodable(block))
    }

    fn next_decodable(&mut self, block: &mut Block) -> Result<bool, AudioError> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(Error::ResetRequired) => {
                    self.reset()?;
                    continue;
                }
                Err(Error::IoError(error)) if error.kind() != ErrorKind::UnexpectedEof => {
                    return Err(AudioError::Io(error));
                }
                Err(error) => {
                    self.truncated = true;
                    self.failures.cause.get_or_insert_with(|| error.to_string());
                    return Ok(false);
                }
            };
            if packet.track_id == self.track.id && self.decode(packet, block)? {
                return Ok(true);
            }
        }
    }

    /// Whether the file broke off; what there was has been decoded.
    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    fn start(
        source: &Source,
        access: Access,
        limits: &Limits,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let container = source.container;
        let (reader, track) = guarded(container, || {
            let reader = source.reader(access)?;
            let track = AudioTrack::choose(reader.as_ref(), container, limits)?;
            Ok((reader, track))
        })?;
        let mut decoder = Self {
            container,
            reader,
            track,
            limits: limits.clone(),
            downmix: Downmix::default(),
            lost_seconds: 0.0,
            failures: Failures::default(),
            padding_frames: 0,
            truncated: false,
        };
        if !decoder.next_block(block)? {
            return Err(match decoder.failures.cause {
                Some(cause) => AudioError::Corrupt { container: container.name(), cause },
                None => AudioError::NoSamples { container: container.name() },
            });
        }
        let info = AudioInfo {
            container: container.name(),
            codec: decoder.track.codec,
            sample_rate_hz: block.rate_hz,
            channels: decoder.track.decoder.last_decoded().spec().channels().count(),
            declared_duration: decoder.track.declared_duration,
        };
        Ok((decoder, info))
    }

    /// Decodes one packet into `block`; false if it gave no samples.
    fn decode(&mut self, mut packet: Packet, block: &mut Block) -> Result<bool, AudioError> {
        self.keep_joined_files(&mut packet);
        let decoded = match self.track.decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(error) => {
                let lost_seconds = self.lost_seconds + self.track.packet_seconds(&packet);
                self.lost_seconds = lost_seconds.min(MAX_LOST_SECONDS);
                return self.fail(&error).map(|()| false);
            }
        };
        if decoded.is_empty() {
            return Ok(false);
        }
        let spec = decoded.spec();
        self.limits.check(spec.rate(), spec.channels().count())?;
        block.rate_hz = spec.rate();
        let lost_frames = (self.lost_seconds * f64::from(spec.rate())) as usize;
        block.mono.resize(lost_frames, 0.0);
        self.downmix.append(&decoded, &mut block.mono);
        self.lost_seconds = 0.0;
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
        self.failures.packets += 1;
        let cause = self.failures.cause.get_or_insert_with(|| error.to_string());
        if self.failures.packets < MAX_FAILED_PACKETS {
            return Ok(());
        }
        Err(AudioError::Corrupt { container: self.container.name(), cause: cause.clone() })
    }

    /// Chained streams: the next one has its own parameters.
    fn reset(&mut self) -> Result<(), AudioError> {
        self.failures.resets += 1;
        if self.failures.resets > MAX_RESETS {
            let cause = "it starts anew again and again".to_owned();
            return Err(AudioError::Corrupt { container: self.container.name(), cause });
        }
        self.track = AudioTrack::choose(self.reader.as_ref(), self.container, &self.limits)?;
        Ok(())
    }
}

impl Limits {
    fn check(&self, rate_hz: u32, channels: usize) -> Result<(), AudioError> {
        if channels > self.max_channels {
            return Err(AudioError::TooManyChannels { found: channels, limit: self.max_channels });
        }
        if !self.sample_rates_hz.contains(&rate_hz) {
            return Err(AudioError::SampleRate {
                found: rate_hz,
                lowest: *self.sample_rates_hz.start(),
                highest: *self.sample_rates_hz.end(),
            });
        }
        Ok(())
    }
}

impl AudioTrack {
    /// The default audio track, or the first one that has a decoder.
    fn choose(
        reader: &dyn FormatReader,
        container: Container,
        limits: &Limits,
    ) -> Result<Self, AudioError> {
        let default = reader.default_track(TrackType::Audio);
        let mut first_error = None;
        for track in default.into_iter().chain(reader.tracks()) {
            let Some(CodecParameters::Audio(params)) = &track.codec_params else { continue };
            match Self::new(track, params, container, limits) {
                Ok(track) => return Ok(track),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(AudioError::NoAudioTrack { container: container.name() }))
    }

    fn new(
        track: &Track,
        params: &AudioCodecParameters,
        container: Container,
        limits: &Limits,
    ) -> Result<Self, AudioError> {
        let codec = codec_name(params.codec);
        // Before the decoder, which allocates by what the header claims. What the header leaves
        // open is checked with the first samples.
        let rate_hz = params.sample_rate.unwrap_or(*limits.sample_rates_hz.start());
        let channels = params.channels.as_ref().map_or(1, Channels::count);
        limits.check(rate_hz, channels)?;
        let decoder = make_decoder(params).map_err(|error| {
            let container = container.name();
            match error {
                Error::Unsupported(_) if DECODERS.get_audio_decoder(params.codec).is_none() => {
                    AudioError::UnsupportedCodec { container, codec: codec.to_owned() }
                }
                Error::Unsupported(what) => {
                    AudioError::UnsupportedCodec { container, codec: format!("{codec} ({what})") }
                }
                error => AudioError::Corrupt { container, cause: error.to_string() },
            }
        })?;
        Ok(Self {
            id: track.id,
            time_base: track.time_base,
            declared_duration: declared_duration(track),
            codec,
            decoder,
        })
    }

    /// How long a packet claims to last.
    fn packet_seconds(&self, packet: &Packet) -> f64 {
        let ticks = packet.dur.get() as f64;
        self.time_base.map_or(0.0, |base| ticks * tick_seconds(base))
    }
}

fn make_decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Error> {
    let mut params = params.clone();
    // Opus has no rate of its own: Matroska tells what was recorded, and libopus decodes to these
    // five rates only.
    let opus_rates = [8_000, 12_000, 16_000, 24_000, 48_000];
    if params.codec == CODEC_ID_OPUS
        && params.sample_rate.is_none_or(|rate| !opus_rates.contains(&rate))
    {
        params.sample_rate = Some(48_000);
    }
    DECODERS.make_audio_decoder(&params, &AudioDecoderOptions::default())
}

fn declared_duration(track: &Track) -> Option<Duration> {
    let ticks = track.duration?.get() as f64;
    let seconds = ticks * tick_seconds(track.time_base?);
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

fn tick_seconds(base: TimeBase) -> f64 {
    f64::from(base.numer.get()) / f64::from(base.denom.get())
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

/// A file of a known container.
struct Source {
    file: File,
    container: Container,
    /// Where the container begins, in bytes.
    start: u64,
}

#[derive(Clone, Copy)]
enum Access {
    Seek,
    Forward,
}

impl Source {
    fn reader(&self, access: Access) -> Result<Box<dyn FormatReader>, AudioError> {
        let stream = self.open(access)?;
        let container = self.container;
        container
            .probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|error| reader_error(container, error))
    }

    fn open(&self, access: Access) -> io::Result<MediaSourceStream<'static>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.start))?;
        let source: Box<dyn MediaSource> = match access {
            Access::Seek => Box::new(file),
            Access::Forward => Box::new(ReadOnlySource::new(file)),
        };
        Ok(MediaSourceStream::new(source, Default::default()))
    }
}

/// What it means that no reader could be made for `container`.
fn reader_error(container: Container, error: Error) -> AudioError {
    match error {
        Error::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => AudioError::Io(error),
        // Bare frames carry no mark of their own: without two of them in a row it is just bytes.
        _ if container.forward_only() => AudioError::UnknownFormat { found: "of no known format" },
        Error::Unsupported(what) if what.contains("unsupported") => {
            AudioError::UnsupportedCodec { container: container.name(), codec: what.to_owned() }
        }
        error => AudioError::Corrupt { container: container.name(), cause: error.to_string() },
    }
}
