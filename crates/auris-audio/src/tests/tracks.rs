//! Which track of a file is decoded.

use std::os::unix::fs::PermissionsExt;

use super::*;
use auris_core::recording::Track;

/// The signal of a track of a fixture, and what is reported of the file's tracks.
fn track(
    name: &str,
    choice: &str,
    limits: &Limits,
) -> Result<(TranscribedParts, Vec<f32>), AudioError> {
    let file = File::open(fixture(&format!("codecs/{name}"))).unwrap();
    let (parts, mut signals) = decode_selected(file, limits, (choice, "mix"))?;
    Ok((parts, signals.swap_remove(0)))
}

/// A script in ffmpeg's place that lists two tracks, and makes of the first the sentence and of the
/// second half a second of a tone. What the real one makes of them is in tests/codecs.
struct Script {
    _folder: tempfile::TempDir,
    limits: Limits,
}

impl Script {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [programs, libraries] = ["bin", "lib"].map(|name| folder.path().join(name));
        std::fs::create_dir(&programs).unwrap();
        std::fs::create_dir(&libraries).unwrap();
        let program = programs.join("ffmpeg");
        std::fs::write(libraries.join("2.wav"), tone_wav(16_000, 1, 0.5, 440.0)).unwrap();
        std::fs::copy(fixture("codecs/speech.wav"), libraries.join("1.wav")).unwrap();
        let script = "#!/bin/sh\n\
             case \"$*\" in\n\
             *'-map 0:a:0 '*' pipe:1') cat \"${0%/*}/../lib/1.wav\";;\n\
             *'-map 0:a:1 '*' pipe:1') cat \"${0%/*}/../lib/2.wav\";;\n\
             *' pipe:1') exit 1;;\n\
             *) printf '  Stream #0:0[0x100](eng): Audio: mp2, 16000 Hz, mono, s16p\\n' >&2\n\
             printf '  Stream #0:1[0x101](hin): Audio: mp2, 16000 Hz, stereo, s16p\\n' >&2; exit 1;;\n\
             esac\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ffmpeg = Some(Ffmpeg::new(program).unwrap());
        Self { _folder: folder, limits: Limits { ffmpeg, ..Limits::default() } }
    }

    /// The number and the length of the track that is chosen.
    fn chosen(&self, name: &str, choice: &str) -> (Option<u32>, usize) {
        let (parts, samples) = track(name, choice, &self.limits).unwrap();
        (parts.track, samples.len())
    }
}

