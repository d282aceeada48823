//! whisper.cpp through whisper-rs 0.16 (whisper.cpp 1.8.3, ggml 0.9.5).
//!
//! Does not choose devices and does not recover: what it cannot report, it lets the process die
//! of, after a line on stderr that begins with [`CRASH_PREFIX`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use flate2::write::ZlibEncoder;
use whisper_rs::whisper_rs_sys as sys;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters};
use whisper_rs::{WhisperError, WhisperState};

use super::sequences::Sequences;
use super::words::{self, Token};
use super::{Loaded, Session, SessionEvent};
use crate::ipc::{CRASH_PREFIX, ChunkOptions, Failure, FailureKind, LoadSpec};
use crate::language::Language;
use crate::transcript::{Segment, Task};

/// What whisper.cpp uses by default when it samples, and what it allocates memory for.
const BEST_OF: c_int = 5;

/// The step from one temperature to the next when a result is poor; whisper.cpp's default.
const TEMPERATURE_STEP: f32 = 0.2;

/// A model's vocabulary has this many entries and one for each of its languages: 99 of them, or
/// 100 since large-v3 (whisper.cpp's `num_languages`).
const VOCABULARY_WITHOUT_LANGUAGES: c_int = 51_766;

/// The most characters of a prompt that can matter: whisper.cpp uses 224 tokens of it.
/// whisper-rs leaks each prompt, so that the rest is better not passed on.
const PROMPT_CHARACTERS: usize = 1_000;

/// What `whisper_full` returns when the decoders' caches cannot be enlarged.
const NO_MEMORY_FOR_DECODERS: c_int = -7;

/// How many tokens a decoder makes between two signs of life.
const TOKENS_PER_PROGRESS: usize = 16;

/// Audio under about 200 samples is read out of bounds by whisper.cpp 1.8.3.
const MIN_SAMPLES: usize = 16_000;

/// Loads the model, and warms up one state for each slot.
///
/// # Errors
/// `BadModel` for a file that whisper.cpp refuses, `OutOfMemory` when a state cannot be made.
pub fn load(spec: &LoadSpec) -> Result<Loaded, Failure> {
    // SAFETY: the callback is a plain function that stays valid, and is set before any other
    // thread of this process calls ggml.
    unsafe { sys::ggml_set_abort_callback(Some(record_crash)) };

    let started = Instant::now();
    let mut params = WhisperContextParameters::default();
    params.use_gpu(spec.gpu_index.is_some()).flash_attn(true);
    if let Some(index) = spec.gpu_index {
        params.gpu_device(c_int::try_from(index).unwrap_or(c_int::MAX));
    }
    let context = WhisperContext::new_with_params(&spec.model, params).map_err(|error| {
        let message = format!("whisper.cpp does not load {}: {error}", spec.model.display());
        Failure { kind: FailureKind::BadModel, message }
    })?;
    let load_seconds = started.elapsed().as_secs_f64();

    let threads = c_int::try_from(spec.threads.max(1)).unwrap_or(1);
    let vocabulary = Vocabulary {
        multilingual: context.is_multilingual(),
        end_of_text: context.token_eot(),
        first_timestamp: context.token_beg(),
        languages: usize::try_from(context.n_vocab() - VOCABULARY_WITHOUT_LANGUAGES).unwrap_or(0),
    };
    let mut sessions = (0..spec.slots.max(1))
        .map(|_| {
            let state = context.create_state().map_err(|error| Failure {
                kind: FailureKind::OutOfMemory,
                message: format!("no state for {}: {error}", spec.model.display()),
            })?;
            Ok(WhisperSession { state, threads, vocabulary })
        })
        .collect::<Result<Vec<_>, Failure>>()?;

    let started = Instant::now();
    let warm = std::thread::scope(|scope| {
        let warm_ups: Vec<_> =
            sessions.iter_mut().map(|session| scope.spawn(|| session.warm_up())).collect();
        warm_ups.into_iter().try_for_each(|warm_up| {
            warm_up.join().unwrap_or_else(|_| {
                let message = "the warm-up panicked".to_owned();
                Err(Failure { kind: FailureKind::Engine, message })
            })
        })
    });
    if let Err(failure) = warm {
        // whisper.cpp may have freed a state that it could not enlarge, and would do so again.
        std::mem::forget(sessions);
        return Err(failure);
    }
    Ok(Loaded {
        multilingual: vocabulary.multilingual,
        sessions: sessions.into_iter().map(|session| Box::new(session) as _).collect(),
        load_seconds,
        warm_up_seconds: started.elapsed().as_secs_f64(),
    })
}

