//! The table: each file, how it is made, and what is expected of its decode.

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) rate_hz: u32,
    pub(super) channels: u32,
}

/// How long a decode is to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    AsFfmpeg,
    /// Where ffmpeg leaves an encoder's padding at the end.
    AsRecorded,
}

/// One file.
pub(super) struct Case {
    pub(super) file: &'static str,
    pub(super) source: Source,
    /// Options of ffmpeg after its input, or `sox` and options of its output.
    pub(super) make: &'static str,
    /// Options of ffmpeg to read the file with.
    pub(super) ffmpeg_input: &'static str,
    /// What ffmpeg's decode is filtered with before the comparison.
    pub(super) ffmpeg_filter: &'static str,
    pub(super) length: Length,
    /// The farthest that it may be from what was recorded, in milliseconds.
    pub(super) shift_ms: f64,
    /// The least likeness.
    pub(super) snr_db: f64,
    /// Why it is not compared as the others are.
    pub(super) note: &'static str,
}

const fn case(file: &'static str, rate_hz: u32, channels: u32, make: &'static str) -> Case {
    Case {
        file,
        source: Source { rate_hz, channels },
        make,
        ffmpeg_input: "",
        ffmpeg_filter: "",
        length: Length::AsFfmpeg,
        shift_ms: 10.0,
        snr_db: 60.0,
        note: "",
    }
}

impl Case {
    /// ffmpeg keeps or leaves out what is not to be.
    const fn padded(self, filter: &'static str, note: &'static str) -> Self {
        Self { ffmpeg_filter: filter, note, ..self }
    }

    /// Late by more than others.
    const fn late(self, shift_ms: f64, note: &'static str) -> Self {
        Self { shift_ms, note, ..self }
    }

    /// As long as what was recorded, where ffmpeg's decode is not.
    const fn as_recorded(self, note: &'static str) -> Self {
        Self { length: Length::AsRecorded, note, ..self }
    }

    /// Read by ffmpeg with these options.
    const fn read_with(self, ffmpeg_input: &'static str) -> Self {
        Self { ffmpeg_input, ..self }
    }
}

/// Opus is decoded by libopus here; ffmpeg's own decoder rounds otherwise.
const LIBOPUS: &str = "-c:a libopus";

