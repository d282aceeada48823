//! The containers and codecs that are read: the one place to add another.
//!
//! A new container is a variant here with its mark in `sniff`; a new codec is a cargo feature of
//! symphonia or a decoder registered below. Each needs a fixture and a word in
//! [`supported_formats`].

use std::sync::LazyLock;

use symphonia::core::codecs::audio::{AudioCodecId, well_known as codec};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::formats::probe::{Probe, ProbeOptions};
use symphonia::default::formats;
use symphonia_adapter_libopus::OpusDecoder;

/// What can be sent, for people: goes into error messages and help.
pub fn supported_formats() -> &'static str {
    "WAV, AIFF and CAF (PCM, A-law, mu-law, ADPCM), FLAC, MP3, MP2, AAC (ADTS), \
     MP4/M4A/MOV/3GP (AAC, ALAC, MP3, FLAC, Opus), Ogg (Opus, Vorbis, FLAC) and \
     WebM/Matroska (Opus, Vorbis, AAC, MP3, FLAC, PCM); AAC, Opus and Vorbis in mono or stereo"
}

/// All decoders, by codec.
pub(super) static DECODERS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut registry = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut registry);
    registry.register_audio_decoder::<OpusDecoder>();
    registry
});

/// A container with a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Aiff,
    Caf,
    Flac,
    Ogg,
    Matroska,
    Mp4,
    /// A bare stream of AAC frames.
    Adts,
    /// A bare stream of MPEG audio frames, layer 2 or 3.
    Mpeg,
}

impl Container {
    pub(super) const ALL: [Self; 9] = [
        Self::Wav,
        Self::Aiff,
        Self::Caf,
        Self::Flac,
        Self::Ogg,
        Self::Matroska,
        Self::Mp4,
        Self::Adts,
        Self::Mpeg,
    ];

    /// The name that people use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wav => "WAV",
            Self::Aiff => "AIFF",
            Self::Caf => "CAF",
            Self::Flac => "FLAC",
            Self::Ogg => "Ogg",
            Self::Matroska => "WebM/Matroska",
            Self::Mp4 => "MP4",
            Self::Adts => "AAC (ADTS)",
            Self::Mpeg => "MPEG audio",
        }
    }

    /// What ffmpeg calls its reader, for codecs that have a decoder only there.
    pub(super) fn demuxer(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Aiff => "aiff",
            Self::Caf => "caf",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Matroska => "matroska",
            Self::Mp4 => "mov",
            Self::Adts => "aac",
            Self::Mpeg => "mp3",
        }
    }

    /// Whether it says, of all its codecs, how much of what is decoded is not of the recording.
    pub(super) fn declares_delay(self) -> bool {
        matches!(self, Self::Mp4 | Self::Ogg)
    }

    /// Whether the file is to be read from front to back only.
    ///
    /// In a seekable stream of bare frames, the reader guesses the length from the first bit rates
    /// and then cuts off what it did not expect: 1.6 s of 19 s were lost in one MP3 file without a
    /// Xing header.
    pub(super) fn forward_only(self) -> bool {
        matches!(self, Self::Adts | Self::Mpeg)
    }

    /// A probe that knows this container alone, so that nothing is taken for something else.
    pub(super) fn probe(self) -> Probe {
        let mut probe = Probe::new_with_options(&ProbeOptions {
            max_probe_depth: MAX_PROBE_BYTES,
            ..ProbeOptions::default()
        });
        match self {
            Self::Wav => probe.register_format::<formats::WavReader<'_>>(),
            Self::Aiff => probe.register_format::<formats::AiffReader<'_>>(),
            Self::Caf => probe.register_format::<formats::CafReader<'_>>(),
            Self::Flac => probe.register_format::<formats::FlacReader<'_>>(),
            Self::Ogg => probe.register_format::<formats::OggReader<'_>>(),
            Self::Matroska => probe.register_format::<formats::MkvReader<'_>>(),
            Self::Mp4 => probe.register_format::<formats::IsoMp4Reader<'_>>(),
            Self::Adts => probe.register_format::<formats::AdtsReader<'_>>(),
            Self::Mpeg => probe.register_format::<formats::MpaReader<'_>>(),
        }
        probe
    }
}

/// How far to look for the first frame behind junk.
const MAX_PROBE_BYTES: u32 = 128 * 1024;

/// The short name of a codec, also of those without a decoder.
pub(super) fn codec_name(id: AudioCodecId) -> &'static str {
    if let Some(decoder) = DECODERS.get_audio_decoder(id) {
        return decoder.codec.info.short_name;
    }
    match id {
        codec::CODEC_ID_AC3 => "AC-3",
        codec::CODEC_ID_EAC3 => "E-AC-3",
        codec::CODEC_ID_AC4 => "AC-4",
        codec::CODEC_ID_DCA => "DTS",
        codec::CODEC_ID_TRUEHD => "Dolby TrueHD",
        codec::CODEC_ID_SPEEX => "Speex",
        codec::CODEC_ID_WMA => "Windows Media",
        codec::CODEC_ID_WAVPACK => "WavPack",
        codec::CODEC_ID_MUSEPACK => "Musepack",
        codec::CODEC_ID_MONKEYS_AUDIO => "Monkey's Audio",
        codec::CODEC_ID_TTA => "True Audio",
        codec::CODEC_ID_ADPCM_G722 => "G.722",
        codec::CODEC_ID_ADPCM_G726 | codec::CODEC_ID_ADPCM_G726LE => "G.726",
        _ => "unknown",
    }
}