/// Called by ggml with its message just before it calls `abort()`.
extern "C" fn record_crash(message: *const c_char) {
    let message = if message.is_null() {
        "ggml gave no reason".into()
    } else {
        // SAFETY: ggml passes a zero-terminated string that lives until this returns.
        unsafe { CStr::from_ptr(message) }.to_string_lossy()
    };
    // Not `eprintln!`: the failing thread may hold its lock.
    let line = format!("{CRASH_PREFIX}{}\n", message.trim());
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// What the decoder's token numbers mean.
#[derive(Clone, Copy)]
struct Vocabulary {
    multilingual: bool,
    end_of_text: c_int,
    first_timestamp: c_int,
    languages: usize,
}

struct WhisperSession {
    state: WhisperState,
    threads: c_int,
    vocabulary: Vocabulary,
}

impl WhisperSession {
    /// Encodes one window and samples with the largest number of decoders, so that every buffer
    /// is allocated now. A re-allocation that fails later is a double free in whisper.cpp 1.8.3.
    fn warm_up(&mut self) -> Result<(), Failure> {
        let mut params = self.params();
        params.set_language(Some(Language::ENGLISH.code()));
        params.set_temperature(0.4);
        params.set_temperature_inc(0.0);
        params.set_max_tokens(2);
        self.state.full(params, &[0.0; MIN_SAMPLES]).map_err(failure)
    }

    fn params<'a>(&self) -> FullParams<'a, 'a> {
        let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: BEST_OF });
        params.set_n_threads(self.threads);
        params.set_print_progress(false);
        params.set_print_realtime(false);
        params.set_print_timestamps(false);
        params
    }
}

impl Session for WhisperSession {
    fn detect(&mut self, samples: &[f32]) -> Result<Vec<(Language, f32)>, Failure> {
        if !self.vocabulary.multilingual {
            return Ok(vec![(Language::ENGLISH, 1.0)]);
        }
        let threads = self.threads as usize;
        self.state.pcm_to_mel(&padded(samples), threads).map_err(failure)?;
        let (_, probabilities) = self.state.lang_detect(0, threads).map_err(failure)?;
        let mut probabilities: Vec<(Language, f32)> = probabilities
            .into_iter()
            .take(self.vocabulary.languages)
            .zip(0..)
            .filter_map(|(probability, id)| Some((Language::from_whisper_id(id)?, probability)))
            .collect();
        if probabilities.iter().any(|(_, probability)| !probability.is_finite()) {
            return Err(not_a_number());
        }
        probabilities.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(probabilities)
    }

    fn transcribe(
        &mut self,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        tell: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        let samples = padded(samples);
        let mut params = self.params();
        params.set_language(Some(options.language.code()));
        params.set_translate(options.task == Task::Translate);
        params.set_temperature(options.temperature);
        params.set_temperature_inc(TEMPERATURE_STEP);
        if let Some(prompt) = &options.prompt {
            // whisper.cpp uses the end of a long prompt; whisper-rs panics on a NUL byte.
            let skipped = prompt.chars().count().saturating_sub(PROMPT_CHARACTERS);
            let tail: String = prompt.chars().skip(skipped).filter(|c| *c != '\0').collect();
            params.set_initial_prompt(&tail);
        }

        let listener = Listener {
            tell: Mutex::new(tell),
            cancel,
            samples: &samples,
            vocabulary: self.vocabulary,
            words: options.words,
            first_temperature: options.temperature,
            attempts: AtomicU32::new(0),
            sequences: Mutex::new(Sequences::default()),
            not_a_number: AtomicBool::new(false),
        };
        let user_data: *mut c_void = (&raw const listener).cast_mut().cast();
        // SAFETY: whisper.cpp calls these during `full` only, and the pointer is to `listener`,
        // which outlives it. The callbacks only share it, so several threads may be in them.
        unsafe {
            params.set_new_segment_callback(Some(on_new_segment));
            params.set_new_segment_callback_user_data(user_data);
            params.set_start_encoder_callback(Some(on_window));
            params.set_start_encoder_callback_user_data(user_data);
            params.set_filter_logits_callback(Some(on_token));
            params.set_filter_logits_callback_user_data(user_data);
            params.set_abort_callback(Some(is_cancelled));
            params.set_abort_callback_user_data(user_data);
        }
        let result = self.state.full(params, &samples);
        if cancel.load(Ordering::Relaxed) {
            let message = "nobody waits for the chunk any more".to_owned();
            return Err(Failure { kind: FailureKind::Cancelled, message });
        }
        result.map_err(failure)?;
        if listener.not_a_number.load(Ordering::Relaxed) {
            return Err(not_a_number());
        }
        Ok(())
    }
}

