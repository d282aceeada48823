//! Which track of a file to decode, and with what.

use std::time::Duration;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_DCA, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_PCM_ALAW,
    CODEC_ID_PCM_MULAW, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions,
};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::codecs::{Container, DECODERS, codec_name};
use super::content_encoding::Decoding;
use super::timestamps::Timestamps;
use super::tracks::Entry;
use super::trim::Span;
use super::{AudioError, Limits, vorbis};

/// The most frames that a packet may claim to have. The longest are 65,535 bytes of ADPCM.
const MAX_FRAMES_PER_PACKET: u64 = 1 << 18;

/// An audio track and its decoder.
pub(super) struct AudioTrack {
    /// The number that marks its packets.
    pub(super) id: u32,
    /// The codec's short name.
    pub(super) codec: &'static str,
    /// The length that the header claims.
    pub(super) declared_duration: Option<Duration>,
    /// What its codec always puts before the audio, where the reader does not remove it.
    pub(super) usual_start: Span,
    time_base: Option<TimeBase>,
    pub(super) timestamps: Timestamps,
    /// What a writer has done to its packets, to be undone.
    pub(super) decoding: Decoding,
    pub(super) decoder: Box<dyn AudioDecoder>,
}

impl AudioTrack {
    /// The `chosen` audio track; without one the default, or else the first that has a decoder.
    ///
    /// # Errors
    /// [`AudioError::NoAudioTrack`], or why the chosen or the first audio track cannot be decoded.
    pub(super) fn choose(
        reader: &dyn FormatReader,
        chosen: Option<&Entry>,
        container: Container,
        limits: &Limits,
    ) -> Result<Self, AudioError> {
        if let Some(Entry { id, track: own, .. }) = chosen {
            let track = reader.tracks().iter().find(|track| track.id == *id);
            return match track.map(|track| (track, &track.codec_params)) {
                Some((track, Some(CodecParameters::Audio(params)))) => {
                    Self::new(track, params, container, limits)
                }
                _ => Err(AudioError::UnsupportedCodec {
                    container: container.name(),
                    codec: own.codec.clone(),
                }),
            };
        }
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
        if let Some(claim) = excessive_claim(params) {
            return Err(AudioError::Corrupt {
                container: container.name(),
                cause: claim.to_owned(),
            });
        }
        if params.codec == CODEC_ID_VORBIS && channels > 2 {
            // symphonia 0.6.1 mixes up the channels of 5.1 (more than one submap).
            let codec = format!("{codec} ({channels} channels)");
            return Err(AudioError::UnsupportedCodec { container: container.name(), codec });
        }
        let usual_start = usual_start(track, params, container);
        let decoder = make_decoder(params, container).map_err(|error| {
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
            usual_start,
            timestamps: Timestamps::Counted,
            decoding: Decoding::default(),
            decoder,
        })
    }

    /// How long a packet claims to last.
    pub(super) fn packet_seconds(&self, packet: &Packet) -> f64 {
        self.seconds(packet.dur.get() as f64)
    }

    /// When a packet begins on the clock of its container, what is cut off its start not counted.
    pub(super) fn packet_start(&self, packet: &Packet) -> f64 {
        self.seconds(packet.pts.get() as f64 + packet.trim_start.get() as f64)
    }

    fn seconds(&self, ticks: f64) -> f64 {
        self.time_base.map_or(0.0, |base| ticks * tick_seconds(base))
    }
}

/// What a decoder would take gigabytes for, and abort the program if there are not so many.
fn excessive_claim(params: &AudioCodecParameters) -> Option<&'static str> {
    if params.max_frames_per_packet.is_some_and(|frames| frames > MAX_FRAMES_PER_PACKET) {
        return Some("its packets claim to be too long");
    }
    let headers = params.extra_data.as_deref().unwrap_or_default();
    if params.codec == CODEC_ID_VORBIS && !vorbis::is_modest(headers) {
        return Some("its codebooks are too large");
    }
    None
}

fn make_decoder(
    params: &AudioCodecParameters,
    container: Container,
) -> Result<Box<dyn AudioDecoder>, Error> {
    let mut params = params.clone();
    match params.codec {
        CODEC_ID_OPUS => {
            // The declared rate is that of the recording, which says nothing about the codec.
            params.sample_rate = Some(OPUS_RATE_HZ);
            if container != Container::Ogg {
                // The decoder would read the pre-skip of MP4 in the wrong byte order, and take it
                // off the first packet only.
                params.extra_data = None;
            }
        }
        // They have a width of their own, and the decoder refuses the one that CAF declares.
        CODEC_ID_PCM_ALAW | CODEC_ID_PCM_MULAW => {
            params.bits_per_sample = None;
            params.bits_per_coded_sample = None;
        }
        _ => {}
    }
    DECODERS.make_audio_decoder(&params, &AudioDecoderOptions::default())
}

/// Opus has one clock, in Hz.
const OPUS_RATE_HZ: u32 = 48_000;

/// What an encoder puts before the audio at least, where the reader does not take it off already.
fn usual_start(track: &Track, params: &AudioCodecParameters, container: Container) -> Span {
    let is_taken_off = track.delay.is_some() || container == Container::Ogg;
    match params.codec {
        _ if is_taken_off => Span::NONE,
        CODEC_ID_OPUS => Span::Frames(opus_pre_skip(params).into()),
        codec => Span::Frames(usual_delay(codec)),
    }
}

/// How much is decoded before the audio if the file does not declare it: the delay that encoders or
/// decoders of that codec always have, in frames.
pub(super) fn usual_delay(codec: AudioCodecId) -> u64 {
    match codec {
        // Without the frame before it, the first one is only half of an overlap.
        CODEC_ID_AAC => 1_024,
        // LAME's delay and that of decoders: 576 and 529 frames.
        CODEC_ID_MP3 => 1_105,
        // That of their filter banks.
        CODEC_ID_MP2 => 481,
        CODEC_ID_DCA => 512,
        _ => 0,
    }
}

/// The pre-skip of an Opus header in frames, 0 if there is none.
///
/// The header of RFC 7845 (section 5.1) has version 1 and is little-endian; MP4 has version 0 and
/// is big-endian ("Encapsulation of Opus in ISO Base Media File Format", section 4.3.2).
fn opus_pre_skip(params: &AudioCodecParameters) -> u16 {
    match params.extra_data.as_deref().and_then(|header| header.strip_prefix(b"OpusHead")) {
        Some([0, _, high, low, ..]) | Some([_, _, low, high, ..]) => {
            u16::from_be_bytes([*high, *low])
        }
        _ => 0,
    }
}

fn declared_duration(track: &Track) -> Option<Duration> {
    let ticks = track.duration?.get() as f64;
    let seconds = ticks * tick_seconds(track.time_base?);
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

fn tick_seconds(base: TimeBase) -> f64 {
    f64::from(base.numer.get()) / f64::from(base.denom.get())
}

impl Limits {
    /// Refuses a sample rate or number of channels out of range.
    pub(super) fn check(&self, rate_hz: u32, channels: usize) -> Result<(), AudioError> {
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
