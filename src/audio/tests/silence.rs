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

#[test]
fn no_sentence_of_the_evaluation_set_is_left_out_even_beside_noise() {
    for (quieter, noise_level) in [(1.0, 0.0), (1.0, 0.03), (0.03, 0.0)] {
        for number in 0..31 {
            let name = format!("{number:02}.flac");
            let mut samples = speech(&name);
            let noise = noise(seconds(samples.len() as u64), noise_level, false);
            samples.iter_mut().zip(noise).for_each(|(sample, noise)| {
                *sample = (*sample * quieter + noise).clamp(-1.0, 1.0);
            });
            let chunks = cut(&samples, ChunkPolicy::default());
            for (start, end) in sentences(&name) {
                let held = |chunk: &(f64, f64)| chunk.0 <= start && end <= chunk.1;
                assert!(chunks.iter().any(held), "{name} {start} to {end}: {chunks:?}");
            }
        }
    }
}

#[test]
fn a_file_in_which_nobody_speaks_has_no_chunks() {
    let hum = |n: usize| (n as f32 * std::f32::consts::TAU * 50.0 / SECOND as f32).sin();
    for level in [0.003, 0.01, 0.03, 0.05] {
        let hum: Vec<f32> = (0..60 * SECOND).map(|n| hum(n) * level).collect();
        assert_eq!(cut(&hum, ChunkPolicy::default()), [], "hum at {level}");
        for pink in [false, true] {
            let noise = noise(60.0, level, pink);
            assert_eq!(cut(&noise, ChunkPolicy::default()), [], "noise at {level}, pink: {pink}");
        }
    }
    for seconds in [0.001, 0.5, 5.0, 200.0] {
        assert_eq!(cut(&silence(seconds), ChunkPolicy::default()), [], "{seconds} s of silence");
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
fn speech_throughout_is_cut_as_it_is_without_looking_for_speech() {
    for name in ["28.flac", "29.flac", "30.flac"] {
        let without = ChunkPolicy { vad: None, ..ChunkPolicy::default() };
        assert_eq!(
            chunks_of(eval(name), ChunkPolicy::default()),
            chunks_of(eval(name), without),
            "{name}"
        );
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
