//! Speech found, silence left out.

use super::chunks::{chunks_of, eval, sentences};
use super::*;

const SECOND: usize = SAMPLE_RATE_HZ as usize;

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE_HZ)
}

fn silence(seconds: f64) -> Vec<f32> {
    vec![0.0; (seconds * SECOND as f64) as usize]
}

/// Noise of a level (root mean square of full scale), white or pink (Paul Kellet's filter).
fn noise(seconds: f64, level: f32, pink: bool) -> Vec<f32> {
    let mut state = 1_u32;
    let mut poles = [0.0_f32; 3];
    let mut samples: Vec<f32> = (0..(seconds * SECOND as f64) as usize)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            if !pink {
                return white;
            }
            poles[0] = 0.997_65 * poles[0] + white * 0.099_046;
            poles[1] = 0.963 * poles[1] + white * 0.296_516_4;
            poles[2] = 0.57 * poles[2] + white * 1.052_691_3;
            poles.iter().sum::<f32>() + white * 0.184_8
        })
        .collect();
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
    samples.iter_mut().for_each(|sample| *sample *= level / power.sqrt());
    samples
}

fn speech(name: &str) -> Vec<f32> {
    decode_fixture(&format!("eval/{name}")).unwrap().samples
}

fn wav(samples: &[f32]) -> File {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE_HZ,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    file_of(&bytes.into_inner())
}

/// Start and end of each chunk in seconds.
fn cut(samples: &[f32], policy: ChunkPolicy) -> Vec<(f64, f64)> {
    let chunks = chunks_of(wav(samples), policy);
    for (chunk, index) in chunks.iter().zip(0..) {
        let start = chunk.start_sample as usize;
        assert_eq!(chunk.index, index);
        assert_eq!(chunk.samples[..], samples[start..start + chunk.samples.len()]);
        assert!(chunk.duration() <= policy.max);
        let spans = &chunk.speech;
        assert!(!spans.is_empty() && spans.iter().all(|span| !span.is_empty()), "{spans:?}");
        assert!(spans.is_sorted_by(|one, next| one.end < next.start), "{spans:?}");
        assert!(spans.iter().all(|span| span.end <= chunk.samples.len()), "{spans:?}");
    }
    chunks
        .iter()
        .map(|chunk| (chunk.start_sample, chunk.start_sample + chunk.samples.len() as u64))
        .map(|(start, end)| (seconds(start), seconds(end)))
        .collect()
}

fn server_vad(silence_ms: u64, padding_ms: u64) -> ChunkPolicy {
    let vad = Vad {
        silence: Duration::from_millis(silence_ms),
        padding: Duration::from_millis(padding_ms),
        ..Vad::default()
    };
    ChunkPolicy { vad: Some(vad), ..ChunkPolicy::default() }
}

/// The root mean square of the sentences of a file.
fn level_of(samples: &[f32], sentences: &[(f64, f64)]) -> f32 {
    let at = |seconds: f64| ((seconds * SECOND as f64) as usize).min(samples.len());
    let spoken = sentences.iter().flat_map(|(start, end)| &samples[at(*start)..at(*end)]);
    let (sum, count) = spoken.fold((0.0, 0.0), |(sum, n), sample| (sum + sample * sample, n + 1.0));
    f32::sqrt(sum / count)
}

/// Speech at `speech_db` of full scale beside `noise`, which is quieter by `below_db`.
#[track_caller]
fn check_no_sentence_is_lost(speech_db: f32, noise: impl Fn(f64, f32) -> Vec<f32>, below_db: f32) {
    let ratio = |db: f32| 10_f32.powf(db / 20.0);
    for number in 0..31 {
        let name = format!("{number:02}.flac");
        let spoken = sentences(&name);
        let mut samples = speech(&name);
        let gain = ratio(speech_db) / level_of(&samples, &spoken);
        let noise = noise(seconds(samples.len() as u64), ratio(speech_db - below_db));
        samples.iter_mut().zip(noise).for_each(|(sample, noise)| {
            *sample = (*sample * gain + noise).clamp(-1.0, 1.0);
        });
        let chunks = cut(&samples, ChunkPolicy::default());
        for (start, end) in spoken {
            let held = |chunk: &(f64, f64)| chunk.0 <= start && end <= chunk.1;
            let what = format!("{name} at {speech_db} dB, noise {below_db} dB below it");
            assert!(chunks.iter().any(held), "{what}: {start} to {end} is not in {chunks:?}");
        }
    }
}