pub(super) const CASES: &[Case] = &[
    // PCM
    case("s16-8k.wav", 8_000, 1, "-c:a pcm_s16le"),
    case("s16-11k.wav", 11_025, 1, "-c:a pcm_s16le"),
    case("s16-16k.wav", 16_000, 1, "-c:a pcm_s16le"),
    case("s16-22k-stereo.wav", 22_050, 2, "-c:a pcm_s16le"),
    case("s16-32k-stereo.wav", 32_000, 2, "-c:a pcm_s16le"),
    case("s16-44k-stereo.wav", 44_100, 2, "-c:a pcm_s16le"),
    case("s16-48k-5.1.wav", 48_000, 6, "-c:a pcm_s16le"),
    case("s16-96k-stereo.wav", 96_000, 2, "-c:a pcm_s16le"),
    case("s16-192k.wav", 192_000, 1, "-c:a pcm_s16le"),
    case("s24-48k-stereo.wav", 48_000, 2, "-c:a pcm_s24le"),
    case("s32-48k-stereo.wav", 48_000, 2, "-c:a pcm_s32le"),
    case("f32-48k-stereo.wav", 48_000, 2, "-c:a pcm_f32le"),
    case("f64-48k.wav", 48_000, 1, "-c:a pcm_f64le"),
    case("u8-16k.wav", 16_000, 1, "-c:a pcm_u8"),
    case("mulaw-8k.wav", 8_000, 1, "-c:a pcm_mulaw"),
    case("alaw-8k.wav", 8_000, 1, "-c:a pcm_alaw"),
    case("adpcm-ms-8k.wav", 8_000, 1, "-c:a adpcm_ms"),
    case("adpcm-ima-44k-stereo.wav", 44_100, 2, "-c:a adpcm_ima_wav"),
    case("sox-44k-stereo.wav", 44_100, 2, "sox"),
    case("pipe-16k.wav", 16_000, 1, "-c:a pcm_s16le -seekable 0"),
    case("sox-u8-8k.wav", 8_000, 1, "sox -e unsigned -b 8"),
    case("s16-44k-stereo.aiff", 44_100, 2, "-c:a pcm_s16be"),
    case("s24-48k.aiff", 48_000, 1, "-c:a pcm_s24be"),
    case("sox-16k.aiff", 16_000, 1, "sox"),
    case("s16-44k-stereo.caf", 44_100, 2, "-c:a pcm_s16le"),
    case("mulaw-8k.caf", 8_000, 1, "-c:a pcm_mulaw"),
    case("s16-48k-stereo.mov", 48_000, 2, "-c:a pcm_s16be"),
    case("s16-44k-stereo.mkv", 44_100, 2, "-c:a pcm_s16le"),
    // Lossless
    case("16k.flac", 16_000, 1, "-c:a flac"),
    case("44k-stereo.flac", 44_100, 2, "-c:a flac"),
    case("96k-s24-stereo.flac", 96_000, 2, "-c:a flac -sample_fmt s32"),
    case("48k-5.1.flac", 48_000, 6, "-c:a flac"),
    case("sox-22k.flac", 22_050, 1, "sox"),
    case("flac-48k-stereo.ogg", 48_000, 2, "-c:a flac"),
    case("flac-44k.mp4", 44_100, 1, "-c:a flac -strict -2"),
    case("flac-48k-stereo.mkv", 48_000, 2, "-c:a flac"),
    case("alac-44k-stereo.m4a", 44_100, 2, "-c:a alac"),
    case("alac-48k.m4a", 48_000, 1, "-c:a alac"),
    case("alac-44k.caf", 44_100, 1, "-c:a alac"),
    // MPEG audio
    case("128k-44k-stereo.mp3", 44_100, 2, "-c:a libmp3lame -b:a 128k"),
    case("vbr-48k-stereo.mp3", 48_000, 2, "-c:a libmp3lame -q:a 2"),
    case("64k-32k.mp3", 32_000, 1, "-c:a libmp3lame -b:a 64k"),
    case("lsf-22k.mp3", 22_050, 1, "-c:a libmp3lame -b:a 48k"),
    case("lsf-16k.mp3", 16_000, 1, "-c:a libmp3lame -b:a 32k"),
    case("mpeg25-8k.mp3", 8_000, 1, "-c:a libmp3lame -b:a 16k"),
    case("id3-44k-stereo.mp3", 44_100, 2, "-c:a libmp3lame -id3v2_version 3 -metadata title=Talk"),
    case("bare-44k-stereo.mp3", 44_100, 2, "-c:a libmp3lame -b:a 128k -write_xing 0")
        .padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("bare-vbr-48k.mp3", 48_000, 1, "-c:a libmp3lame -q:a 4 -write_xing 0")
        .padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("bare-16k.mp3", 16_000, 1, "-c:a libmp3lame -b:a 32k -write_xing 0")
        .padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("shine-44k-stereo.mp3", 44_100, 2, "-c:a libshine -b:a 128k -write_xing 0")
        .padded(LAME_DELAY, "ffmpeg keeps the delay of the encoder"),
    case("mp3-44k-stereo.mkv", 44_100, 2, "-c:a libmp3lame -b:a 128k")
        .padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("mp3-44k-stereo.mp4", 44_100, 2, "-c:a libmp3lame -b:a 128k").as_recorded(LAST_FRAME),
    case("192k-48k-stereo.mp2", 48_000, 2, "-c:a mp2 -b:a 192k")
        .padded(MP2_DELAY, FILTER_BANK),
    // AAC
    case("aac-44k-stereo.m4a", 44_100, 2, "-c:a aac -b:a 128k -aac_pns 0").as_recorded(LAST_FRAME),
    case("aac-48k.m4a", 48_000, 1, "-c:a aac -b:a 96k -aac_pns 0").as_recorded(LAST_FRAME),
    case("aac-16k.m4a", 16_000, 1, "-c:a aac -b:a 48k -aac_pns 0").as_recorded(LAST_FRAME),
    case("aac-default-44k.m4a", 44_100, 1, "-c:a aac -b:a 64k").as_recorded(LAST_FRAME),
    case("aac-48k-stereo.mov", 48_000, 2, "-c:a aac -b:a 128k -aac_pns 0").as_recorded(LAST_FRAME),
    case("aac-22k.3gp", 22_050, 1, "-c:a aac -b:a 48k -aac_pns 0").as_recorded(LAST_FRAME),
    case("aac-faststart.m4a", 44_100, 1, "-c:a aac -aac_pns 0 -b:a 96k -movflags +faststart").as_recorded(LAST_FRAME),
    case("aac-fragmented.mp4", 44_100, 2, "-c:a aac -aac_pns 0 -b:a 128k -movflags +frag_keyframe+empty_moov")
        .padded(AAC_PRIMING, AAC_UNTOLD),
    case("aac-dash.mp4", 48_000, 2, "-c:a aac -aac_pns 0 -b:a 128k -movflags +dash+delay_moov+frag_keyframe")
        .padded(AAC_PRIMING, AAC_UNTOLD),
    case("aac-44k-stereo.mkv", 44_100, 2, "-c:a aac -aac_pns 0 -b:a 128k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("44k-stereo.aac", 44_100, 2, "-c:a aac -aac_pns 0 -b:a 128k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("16k.aac", 16_000, 1, "-c:a aac -aac_pns 0 -b:a 48k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("video.mp4", 48_000, 2, "-f lavfi -i testsrc=size=64x64:rate=25:duration=5 -- -map 0 -map 1 -c:a aac -aac_pns 0 -b:a 128k")
        .as_recorded(LAST_FRAME),
    // Vorbis and Opus
    case("vorbis-44k-stereo.ogg", 44_100, 2, "-c:a libvorbis -q:a 4"),
    case("vorbis-16k.ogg", 16_000, 1, "-c:a libvorbis -q:a 2"),
    case("vorbis-5.1.ogg", 48_000, 6, "-c:a libvorbis -q:a 4"),
    case("vorbis-48k.webm", 48_000, 1, "-c:a libvorbis -q:a 4"),
    case("sox-44k-stereo.ogg", 44_100, 2, "sox -t ogg -C 4"),
    case("48k-stereo.opus", 48_000, 2, "-c:a libopus -b:a 96k").read_with(LIBOPUS),
    case("speech-16k.opus", 16_000, 1, "-c:a libopus -b:a 16k -application voip").read_with(LIBOPUS),
    case("2.5ms-48k.opus", 48_000, 1, "-c:a libopus -b:a 64k -frame_duration 2.5 -application lowdelay").read_with(LIBOPUS),
    case("60ms-16k.opus", 16_000, 1, "-c:a libopus -b:a 24k -frame_duration 60").read_with(LIBOPUS),
    case("opus-48k-stereo.webm", 48_000, 2, "-c:a libopus -b:a 96k").read_with(LIBOPUS),
    case("opus-16k.webm", 16_000, 1, "-c:a libopus -b:a 24k").read_with(LIBOPUS),
    case("opus-2.5ms.webm", 48_000, 1, "-c:a libopus -b:a 64k -frame_duration 2.5 -application lowdelay").read_with(LIBOPUS),
    case("opus-live.webm", 48_000, 1, "-c:a libopus -b:a 64k -live 1").read_with(LIBOPUS),
    case("opus-48k.mkv", 48_000, 1, "-c:a libopus -b:a 64k").read_with(LIBOPUS),
    case("opus-48k-stereo.mp4", 48_000, 2, "-c:a libopus -b:a 96k").read_with(LIBOPUS).as_recorded(LAST_FRAME),
    case("opus-fragmented.mp4", 48_000, 1, "-c:a libopus -b:a 64k -movflags +frag_keyframe+empty_moov").read_with(LIBOPUS),
    // By ffmpeg
    case("aac-5.1.m4a", 48_000, 6, "-c:a aac -b:a 256k"),
    case("opus-5.1.opus", 48_000, 6, "-c:a libopus -b:a 256k"),
    case("opus-5.1.webm", 48_000, 6, "-c:a libopus -b:a 256k"),
    case("aac-5.1.mkv", 48_000, 6, "-c:a aac -b:a 256k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("aac-5.1.aac", 48_000, 6, "-c:a aac -b:a 256k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("ac3-48k-stereo.ac3", 48_000, 2, "-c:a ac3 -b:a 192k"),
    case("eac3-48k-stereo.eac3", 48_000, 2, "-c:a eac3 -b:a 192k"),
    case("ac3-5.1.mkv", 48_000, 6, "-c:a ac3 -b:a 384k"),
    case("ac3-48k.mp4", 48_000, 1, "-c:a ac3 -b:a 96k"),
    case("dts-48k-stereo.dts", 48_000, 2, "-c:a dca -strict -2").padded("atrim=start_sample=512", FILTER_BANK),
    case("wma-44k-stereo.wma", 44_100, 2, "-c:a wmav2 -b:a 128k").late(50.0, AS_FFMPEG),
    case("wma1-22k.wma", 22_050, 1, "-c:a wmav1 -b:a 64k").late(50.0, AS_FFMPEG),
    case("gsm-8k.wav", 8_000, 1, "-c:a libgsm_ms"),
    case("sox-gsm-8k.wav", 8_000, 1, "sox -e gsm"),
    case("speex-16k.ogg", 16_000, 1, "-c:a libspeex").late(15.0, "the encoder looks ahead and does not tell"),
    case("wavpack-44k-stereo.wv", 44_100, 2, "-c:a wavpack"),
    case("tta-44k-stereo.tta", 44_100, 2, "-c:a tta"),
    case("s16-44k-stereo.au", 44_100, 2, "-c:a pcm_s16be"),
    case("mulaw-8k.au", 8_000, 1, "-c:a pcm_mulaw"),
    case("mp2-48k-stereo.ts", 48_000, 2, "-c:a mp2 -b:a 192k").padded(MP2_DELAY, FILTER_BANK),
    case("aac-48k-stereo.ts", 48_000, 2, "-c:a aac -b:a 128k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("mp2-48k-stereo.mpg", 48_000, 2, "-c:a mp2 -b:a 192k").padded(MP2_DELAY, FILTER_BANK),
    case("aac-44k.flv", 44_100, 1, "-c:a aac -b:a 96k").padded(AAC_PRIMING, AAC_UNTOLD),
    case("mp3-44k-stereo.avi", 44_100, 2, "-c:a libmp3lame -b:a 128k").padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("mp3-44k.flv", 44_100, 1, "-c:a libmp3lame -b:a 96k").padded(LAME_DELAY, "ffmpeg keeps the delay of LAME"),
    case("s16-48k-stereo.w64", 48_000, 2, "-c:a pcm_s16le"),
    case("rf64-48k-stereo.wav", 48_000, 2, "-c:a pcm_s16le -rf64 always"),
    case("g722-16k.wav", 16_000, 1, "-c:a g722"),
    case("g726-8k.wav", 8_000, 1, "-c:a g726"),
    case("sox-8k.voc", 8_000, 1, "sox"),
    case("sox-16k.sph", 16_000, 1, "sox"),
    case("amr-nb-8k.amr", 8_000, 1, "sox -t amr-nb -C 7")
        .padded("aresample=async=1:min_hard_comp=0.06", "ffmpeg leaves out pauses that the encoder did (DTX)"),
];

/// What LAME and decoders put before the audio: 576 and 529 frames.
const LAME_DELAY: &str = "atrim=start_sample=1105";

const MP2_DELAY: &str = "atrim=start_sample=481";

const FILTER_BANK: &str = "ffmpeg keeps the delay of the filter bank";

/// The first frame of AAC is half of an overlap.
const AAC_PRIMING: &str = "atrim=start_sample=1024";

const AS_FFMPEG: &str = "as ffmpeg decodes it, whose start the file does not tell";

const LAST_FRAME: &str = "ffmpeg keeps the last frame's padding";

const AAC_UNTOLD: &str = "ffmpeg keeps priming that the file does not tell";