/// How alike two signals are, from -1 to 1, if one may be some milliseconds late.
fn likeness(one: &[f32], other: &[f32]) -> f64 {
    let at = |delay: usize| {
        let pairs = one.iter().skip(200).zip(&other[delay..]);
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (a, b) in pairs {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt()
    };
    (0..2_000).map(at).fold(-1.0, f64::max)
}

/// Checks that the choice gives the sentence, or the same backwards.
#[track_caller]
fn check(name: &str, choice: &str, limits: &Limits, number: u32, is_backwards: bool) {
    let mut speech = decode_fixture("codecs/speech.wav").unwrap().samples;
    let (parts, samples) = track(name, choice, limits).unwrap();
    assert_eq!(parts.track, Some(number), "{name} {choice}");
    let languages: Vec<_> = parts.tracks.iter().map(|track| track.language.as_deref()).collect();
    assert_eq!(languages, [Some("eng"), Some("hin")], "{name}");
    let forwards = likeness(&speech[..samples.len().min(7_000)], &samples);
    speech.reverse();
    let backwards = likeness(&speech[..samples.len().min(7_000)], &samples);
    assert_eq!(backwards > forwards, is_backwards, "{name} {choice}: {forwards} {backwards}");
    assert!(forwards.max(backwards) > 0.9, "{name} {choice}: {forwards} {backwards}");
}

#[test]
fn a_track_is_chosen_by_its_number_or_its_language() {
    let limits = Limits::default();
    for (choice, number, is_backwards) in
        [("", 1, false), ("1", 1, false), ("2", 2, true), ("hin", 2, true), ("ENG", 1, false)]
    {
        check("tracks.mp4", choice, &limits, number, is_backwards);
    }
    check("tracks-ac3.mkv", "2", &limits, 2, true);
}

#[test]
fn a_track_without_a_decoder_is_counted_and_goes_to_ffmpeg() {
    let refused = track("tracks-ac3.mkv", "eng", &Limits::default()).unwrap_err();
    assert!(
        matches!(&refused, AudioError::NeedsFfmpeg { codec: Some(codec), .. } if codec == "AC-3"),
        "{refused}"
    );
    let ffmpeg = Script::new();
    assert_eq!(ffmpeg.chosen("tracks-ac3.mkv", "eng"), (Some(1), 16_000));
    check("tracks-ac3.mkv", "2", &ffmpeg.limits, 2, true);
    // As without a choice: the first track that has a decoder.
    check("tracks-ac3.mkv", "", &ffmpeg.limits, 2, true);
}

#[test]
fn ffmpeg_takes_the_chosen_track_of_its_own_formats() {
    let ffmpeg = Script::new();
    for (choice, number, length) in
        [("", 1, 16_000), ("1", 1, 16_000), ("2", 2, 8_000), ("HIN", 2, 8_000)]
    {
        assert_eq!(ffmpeg.chosen("tracks.ts", choice), (Some(number), length), "{choice}");
    }
}

#[track_caller]
fn check_refused(name: &str, choice: &str, limits: &Limits, expected: &str) {
    let error = track(name, choice, limits).unwrap_err();
    assert!(matches!(error, AudioError::NoTrack { .. }), "{name} {choice}: {error:?}");
    assert!(error.to_string().ends_with(expected), "{name} {choice}: {error}");
}

#[test]
fn who_asks_for_a_track_that_is_not_there_is_reported_which_are() {
    let limits = Limits::default();
    let both = "no audio track 3: it has 1 (aac, eng), 2 (aac, hin)";
    check_refused("tracks.mp4", "3", &limits, both);
    let both = "no audio track tam: it has 1 (AC-3, eng, 1 channel), 2 (opus, hin, 1 channel)";
    check_refused("tracks-ac3.mkv", "tam", &limits, both);
    check_refused("speech.wav", "2", &limits, "it has 1 (pcm_s16le, 1 channel)");
    check_refused("speech.wav", "eng", &limits, "it has 1 (pcm_s16le, 1 channel)");
    let both = "no audio track 3: it has 1 (mp2, eng, 1 channel), 2 (mp2, hin, 2 channels)";
    check_refused("tracks.ts", "3", &Script::new().limits, both);
}

#[test]
fn the_only_track_is_the_first_of_any_format() {
    for name in ["speech.wav", "flac.flac", "ogg-opus.opus", "mp3-cbr.mp3", "video.mp4"] {
        let (parts, samples) = track(name, "1", &Limits::default()).unwrap();
        assert_eq!((parts.track, parts.tracks.len()), (Some(1), 1), "{name}");
        assert!(samples.len() > 15_000, "{name}");
    }
}

#[test]
fn a_file_without_audio_has_no_track_to_choose() {
    let finds_nothing = Some(Ffmpeg::new("/bin/false".into()).unwrap());
    for ffmpeg in [None, finds_nothing] {
        let limits = Limits { ffmpeg, ..Limits::default() };
        let error = track("video-only.mp4", "2", &limits).unwrap_err();
        assert!(matches!(error, AudioError::NoAudioTrack { .. }), "{error}");
    }
}

#[test]
fn tracks_tell_codec_language_and_channels() {
    let (parts, _) = track("tracks.mkv", "", &Limits::default()).unwrap();
    let track = |number, language: &str| Track {
        number,
        codec: "opus".to_owned(),
        language: Some(language.to_owned()),
        channels: Some(1),
    };
    assert_eq!(parts.tracks, [track(1, "eng"), track(2, "hin")]);
}
