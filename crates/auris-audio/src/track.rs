//! Which track of a file to decode, and with what.

use std::time::Duration;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_DCA, CODEC_ID_FLAC, CODEC_ID_MP1, CODEC_ID_MP2,
    CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_PCM_ALAW, CODEC_ID_PCM_MULAW, CODEC_ID_VORBIS,
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
    /// The longest that a packet can be, in seconds.
    longest_packet: f64,
    pub(super) decoder: Box<dyn AudioDecoder>,
    /// What the decoder takes, if its codec is one of MPEG audio.
    mpeg: Option<MpegLayout>,
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
            longest_packet: longest_packet(params.codec, rate_hz),
            decoder,
            mpeg: None,
        })
    }

    /// How long a packet claims to last, and can last.
    pub(super) fn packet_seconds(&self, packet: &Packet) -> f64 {
        self.seconds(packet.dur.get() as f64).min(self.longest_packet)
    }

    /// When a packet begins on the clock of its container, what is cut off its start not counted.
    pub(super) fn packet_start(&self, packet: &Packet) -> f64 {
        self.seconds(packet.pts.get() as f64 + packet.trim_start.get() as f64)
    }

    fn seconds(&self, ticks: f64) -> f64 {
        self.time_base.map_or(0.0, |base| ticks * tick_seconds(base))
    }

    /// Makes another decoder where MPEG audio changes its layer, its rate or its channels: files
    /// that were joined, and inserted advertisements. A decoder takes no other frames than its
    /// first one.
    ///
    /// # Errors
    /// There is no decoder for the layer.
    pub(super) fn follow(&mut self, packet: &Packet) -> Result<(), Error> {
        if !matches!(self.decoder.codec_params().codec, CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3)
        {
            return Ok(());
        }
        let Some((layout, codec)) = mpeg_layout(&packet.data) else { return Ok(()) };
        if self.mpeg.replace(layout).is_some_and(|before| before != layout) {
            let mut params = AudioCodecParameters::new();
            params.for_codec(codec);
            let options = AudioDecoderOptions::default();
            self.decoder = DECODERS.make_audio_decoder(&params, &options)?;
        }
        Ok(())
    }
}

/// The version, layer, sample rate and number of channels of a frame of MPEG audio.
type MpegLayout = [u8; 3];

/// What decodes the frame of MPEG audio in `packet` (ISO/IEC 11172-3, section 2.4.1.3).
fn mpeg_layout(packet: &[u8]) -> Option<(MpegLayout, AudioCodecId)> {
    let [0xff, second, third, fourth, ..] = *packet else { return None };
    let codec = match second >> 1 & 3 {
        1 => CODEC_ID_MP3,
        2 => CODEC_ID_MP2,
        3 => CODEC_ID_MP1,
        _ => return None,
    };
    let is_mono = fourth & 0xc0 == 0xc0;
    Some(([second & 0x1e, third & 0x0c, is_mono.into()], codec))
}

/// The longest packet of a codec at this sample rate, in seconds.
fn longest_packet(codec: AudioCodecId, rate_hz: u32) -> f64 {
    let frames = match codec {
        // RFC 6716, section 2.1.4.
        CODEC_ID_OPUS => return 0.12,
        // The size of a block is a number of 16 bits.
        CODEC_ID_FLAC | CODEC_ID_ALAC => 65_535,
        // Vorbis has the longest among those that lose something.
        _ => 8_192,
    };
    f64::from(frames) / f64::from(rate_hz)
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

#[cfg(test)]
mod tests {
    use symphonia::core::units::{Duration as Ticks, Timestamp};

    use super::*;
    use crate::source::{Access, Source};
    use crate::tests::{file_of, fixture_bytes};

    #[track_caller]
    fn check_packet(name: &str, container: Container, ticks: u64, seconds: f64) {
        let file = file_of(&fixture_bytes(&format!("codecs/{name}")));
        let source = Source::new(file, container, 0, None).unwrap();
        let reader = source.reader(Access::Seek).unwrap();
        let track =
            AudioTrack::choose(reader.as_ref(), None, container, &Limits::default()).unwrap();
        let packet = Packet::new(track.id, Timestamp::ZERO, Ticks::new(ticks), vec![0; 9]);
        let found = track.packet_seconds(&packet);
        assert!((found - seconds).abs() < 1e-6, "{name}: {found} s");
    }

    #[test]
    fn a_packet_lasts_no_longer_than_its_codec_can() {
        check_packet("mp4-opus.mp4", Container::Mp4, 320, 0.02);
        check_packet("mp4-opus.mp4", Container::Mp4, 480_000, 0.12);
        check_packet("webm-opus.webm", Container::Matroska, u64::MAX, 0.12);
        check_packet("adts.aac", Container::Adts, u64::MAX, 8_192.0 / 44_100.0);
        check_packet("flac.flac", Container::Flac, 65_535, 65_535.0 / 16_000.0);
    }
}
