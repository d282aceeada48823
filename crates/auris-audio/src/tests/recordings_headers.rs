//! Recordings whose headers are wrong, and files that hold several: by where they are loud, since
//! what is said does not matter here. ../../../../tests/fixtures/recordings has the files.

use super::channels::wav_of;
use super::chunks::chunks_of;
use super::*;

/// The seconds at which sentences begin: something loud after 0.8 s without.
fn onsets(samples: &[f32]) -> Vec<f64> {
    let mut onsets = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for (step, part) in samples.chunks(160).enumerate() {
        let power = part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32;
        if power.sqrt() > 0.015 {
            let now = step as f64 / 100.0;
            if now - last > 0.8 {
                onsets.push(now);
            }
            last = now;
        }
    }
    onsets
}

#[track_caller]
fn check_decoded(name: &str, decoded: &Decoded, expected: &[f64], seconds: f64) {
    let found = onsets(&decoded.samples);
    let near = found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 0.15);
    assert!(near && found.len() == expected.len(), "{name}: {found:?} s");
    let length = decoded.samples.len() as f64 / 16_000.0;
    assert!((length - seconds).abs() < 0.15, "{name} is {length} s long");
    assert!(!decoded.truncated, "{name} taken for truncated");
}

#[track_caller]
fn check(name: &str, expected: &[f64], seconds: f64) {
    check_decoded(name, &decode_fixture(&format!("recordings/{name}")).unwrap(), expected, seconds);
}

#[test]
fn mpeg_audio_may_change_its_layout() {
    check("4-mp3-changes-layout/mix_sm.mp3", &[0.16, 3.74], 6.85);
    check("4-mp3-changes-layout/cat_rates.mp3", &[0.22, 3.5], 6.79);
    check("4-mp3-changes-layout/layer_2_to_3.mp3", &[0.24, 3.6, 6.94], 10.2);
    check("4-mp3-changes-layout/to_and_fro.mp3", &[0.24, 3.6, 6.94, 10.33], 13.5);
}

#[test]
fn headers_that_were_never_finished_are_completed() {
    for name in ["all_zero_sizes.wav", "avaudiofile_unfinished.wav", "pywave_unfinished.wav"] {
        check(&format!("5-wav-header-never-finished/{name}"), &[0.22], 3.33);
    }
}

#[test]
fn sizes_that_disagree_are_not_believed() {
    for name in [
        "caf_ok.caf",
        "dsize_odd_trunc.wav",
        "elevenlabs_7f.wav",
        "pipe.caf",
        "riff_minus8.wav",
        "riff_ok_data_ff.wav",
        "size_2e9.wav",
    ] {
        check(&format!("6-wav-sizes-that-disagree/{name}"), &[0.22], 3.33);
    }
}

#[test]
fn joined_recordings_follow_each_other() {
    for name in ["cat.flac", "cat.webm", "cat.opus"] {
        check(&format!("9-joined-recordings/{name}"), &[0.22, 3.5], 6.78);
    }
    check("9-joined-recordings/cat_rates.aac", &[0.24, 3.6, 6.94], 10.2);
    check("9-joined-recordings/live_then_closed.webm", &[0.24, 3.6], 6.66);
}

#[test]
fn one_channel_upside_down_is_heard() {
    check("10-out-of-phase-stereo/inv.wav", &[0.22], 3.33);
    check("10-out-of-phase-stereo/inv.ogg", &[0.22], 3.33);
}

#[test]
fn ima4_keeps_its_times() {
    check("14-caf-ima4/full_ima.caf", &[0.22, 9.46], 12.78);
    check("14-caf-ima4/stereo_22k.caf", &[0.22], 3.33);
    check("14-caf-ima4/size_unknown.caf", &[0.22], 3.33);
}

/// Detection finds the first vowel of the second sentence too soft after digital silence.
#[test]
fn speech_after_long_silence_begins_with_its_first_vowel() {
    let file = File::open(fixture("recordings/14-caf-ima4/full_ima.caf")).unwrap();
    let chunks = chunks_of(file, ChunkPolicy::default());
    let speech = |chunk: &Chunk| chunk.start_sample as usize + chunk.speech[0].start;
    let starts: Vec<f64> = chunks.iter().map(|c| speech(c) as f64 / 16_000.0).collect();
    let [first, second] = starts[..] else { panic!("{starts:?}") };
    assert!((first - 0.25).abs() < 0.06 && (second - 9.5).abs() < 0.06, "{starts:?}");
}