fn no_noise(seconds: f64, _: f32) -> Vec<f32> {
    silence(seconds)
}

#[test]
fn no_sentence_is_left_out_however_loud_it_is() {
    for level_db in [-12.0, -20.0, -30.0, -40.0, -50.0] {
        check_no_sentence_is_lost(level_db, no_noise, 0.0);
    }
}

#[test]
fn no_sentence_is_left_out_beside_noise() {
    for below_db in [20.0, 10.0, 5.0] {
        for pink in [false, true] {
            let noise = |seconds, level| noise(seconds, level, pink);
            check_no_sentence_is_lost(-20.0, noise, below_db);
        }
    }
}

#[test]
fn no_sentence_is_left_out_beside_a_tone_or_a_chord() {
    let tone = |seconds, level| sum_of(&[440.0], seconds, level);
    check_no_sentence_is_lost(-20.0, tone, 10.0);
    check_no_sentence_is_lost(-20.0, |seconds, level| sum_of(CHORD, seconds, level), 10.0);
}

const CHORD: &[f32] = &[261.6, 329.6, 392.0];

/// Tones together, with `level` as their root mean square.
fn sum_of(frequencies_hz: &[f32], seconds: f64, level: f32) -> Vec<f32> {
    let peak = level * (2.0 / frequencies_hz.len() as f32).sqrt();
    let tone = |n: usize, frequency: &f32| {
        (n as f64 / SECOND as f64 * f64::from(*frequency) * std::f64::consts::TAU).sin() as f32
    };
    let sum = |n| frequencies_hz.iter().map(|frequency| tone(n, frequency)).sum::<f32>() * peak;
    (0..(seconds * SECOND as f64) as usize).map(sum).collect()
}

/// The same sound, five times too loud for what it went through.
fn clipped(samples: Vec<f32>) -> Vec<f32> {
    let peak = samples.iter().copied().fold(0.0, f32::max);
    samples.into_iter().map(|sample| (sample * 5.0).clamp(-peak, peak)).collect()
}

/// Notes of 0.3 s, with the overtones and the decay of a string.
fn melody(seconds: f64, level: f32) -> Vec<f32> {
    let note = |step: i32| {
        let frequency = 220.0 * 2_f32.powf(step as f32 / 12.0);
        let overtones: Vec<f32> = (1..=6).map(|n| frequency * n as f32).collect();
        let fade = (0..SECOND * 3 / 10).map(|n| (-4.0 * n as f32 / SECOND as f32).exp());
        sum_of(&overtones, 0.3, level).into_iter().zip(fade).map(|(sample, fade)| sample * fade)
    };
    let steps = [0, 4, 7, 12, 9, 5, 2, 11, 7, 3].iter().cycle();
    steps.take((seconds / 0.3) as usize).flat_map(|step| note(*step)).collect()
}

#[test]
fn a_file_without_speech_has_no_chunks() {
    for seconds in [0.001, 0.5, 5.0, 200.0] {
        assert_eq!(cut(&silence(seconds), ChunkPolicy::default()), [], "{seconds} s of silence");
    }
    for level_db in (-60..=-6).step_by(6) {
        let level = 10_f32.powf(level_db as f32 / 20.0);
        let hum: Vec<f32> = (1..12).map(|n| 50.0 * n as f32).collect();
        for (name, samples) in [
            ("white noise", noise(60.0, level, false)),
            ("pink noise", noise(60.0, level, true)),
            ("a hum of 50 Hz", sum_of(&[50.0], 60.0, level)),
            ("a hum of 100 Hz", sum_of(&[100.0], 60.0, level)),
            ("a hum with overtones", sum_of(&hum, 60.0, level)),
        ] {
            assert_eq!(cut(&samples, ChunkPolicy::default()), [], "{name} at {level_db} dB");
        }
    }
}

