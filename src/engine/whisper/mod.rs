//! whisper.cpp through whisper-rs 0.16 (whisper.cpp 1.8.3, ggml 0.9.5).
//!
//! Does not choose devices and does not recover: what it cannot report, it lets the process die
//! of, after a line on stderr that begins with [`CRASH_PREFIX`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use whisper_rs::whisper_rs_sys as sys;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters};
use whisper_rs::{WhisperError, WhisperState};

use super::{Loaded, Session, SessionEvent};
use crate::ipc::{CRASH_PREFIX, ChunkOptions, Failure, FailureKind, LoadSpec};
use crate::language::Language;
use crate::transcript::Task;

mod gpu;
mod listener;
mod load_log;
mod no_speech;
mod window;

pub use gpu::Gpu;
use listener::{Heard, Listener};
pub(super) use load_log::last_error;

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

/// Audio under about 200 samples is read out of bounds by whisper.cpp 1.8.3.
const MIN_SAMPLES: usize = 16_000;

/// Loads the model, and warms up one state for each slot.
///
/// # Errors
/// `BadModel` for a file that whisper.cpp refuses, `OutOfMemory` when a state cannot be made,
/// `WrongDevice` when the GPU that was asked for is not there or the model not on it.
pub fn load(spec: &LoadSpec) -> Result<Loaded, Failure> {
    listen();
    let uuid = spec.gpu_uuid.as_deref();
    let gpu_index = spec.gpu_index.map(|index| Gpu::locate(index, uuid)).transpose()?;
    let gpu = gpu_index.map(Gpu::find).transpose()?;

    let started = Instant::now();
    let mut params = WhisperContextParameters::default();
    // On the CPU, flash attention does without llamafile's matrix kernels, and takes more than
    // twice the time: 2.4 s against 1.0 s to encode a window with tiny's dimensions.
    let on_gpu = gpu.is_some();
    params.use_gpu(on_gpu).flash_attn(on_gpu);
    if let Some(index) = gpu_index {
        params.gpu_device(c_int::try_from(index).unwrap_or(c_int::MAX));
    }
    let context = WhisperContext::new_with_params(&spec.model, params).map_err(|error| {
        let message = format!("whisper.cpp does not load {}: {error}", spec.model.display());
        Failure { kind: FailureKind::BadModel, message }
    })?;
    let load_seconds = started.elapsed().as_secs_f64();
    if let Some(gpu) = &gpu {
        gpu.check_placement(std::fs::metadata(&spec.model).map_or(0, |file| file.len()))?;
    }

    let threads = c_int::try_from(spec.threads.max(1)).unwrap_or(1);
    let vocabulary = Vocabulary {
        multilingual: context.is_multilingual(),
        end_of_text: context.token_eot(),
        first_timestamp: context.token_beg(),
        languages: usize::try_from(context.n_vocab() - VOCABULARY_WITHOUT_LANGUAGES).unwrap_or(0),
        positions: usize::try_from(context.n_audio_ctx()).unwrap_or(0),
    };
    let mut sessions = (0..spec.slots.max(1))
        .map(|_| {
            let state = context.create_state().map_err(|error| Failure {
                kind: FailureKind::OutOfMemory,
                message: format!("no state for {}: {error}", spec.model.display()),
            })?;
            Ok(WhisperSession { state, threads, vocabulary, whole_windows: spec.whole_windows })
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
        gpu,
    })
}

/// Passes on what whisper.cpp and ggml log, and why ggml ends the process, from now on.
pub(super) fn listen() {
    // SAFETY: the callback is a plain function that stays valid, and is set before any other
    // thread of this process calls ggml.
    unsafe { sys::ggml_set_abort_callback(Some(record_crash)) };
    load_log::listen();
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
    /// Positions of the encoder.
    positions: usize,
}

struct WhisperSession {
    state: WhisperState,
    threads: c_int,
    vocabulary: Vocabulary,
    whole_windows: bool,
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
        let samples = padded(samples);
        // Sets the window and computes the spectrogram, and ends before it encodes.
        let mut params = self.params();
        params.set_audio_ctx(self.window(&samples).unwrap_or(0));
        // SAFETY: the callback touches nothing.
        unsafe { params.set_start_encoder_callback(Some(stop)) };
        self.state.full(params, &samples).map_err(failure)?;
        let (_, probabilities) =
            self.state.lang_detect(0, self.threads as usize).map_err(failure)?;
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
        if let Some(positions) = self.window(&samples) {
            let mut segments = Vec::new();
            let mut keep = |event| match event {
                SessionEvent::Segment(segment) => segments.push(segment),
                SessionEvent::Progress => tell(SessionEvent::Progress),
            };
            let mut params = self.params();
            params.set_audio_ctx(positions);
            // What is poor is tried again in the whole window, not at a higher temperature.
            params.set_temperature_inc(0.0);
            self.run(params, &samples, options, cancel, &mut keep)?;
            if window::is_good(&segments, samples.len()) {
                segments.into_iter().map(SessionEvent::Segment).for_each(tell);
                return Ok(());
            }
        }
        let mut params = self.params();
        params.set_temperature_inc(TEMPERATURE_STEP);
        self.run(params, &samples, options, cancel, tell)
    }
}

impl WhisperSession {
    /// How many positions are encoded for `samples` at first; `None` is all.
    fn window(&self, samples: &[f32]) -> Option<c_int> {
        let positions = || window::positions(samples.len(), self.vocabulary.positions);
        (!self.whole_windows).then(positions).flatten()
    }

    fn run(
        &mut self,
        mut params: FullParams<'_, '_>,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        tell: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        params.set_language(Some(options.language.code()));
        params.set_translate(options.task == Task::Translate);
        params.set_temperature(options.temperature);
        if let Some(prompt) = &options.prompt {
            // whisper.cpp uses the end of a long prompt; whisper-rs panics on a NUL byte.
            let skipped = prompt.chars().count().saturating_sub(PROMPT_CHARACTERS);
            let tail: String = prompt.chars().skip(skipped).filter(|c| *c != '\0').collect();
            params.set_initial_prompt(&tail);
        }

        let listener = Listener {
            samples,
            options,
            vocabulary: self.vocabulary,
            threads: self.threads,
            cancel,
            tell: Mutex::new(tell),
            heard: Heard::default(),
        };
        // SAFETY: `params` are used up by `full` below, and the listener lives longer.
        unsafe { listener.attach(&mut params) };
        let result = self.state.full(params, samples);
        if cancel.load(Ordering::Relaxed) {
            let message = "nobody waits for the chunk any more".to_owned();
            return Err(Failure { kind: FailureKind::Cancelled, message });
        }
        result.map_err(failure)?;
        if listener.heard.not_a_number.load(Ordering::Relaxed) {
            return Err(not_a_number());
        }
        Ok(())
    }
}

/// Ends `full` before a window is encoded.
unsafe extern "C" fn stop(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    _: *mut c_void,
) -> bool {
    false
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

#[cfg(test)]
mod tests;