/// A sentence as a WAV file of 16 bits, with a header of 44 bytes.
pub(super) fn sentence() -> Vec<u8> {
    let name = "recordings/5-wav-header-never-finished/all_zero_sizes.wav";
    let samples = decode_fixture(name).unwrap().samples;
    wav_of(&[samples])
}

/// Checks that a file has all samples of [`sentence`], and no other.
#[track_caller]
fn check_same(name: &str, bytes: &[u8]) {
    assert!(!check_samples(name, bytes), "{name} taken for truncated");
}

/// The same for a file that may be taken for truncated; returns whether it is.
#[track_caller]
pub(super) fn check_samples(name: &str, bytes: &[u8]) -> bool {
    let decoded = decode_bytes(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = decode_bytes(&sentence()).unwrap().samples;
    assert_eq!(decoded.samples.len(), expected.len(), "{name}");
    assert_eq!(decoded.samples, expected, "{name}");
    decoded.truncated
}

/// A chunk of a WAV file.
pub(super) fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [&id[..], &(body.len() as u32).to_le_bytes(), body, &padding].concat()
}

#[test]
fn any_sizes_give_all_samples() {
    let whole = sentence();
    let data = (whole.len() - 44) as u32;
    let sizes = [0, 8, 36, data, data + 36, data * 2 + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for riff in sizes {
        for samples in sizes {
            let mut bytes = whole.clone();
            bytes[4..8].copy_from_slice(&riff.to_le_bytes());
            bytes[40..44].copy_from_slice(&samples.to_le_bytes());
            let name = format!("sizes {riff:#x} and {samples:#x}");
            // If both promise more, and it is no number that stands for none, something is missing.
            let expected = riff > data + 36 && (data + 1..0x7000_0000).contains(&samples);
            assert_eq!(check_samples(&name, &bytes), expected, "{name}");
        }
    }
}

#[test]
fn what_is_behind_the_samples_is_no_sample() {
    let tags =
        chunk(b"LIST", &[b"INFOISFT", &14_u32.to_le_bytes()[..], b"Lavf59.27.100\0"].concat());
    for (name, rest) in [
        ("a list", tags.clone()),
        ("a list that breaks off", tags[..20].to_vec()),
        ("an unknown chunk", [chunk(b"abcd", &[7; 99]), tags].concat()),
        ("an ID3v1 tag", [b"TAG".to_vec(), vec![b'x'; 125]].concat()),
        ("an ID3v2 tag", [b"ID3\x04\0\0\0\0\x07\x68".to_vec(), vec![b'x'; 1_000]].concat()),
        ("zeros", vec![0; 10_000]),
        ("some bytes", vec![1; 9]),
    ] {
        check_same(name, &[sentence(), rest].concat());
    }
}

#[test]
fn chunks_before_the_samples_are_skipped() {
    let whole = sentence();
    for (name, before) in [
        ("padding", chunk(b"JUNK", &[0; 28])),
        ("an odd chunk", chunk(b"bext", &[b'x'; 603])),
        ("an odd chunk without padding", chunk(b"note", b"abc")[..11].to_vec()),
        ("a chunk of wrong size", [&b"fact\x09\0\0\0"[..], &[0; 4]].concat()),
        ("a chunk beyond the file", [&b"PAD \0\0\0\x40"[..], &[0; 40]].concat()),
    ] {
        check_same(name, &[&whole[..12], &before, &whole[12..]].concat());
        check_same(name, &[&whole[..36], &before, &whole[36..]].concat());
    }
}

/// A WAV file with this chunk `fmt ` and these samples.
pub(super) fn wav(format: &[u8], samples: &[u8]) -> Vec<u8> {
    let chunks = [b"WAVE".to_vec(), chunk(b"fmt ", format), chunk(b"data", samples)].concat();
    chunk(b"RIFF", &chunks)
}

fn format(tag: u16, channels: u16, block: u16, bits: u16, rest: &[u8]) -> Vec<u8> {
    let rate = 16_000_u32;
    let byte_rate = rate * u32::from(block);
    let head = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    let tail = [block.to_le_bytes(), bits.to_le_bytes()].concat();
    [&head[..], &rate.to_le_bytes(), &byte_rate.to_le_bytes(), &tail, rest].concat()
}

#[test]
fn formats_that_contradict_themselves_are_read() {
    let whole = sentence();
    let samples = &whole[44..];
    let guid = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
    let extension = |size: u16, tag: u16, mask: u32| {
        let bits = 16_u16.to_le_bytes();
        [&size.to_le_bytes()[..], &bits, &mask.to_le_bytes(), &tag.to_le_bytes(), guid].concat()
    };
    for (name, format) in [
        ("18 bytes", format(1, 1, 2, 16, &[0, 0])),
        ("an extension that is none", format(1, 1, 2, 16, &[4, 0, 1, 2, 3, 4])),
        ("a wrong block", format(1, 1, 4, 16, &[])),
        ("no block", format(1, 1, 0, 16, &[])),
        ("no bits", format(1, 1, 2, 0, &[])),
        ("14 bytes", format(1, 1, 2, 16, &[])[..14].to_vec()),
        ("extensible", format(0xfffe, 1, 2, 16, &extension(22, 1, 4))),
        ("extensible of wrong size", format(0xfffe, 1, 2, 16, &extension(24, 1, 0xffff_ffff))),
        ("extensible without extension", format(0xfffe, 1, 2, 16, &[])),
    ] {
        check_same(name, &wav(&format, samples));
    }
}

#[test]
fn telephone_recordings_have_short_headers() {
    for (tag, name) in [(6, "wav-alaw.wav"), (7, "wav-mulaw.wav")] {
        let long = fixture_bytes(&format!("codecs/{name}"));
        let data = long.windows(4).position(|window| window == b"data").unwrap();
        let samples = &long[data + 8..][..16_000];
        let expected = decode_bytes(&long).unwrap().samples;
        for rest in [&[][..], &[0, 0], &[2, 0, 1, 2]] {
            let short = wav(&format(tag, 1, 1, 8, rest), samples);
            assert_eq!(decode_bytes(&short).unwrap().samples, expected, "{name} and {rest:?}");
        }
        let wrong = wav(&format(tag, 1, 2, 16, &[]), samples);
        assert_eq!(decode_bytes(&wrong).unwrap().samples, expected, "{name} with 16 bits");
    }
}

#[test]
fn wav_files_with_sizes_of_64_bits_are_read() {
    let expected = decode_fixture("codecs/speech.wav").unwrap().samples[..3_200].to_vec();
    for name in ["rf64.wav", "w64.w64"] {
        let whole = fixture_bytes(&format!("codecs/{name}"));
        assert_eq!(decode_bytes(&whole).unwrap().samples, expected, "{name}");
        // The size of the samples, which neither file has in its last 6,400 bytes.
        let (header, samples) = whole.split_at(whole.len() - 6_400);
        let needle: Vec<u8> = match name {
            "rf64.wav" => 6_400_u64.to_le_bytes().to_vec(),
            _ => 6_424_u64.to_le_bytes().to_vec(),
        };
        let at = header.windows(8).position(|window| window == needle).unwrap();
        for size in [0, u64::MAX, 1 << 40] {
            let mut broken = header.to_vec();
            broken[at..at + 8].copy_from_slice(&size.to_le_bytes());
            let broken = [&broken[..], samples].concat();
            assert_eq!(decode_bytes(&broken).unwrap().samples, expected, "{name} of {size}");
        }
    }
}

#[test]
fn mp3_in_wav_is_read_as_mp3() {
    let mp3 = fixture_bytes("codecs/mp3-cbr.mp3");
    let decoded = decode_bytes(&wav(&format(0x55, 2, 1, 0, &[12, 0]), &mp3)).unwrap();
    assert_eq!(decoded.samples, decode_bytes(&mp3).unwrap().samples);
}

#[test]
fn aiff_and_caf_of_wrong_sizes_are_read() {
    for (name, mark, width) in [("aiff.aiff", b"SSND", 4), ("caf.caf", b"data", 8)] {
        let whole = fixture_bytes(&format!("codecs/{name}"));
        let expected = decode_bytes(&whole).unwrap().samples;
        let at = whole.windows(4).position(|window| window == mark).unwrap() + 4;
        for size in [0, 12, 1_000_000, 0x7fff_ffff, u32::MAX] {
            let mut broken = whole.clone();
            broken[at..at + width].fill(if size == u32::MAX { 0xff } else { 0 });
            broken[at + width - 4..at + width].copy_from_slice(&size.to_be_bytes());
            let samples = decode_bytes(&broken).unwrap().samples;
            // ffmpeg's tags at the end of the AIFF file may be taken for samples.
            assert_eq!(samples[..expected.len()], expected, "{name} of {size}");
        }
    }
}

#[test]
fn a_wav_file_that_breaks_off_is_truncated() {
    let whole = sentence();
    let half = decode_bytes(&whole[..whole.len() / 2]).unwrap();
    assert!(half.truncated && half.samples.len() > 26_000);
}