#[test]
fn tones_and_chords_are_no_speech() {
    for level_db in [-30.0, -20.0, -12.0, -6.0] {
        let level = 10_f32.powf(level_db / 20.0);
        for tones in [&[220.0][..], &[440.0], &[1_000.0], &[350.0, 440.0], CHORD] {
            let pure = sum_of(tones, 20.0, level);
            assert_eq!(cut(&pure, ChunkPolicy::default()), [], "{tones:?} at {level_db} dB");
            let distorted = clipped(pure);
            assert_eq!(cut(&distorted, ChunkPolicy::default()), [], "{tones:?}, distorted");
        }
        assert_eq!(cut(&melody(20.0, level), ChunkPolicy::default()), [], "at {level_db} dB");
    }
}

#[test]
fn what_is_said_at_once_after_a_tone_or_a_melody_is_kept() {
    for before in [sum_of(&[440.0], 5.0, 0.1), melody(5.0, 0.1)] {
        for number in 0..28 {
            let name = format!("{number:02}.flac");
            let (start, end) = sentences(&name)[0];
            let at = |seconds: f64| (seconds * SECOND as f64) as usize;
            let spoken = &speech(&name)[at(start)..at(end)];
            let samples = [&before, spoken, &before].concat();
            let chunks = cut(&samples, ChunkPolicy::default());
            let [(first, last)] = chunks[..] else { panic!("{name}: {chunks:?}") };
            let speech =
                (seconds(before.len() as u64), seconds((before.len() + spoken.len()) as u64));
            assert!(first <= speech.0 && speech.1 <= last, "{name}: {chunks:?}");
            assert!(first > speech.0 - 2.0 && last < speech.1 + 2.0, "{name}: {chunks:?}");
        }
    }
}

#[test]
fn long_silence_is_left_out_and_what_is_kept_stays_in_its_place() {
    let (first, second) = (speech("00.flac"), speech("01.flac"));
    let samples = [silence(70.0), first.clone(), silence(40.0), second, silence(33.0)].concat();
    let chunks = cut(&samples, ChunkPolicy::default());
    let starts = [70.0, 110.0 + seconds(first.len() as u64)];
    let expected = ["00.flac", "01.flac"].map(|name| sentences(name)[0]);
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    for ((chunk, at), spoken) in chunks.iter().zip(starts).zip(expected) {
        let (before, after) = (at + spoken.0 - chunk.0, chunk.1 - at - spoken.1);
        assert!((0.2..0.6).contains(&before) && (0.2..0.8).contains(&after), "{chunks:?}");
    }
}

#[test]
fn a_silence_of_some_seconds_stays_within_a_chunk() {
    let clip = speech("00.flac");
    for (between, chunks) in [(1.0, 1), (2.5, 1), (6.0, 2)] {
        let samples = [clip.clone(), silence(between), clip.clone()].concat();
        assert_eq!(cut(&samples, ChunkPolicy::default()).len(), chunks, "{between} s between");
    }
}

#[test]
fn a_chunk_lists_its_speech_spans() {
    let clip = speech("00.flac");
    let sentence = sentences("00.flac")[0];
    let samples = [clip.clone(), silence(2.0), clip.clone()].concat();
    let chunks = chunks_of(wav(&samples), ChunkPolicy::default());
    let [chunk] = &chunks[..] else { panic!("{} chunks", chunks.len()) };
    let at = |place: usize| seconds(chunk.start_sample + place as u64);
    let spans: Vec<_> = chunk.speech.iter().map(|span| (at(span.start), at(span.end))).collect();
    for later in [0.0, 2.0 + seconds(clip.len() as u64)] {
        let (start, end) = (sentence.0 + later, sentence.1 + later);
        let own = spans.iter().filter(|span| start - 0.2 < span.0 && span.1 < end + 0.3);
        let length: f64 = own.map(|span| span.1 - span.0).sum();
        assert!(length > 0.8 * (end - start), "{length} s from {start} to {end}: {spans:?}");
    }
    let length: f64 = spans.iter().map(|span| span.1 - span.0).sum();
    assert!(length < 2.0 * (sentence.1 - sentence.0 + 0.5), "{spans:?}");
}

#[test]
fn without_vad_chunks_have_no_speech_spans() {
    let policy = ChunkPolicy { vad: None, ..ChunkPolicy::default() };
    let samples = [silence(40.0), speech("00.flac")].concat();
    for chunk in chunks_of(wav(&samples), policy) {
        assert!(chunk.speech.is_empty(), "{:?}", chunk.speech);
    }
}