fn not_a_number() -> Failure {
    let message = "the model's output is not a number; is its file damaged?".to_owned();
    Failure { kind: FailureKind::Engine, message }
}

fn padded(samples: &[f32]) -> std::borrow::Cow<'_, [f32]> {
    if samples.len() >= MIN_SAMPLES {
        return samples.into();
    }
    let mut padded = samples.to_vec();
    padded.resize(MIN_SAMPLES, 0.0);
    padded.into()
}

fn failure(error: WhisperError) -> Failure {
    let kind = match error {
        WhisperError::GenericError(NO_MEMORY_FOR_DECODERS) => FailureKind::OutOfMemory,
        _ => FailureKind::Engine,
    };
    Failure { kind, message: format!("whisper.cpp: {error}") }
}

/// What the callbacks of one `full` call share.
struct Listener<'a> {
    tell: Mutex<&'a mut (dyn FnMut(SessionEvent) + Send)>,
    cancel: &'a AtomicBool,
    samples: &'a [f32],
    vocabulary: Vocabulary,
    words: bool,
    first_temperature: f32,
    /// How many decoding attempts the present window has seen, each at a higher temperature.
    attempts: AtomicU32,
    sequences: Mutex<Sequences>,
    /// The model computed something that is no number, as a damaged file makes it.
    not_a_number: AtomicBool,
}

impl Listener<'_> {
    fn tell(&self, event: SessionEvent) {
        (self.tell.lock().unwrap_or_else(PoisonError::into_inner))(event);
    }

    fn sequences(&self) -> MutexGuard<'_, Sequences> {
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// whisper.cpp does not tell at which temperature it accepted a window, but its attempts
    /// can be counted.
    fn temperature(&self) -> f32 {
        let steps = self.attempts.load(Ordering::Relaxed).saturating_sub(1) as f32;
        (self.first_temperature + TEMPERATURE_STEP * steps).min(1.0)
    }
}

/// The listener behind a callback's user data.
///
/// # Safety
/// `user_data` must be the pointer that `transcribe` made, and `full` must still be running.
unsafe fn listener<'a>(user_data: *mut c_void) -> &'a Listener<'a> {
    // SAFETY: promised by the caller; the listener is only ever shared.
    unsafe { &*user_data.cast_const().cast::<Listener<'a>>() }
}

unsafe extern "C" fn is_cancelled(user_data: *mut c_void) -> bool {
    // SAFETY: whisper.cpp passes back what `transcribe` set.
    unsafe { listener(user_data) }.cancel.load(Ordering::Relaxed)
}

unsafe extern "C" fn on_window(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    user_data: *mut c_void,
) -> bool {
    // SAFETY: whisper.cpp passes back what `transcribe` set.
    let listener = unsafe { listener(user_data) };
    listener.attempts.store(0, Ordering::Relaxed);
    listener.tell(SessionEvent::Progress);
    !listener.cancel.load(Ordering::Relaxed)
}

