//! Which channels of a track are decoded, and how split channels are cut.

use super::chunks::eval;
use super::*;
use auris_core::recording::Channel;

/// A WAV file at 16 kHz with these channels, all as long as the longest.
pub(super) fn wav_of(channels: &[Vec<f32>]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: channels.len() as u16,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for frame in 0..channels.iter().map(Vec::len).max().unwrap_or(0) {
        for channel in channels {
            let sample = channel.get(frame).copied().unwrap_or(0.0);
            writer.write_sample((sample * 32_768.0) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn samples_of(name: &str) -> Vec<f32> {
    decode(eval(name), &Limits::default()).unwrap().samples
}

/// A clip after some seconds of silence.
fn late(name: &str, seconds: usize) -> Vec<f32> {
    [vec![0.0; seconds * 16_000], samples_of(name)].concat()
}

fn signals(
    channels: &[Vec<f32>],
    choice: &str,
) -> Result<(TranscribedParts, Vec<Vec<f32>>), AudioError> {
    decode_selected(file_of(&wav_of(channels)), &Limits::default(), ("", choice))
}

#[test]
fn channels_can_be_single_mixed_or_split() {
    let (left, right) = (vec![0.25; 16_000], vec![-0.5; 16_000]);
    let stereo = [left.clone(), right.clone()];
    for (choice, expected) in [
        ("left", vec![left.clone()]),
        ("right", vec![right.clone()]),
        ("1", vec![left.clone()]),
        ("2", vec![right.clone()]),
        ("mix", vec![vec![-0.125; 16_000]]),
        ("split", vec![left, right]),
    ] {
        let (parts, found) = signals(&stereo, choice).unwrap();
        assert_eq!(found, expected, "{choice}");
        let split = if choice == "split" { Channel::all(2) } else { Vec::new() };
        assert_eq!(parts.split, split, "{choice}");
    }
}

#[test]
fn split_channels_are_resampled_each() {
    let file = tone_wav(44_100, 2, 1.5, 440.0);
    let (_, both) = decode_selected(file_of(&file), &Limits::default(), ("", "split")).unwrap();
    let mixed = decode_bytes(&file).unwrap().samples;
    assert_eq!(both, [mixed.clone(), mixed]);
}

#[test]
fn one_channel_is_neither_left_nor_right() {
    let mono = [vec![0.25; 1_600]];
    for choice in ["left", "right", "2"] {
        let error = signals(&mono, choice).unwrap_err();
        assert!(matches!(error, AudioError::NoChannel { found: 1, .. }), "{error}");
        assert!(error.to_string().starts_with("the audio has 1 channel, of which none is"));
    }
    for choice in ["mix", "1", "split"] {
        assert_eq!(signals(&mono, choice).unwrap().1, mono, "{choice}");
    }
    assert_eq!(signals(&mono, "split").unwrap().0.split, [Channel::Number(1)]);
    let error = signals(&vec![vec![0.0; 160]; 4], "5").unwrap_err();
    assert!(error.to_string().contains("4 channels, of which none is 5"), "{error}");
}

#[test]
fn more_than_two_channels_have_numbers() {
    let many: Vec<Vec<f32>> = (1..=6).map(|n| vec![f32::from(n as u8) / 8.0; 1_600]).collect();
    let (parts, found) = signals(&many, "split").unwrap();
    assert_eq!(found, many);
    assert_eq!(parts.split, Channel::all(6));
    assert_eq!(signals(&many, "right").unwrap().1, many[1..2]);
}

#[test]
fn channels_that_are_split_count_each_against_the_longest_audio() {
    let file = tone_wav(16_000, 2, 3.0, 440.0);
    let limits = Limits { max_duration: Duration::from_secs(5), ..Limits::default() };
    decode_selected(file_of(&file), &limits, ("", "left")).unwrap();
    let error = decode_selected(file_of(&file), &limits, ("", "split")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the audio of its 2 channels together is longer than 5 seconds: send it in shorter parts"
    );
}

fn split_chunks(channels: &[Vec<f32>], policy: ChunkPolicy) -> (Vec<Chunk>, u64) {
    let selection = Selection { channel: "split".parse().unwrap(), ..Selection::default() };
    let file = file_of(&wav_of(channels));
    let stream = AudioStream::open_selected(file, &Limits::default(), &selection).unwrap();
    let mut chunks = Chunks::new(stream, policy);
    let all: Vec<Chunk> = std::iter::from_fn(|| chunks.next_chunk().unwrap()).collect();
    (all, chunks.silent_samples())
}

#[test]
fn each_channel_is_cut_as_it_would_be_alone_and_chunks_come_in_order_of_time() {
    // Both are longer than a chunk; one channel begins later and ends earlier.
    let (left, right) = (samples_of("28.flac"), late("29.flac", 12));
    let both = [left.clone(), right.clone()];
    let (chunks, silent) = split_chunks(&both, ChunkPolicy::default());
    let starts: Vec<u64> = chunks.iter().map(|chunk| chunk.start_sample).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert!(chunks.iter().map(|chunk| chunk.index).eq(0..chunks.len()));
    let mut silent_alone = 0;
    for (samples, channel) in both.iter().zip(Channel::all(2)) {
        // As long as the file.
        let longest = left.len().max(right.len());
        let alone = [samples.clone(), vec![0.0; longest - samples.len()]].concat();
        let stream = AudioStream::open(file_of(&wav_of(&[alone])), &Limits::default()).unwrap();
        let mut expected = Chunks::new(stream, ChunkPolicy::default());
        let of_channel = chunks.iter().filter(|chunk| chunk.channel == Some(channel));
        let mut count = 0;
        for chunk in of_channel {
            let own = expected.next_chunk().unwrap().unwrap();
            assert_eq!((chunk.start_sample, &chunk.samples), (own.start_sample, &own.samples));
            count += 1;
        }
        assert!(count > 1, "{channel} is one chunk");
        assert_eq!(expected.next_chunk().unwrap(), None);
        silent_alone += expected.silent_samples();
    }
    assert_eq!(silent, silent_alone);
    assert!(silent > 10 * 16_000, "the silence of a channel is not left out");
}

#[test]
fn a_channel_that_says_nothing_costs_nothing() {
    let (chunks, silent) =
        split_chunks(&[samples_of("00.flac"), Vec::new()], ChunkPolicy::default());
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].channel, Some(Channel::Left));
    assert!(silent >= samples_of("00.flac").len() as u64);
}

#[test]
fn without_looking_for_speech_split_channels_lose_nothing() {
    let both = [samples_of("28.flac"), late("29.flac", 5)];
    let (chunks, silent) = split_chunks(&both, ChunkPolicy { vad: None, ..ChunkPolicy::default() });
    assert_eq!(silent, 0);
    for (samples, channel) in both.iter().zip(Channel::all(2)) {
        let own = chunks.iter().filter(|chunk| chunk.channel == Some(channel));
        let whole: Vec<f32> = own.flat_map(|chunk| chunk.samples.iter().copied()).collect();
        assert_eq!(whole[..samples.len()], samples[..], "{channel}");
    }
}