#[test]
fn a_chunk_in_which_no_speech_is_found_says_so() {
    // Cut long before its speech, which the padding is too far from.
    let policy = ChunkPolicy {
        max: Duration::from_secs(20),
        min: Duration::from_secs(1),
        ..server_vad(10_000, 5_000)
    };
    let samples = [silence(30.0), speech("28.flac")].concat();
    let chunks = chunks_of(wav(&samples), policy);
    let first = &chunks[0];
    assert!(first.duration() < Duration::from_secs(5), "{:?}", first.duration());
    assert!(first.speech.is_empty(), "{:?}", first.speech);
}

#[test]
fn speech_throughout_is_cut_as_it_is_without_looking_for_speech() {
    for name in ["28.flac", "29.flac", "30.flac"] {
        let without = ChunkPolicy { vad: None, ..ChunkPolicy::default() };
        let samples = |policy| -> Vec<_> {
            chunks_of(eval(name), policy).into_iter().map(|chunk| chunk.samples).collect()
        };
        assert_eq!(samples(ChunkPolicy::default()), samples(without), "{name}");
    }
}

#[test]
fn a_shorter_silence_ends_a_chunk_if_that_is_asked_for() {
    let clip = speech("00.flac")[..2 * SECOND].to_vec();
    let samples = [clip.clone(), silence(0.3), clip.clone(), silence(0.3), clip].concat();
    assert_eq!(cut(&samples, server_vad(5_000, 300)).len(), 1);
    let chunks = cut(&samples, server_vad(200, 300));
    assert_eq!(chunks.len(), 3, "{chunks:?}");
    // Little silence stays, so the chunks are the whole.
    assert_eq!(chunks[0].1, chunks[1].0);
    let padded = cut(&samples, server_vad(200, 100));
    assert!(padded[1].0 > chunks[1].0 + 0.15, "{padded:?} {chunks:?}");
}

#[test]
fn no_chunk_is_shorter_than_a_second() {
    let word: Vec<f32> = speech("00.flac")[SECOND / 2..SECOND].to_vec();
    let samples = [word, silence(0.35)].concat().repeat(20);
    let chunks = cut(&samples, server_vad(100, 0));
    assert!(chunks.len() > 3, "{chunks:?}");
    assert!(chunks.iter().all(|(start, end)| end - start >= 1.0), "{chunks:?}");
}

#[test]
fn a_word_beside_the_end_of_the_file_gets_a_chunk_of_a_second() {
    let clip = speech("00.flac");
    let samples = [clip.clone(), silence(20.0), clip[SECOND..SECOND + 8_000].to_vec()].concat();
    let chunks = cut(&samples, server_vad(200, 0));
    let (start, end) = chunks[1];
    assert!(end - start >= 1.0 && start > 15.0, "{chunks:?}");
}

#[test]
fn a_padding_longer_than_a_chunk_still_ends() {
    let samples = [silence(50.0), speech("00.flac"), silence(50.0)].concat();
    let policy = ChunkPolicy { max: Duration::from_secs(5), ..server_vad(50, 10_000) };
    let chunks = cut(&samples, policy);
    assert!(!chunks.is_empty() && chunks.iter().all(|(start, end)| end - start <= 5.0));
}

#[test]
fn silence_is_decoded_bit_by_bit() {
    let samples = [silence(300.0), speech("00.flac")].concat();
    let stream = AudioStream::open(wav(&samples), &Limits::default()).unwrap();
    let mut chunks = Chunks::new(stream, ChunkPolicy::default());
    let mut before = 0;
    while let Some(piece) = chunks.next_piece().unwrap() {
        let now = chunks.decoded_samples();
        assert!(now - before < 50 * SECOND as u64, "{now} after {before}");
        before = now;
        if let Piece::Chunk(chunk) = piece {
            assert_eq!(chunk.start_sample, chunks.silent_samples());
        }
    }
    assert!(chunks.silent_samples() > 299 * SECOND as u64);
}

#[test]
fn a_policy_reads_back_as_itself_and_an_older_one_leaves_nothing_out() {
    let policy = server_vad(200, 300);
    let mut json = serde_json::to_value(policy).unwrap();
    assert_eq!(serde_json::from_value::<ChunkPolicy>(json.clone()).unwrap(), policy);
    json.as_object_mut().unwrap().remove("vad");
    assert_eq!(serde_json::from_value::<ChunkPolicy>(json).unwrap().vad, None);
}