/// Called for each decoder before each token.
unsafe extern "C" fn on_token(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    tokens: *const sys::whisper_token_data,
    count: c_int,
    _: *mut f32,
    user_data: *mut c_void,
) {
    // SAFETY: whisper.cpp passes back what `transcribe` set.
    let listener = unsafe { listener(user_data) };
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        // Once for each attempt, by the first decoder.
        listener.attempts.fetch_add(1, Ordering::Relaxed);
        listener.sequences().clear();
    } else {
        // SAFETY: whisper.cpp passes the decoder's tokens, `count` of them, which nothing
        // changes until this returns.
        let so_far = unsafe { std::slice::from_raw_parts(tokens, count) };
        listener.sequences().record(tokens as usize, so_far.iter().map(|token| token.id));
    }
    if count.is_multiple_of(TOKENS_PER_PROGRESS) {
        listener.tell(SessionEvent::Progress);
    }
}

unsafe extern "C" fn on_new_segment(
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    new: c_int,
    user_data: *mut c_void,
) {
    // SAFETY: whisper.cpp passes back what `transcribe` set.
    let listener = unsafe { listener(user_data) };
    // SAFETY: the state is the one that `full` runs on.
    let all = unsafe { sys::whisper_full_n_segments_from_state(state) };
    for index in (all - new).max(0)..all {
        // SAFETY: the context and state are those of `full`, and `index` is below their count.
        let segment = unsafe { segment(context, state, index, listener) };
        if segment.avg_logprob.is_finite() && segment.no_speech_prob.is_finite() {
            listener.tell(SessionEvent::Segment(segment));
        } else {
            listener.not_a_number.store(true, Ordering::Relaxed);
        }
    }
}

/// Reads segment `index` of the result.
///
/// # Safety
/// `context` and `state` must belong together and `index` be below the number of segments.
unsafe fn segment(
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    index: c_int,
    listener: &Listener<'_>,
) -> Segment {
    let mut tokens = Vec::new();
    let mut ids = Vec::new();
    let mut logprob_sum = 0.0;
    // SAFETY: as promised by the caller; token indices are below the count just read, and the
    // strings are zero-terminated and live as long as the context.
    let (start, end, no_speech_prob) = unsafe {
        for token in 0..sys::whisper_full_n_tokens_from_state(state, index) {
            let data = sys::whisper_full_get_token_data_from_state(state, index, token);
            if data.id >= listener.vocabulary.end_of_text {
                continue;
            }
            let text = sys::whisper_full_get_token_text_from_state(context, state, index, token);
            ids.push(data.id);
            logprob_sum += data.plog;
            let bytes = CStr::from_ptr(text).to_bytes().to_vec();
            tokens.push(Token { bytes, probability: data.p });
        }
        (
            sys::whisper_full_get_segment_t0_from_state(state, index),
            sys::whisper_full_get_segment_t1_from_state(state, index),
            sys::whisper_full_get_segment_no_speech_prob_from_state(state, index),
        )
    };
    // whisper.cpp lets a segment begin where the one before it ended, although the decoder has
    // said how long the pause between them is.
    let pause = listener.sequences().pause_before(&ids, listener.vocabulary.first_timestamp);
    let end = seconds(end).max(0.0);
    // It also lets a segment begin after its end, or long before the audio, when the decoder
    // wrote no time token.
    let start = seconds(start + i64::from(pause)).clamp(0.0, end);
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Segment {
        start,
        end,
        compression_ratio: compression_ratio(&text),
        text,
        avg_logprob: if ids.is_empty() { 0.0 } else { logprob_sum / ids.len() as f32 },
        tokens: ids,
        temperature: listener.temperature(),
        no_speech_prob,
        words: if listener.words {
            words::words(&tokens, (start, end), listener.samples)
        } else {
            Vec::new()
        },
    }
}

/// The text's size over its size when compressed, as in openai/whisper's `utils.py`.
fn compression_ratio(text: &str) -> f32 {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    match encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(compressed) => text.len() as f32 / compressed.len().max(1) as f32,
        Err(_) => 0.0, // writing to memory does not fail
    }
}

/// whisper.cpp counts time in hundredths of a second.
fn seconds(hundredths: i64) -> f64 {
    hundredths as f64 / 100.0
}
