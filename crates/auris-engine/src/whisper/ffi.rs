//! Owned wrappers of whisper.cpp's model and state: the only calls into it that compute anything.
//!
//! `whisper_full` is used only to prepare a state and never to decode: its decoder has no options
//! for which tokens to avoid, where to stop, or to keep the cross-attention of its text.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use whisper_rs::whisper_rs_sys as sys;

use super::attention::{self, Head, Scores};
use auris_core::ipc::{Failure, FailureKind};
use auris_core::language::Language;

/// The most tokens that a prompt is tokenized into; whisper uses 224 of them.
const MAX_PROMPT_TOKENS: usize = 4_096;

/// whisper.cpp 1.8.3 reads out of bounds if there are fewer than about 200 samples.
pub(super) const MIN_SAMPLES: usize = 16_000;

pub(super) struct WhisperModel {
    context: NonNull<sys::whisper_context>,
    pub(super) shape: Shape,
}

// SAFETY: after loading, whisper.cpp only reads a context; what a request changes is in its state.
unsafe impl Send for WhisperModel {}
// SAFETY: as above.
unsafe impl Sync for WhisperModel {}

/// A model's dimensions and special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) vocabulary: usize,
    pub(super) text_layers: usize,
    pub(super) text_heads: usize,
    pub(super) text_state: usize,
    /// The number of tokens that the text decoder sees at once.
    pub(super) text_context: usize,
    /// The number of encoder positions, 20 ms each.
    pub(super) positions: usize,
    pub(super) multilingual: bool,
    pub(super) languages: usize,
    pub(super) end_of_text: i32,
    pub(super) start_of_transcript: i32,
    pub(super) previous: i32,
    pub(super) no_speech: i32,
    pub(super) no_timestamps: i32,
    pub(super) translate: i32,
    pub(super) transcribe: i32,
    pub(super) first_timestamp: i32,
}

/// The size of a model's vocabulary is this plus one for each of its languages: 99, or 100 since
/// large-v3 (whisper.cpp's `num_languages`).
const VOCABULARY_WITHOUT_LANGUAGES: usize = 51_766;

impl WhisperModel {
    /// Loads a model file. Without a GPU index it stays on the CPU. Flash attention makes a GPU
    /// faster and the CPU slower.
    pub(super) fn load(path: &Path, gpu: Option<u32>, flash: bool) -> Result<Arc<Self>, Failure> {
        let refused = |why: &str| {
            let message = format!("whisper.cpp does not load {}: {why}", path.display());
            Failure::new(FailureKind::BadModel, message)
        };
        let file = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| refused("its name contains a NUL byte"))?;
        // SAFETY: returns plain data; the path is zero-terminated and outlives the call.
        let context = unsafe {
            let mut params = sys::whisper_context_default_params();
            params.use_gpu = gpu.is_some();
            params.gpu_device = gpu.map_or(0, |index| c_int::try_from(index).unwrap_or(c_int::MAX));
            params.flash_attn = flash;
            sys::whisper_init_from_file_with_params_no_state(file.as_ptr(), params)
        };
        let context = NonNull::new(context).ok_or_else(|| refused("it is not a usable model"))?;
        // SAFETY: the context was just made.
        let shape = unsafe { shape(context.as_ptr()) };
        Ok(Arc::new(Self { context, shape }))
    }

    pub(super) fn token_bytes(&self, token: i32) -> &[u8] {
        if usize::try_from(token).map_or(true, |token| token >= self.shape.vocabulary) {
            return &[];
        }
        // SAFETY: the token is in the vocabulary; the string is zero-terminated and lives as long
        // as the context.
        unsafe {
            let text = sys::whisper_token_to_str(self.context.as_ptr(), token);
            if text.is_null() { &[] } else { CStr::from_ptr(text).to_bytes() }
        }
    }

    pub(super) fn tokenize(&self, text: &str) -> Vec<i32> {
        let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
        let Ok(text) = CString::new(text) else { return Vec::new() };
        let mut tokens = vec![0; MAX_PROMPT_TOKENS];
        // SAFETY: at most as many tokens are written as there is room for.
        let count = unsafe {
            sys::whisper_tokenize(
                self.context.as_ptr(),
                text.as_ptr(),
                tokens.as_mut_ptr(),
                MAX_PROMPT_TOKENS as c_int,
            )
        };
        // A negative count means that the text has too many tokens.
        tokens.truncate(usize::try_from(count).unwrap_or(0));
        tokens
    }

    /// The token of a language, if the model has it.
    pub(super) fn language_token(&self, language: Language) -> Option<i32> {
        let is_new = language.index() >= self.shape.languages;
        let language = if is_new { language.macrolanguage().unwrap_or(language) } else { language };
        let is_known = self.shape.multilingual && language.index() < self.shape.languages;
        // The language tokens follow the start-of-transcript token, in the same order.
        is_known.then(|| self.shape.start_of_transcript + 1 + language.index() as i32)
    }

    pub(super) fn state(self: &Arc<Self>, threads: c_int) -> Option<WhisperState> {
        // SAFETY: the context lives at least as long as the state, which holds it.
        let state = unsafe { sys::whisper_init_state(self.context.as_ptr()) };
        Some(WhisperState {
            model: Arc::clone(self),
            state: NonNull::new(state)?,
            threads,
            positions: 0,
        })
    }
}

impl Drop for WhisperModel {
    fn drop(&mut self) {
        // SAFETY: every state holds the model, so that none is left.
        unsafe { sys::whisper_free(self.context.as_ptr()) }
    }
}

/// # Safety
/// The context must be loaded.
unsafe fn shape(context: *mut sys::whisper_context) -> Shape {
    let count = |n: c_int| usize::try_from(n).unwrap_or(0);
    // SAFETY: all of these only read the context.
    unsafe {
        let vocabulary = count(sys::whisper_n_vocab(context));
        Shape {
            vocabulary,
            text_layers: count(sys::whisper_model_n_text_layer(context)),
            text_heads: count(sys::whisper_model_n_text_head(context)),
            text_state: count(sys::whisper_model_n_text_state(context)),
            text_context: count(sys::whisper_n_text_ctx(context)),
            positions: count(sys::whisper_n_audio_ctx(context)),
            multilingual: sys::whisper_is_multilingual(context) != 0,
            languages: vocabulary.saturating_sub(VOCABULARY_WITHOUT_LANGUAGES),
            end_of_text: sys::whisper_token_eot(context),
            start_of_transcript: sys::whisper_token_sot(context),
            previous: sys::whisper_token_prev(context),
            no_speech: sys::whisper_token_nosp(context),
            no_timestamps: sys::whisper_token_not(context),
            translate: sys::whisper_token_translate(context),
            transcribe: sys::whisper_token_transcribe(context),
            first_timestamp: sys::whisper_token_beg(context),
        }
    }
}

/// The memory in which one slot computes.
pub(super) struct WhisperState {
    model: Arc<WhisperModel>,
    state: NonNull<sys::whisper_state>,
    threads: c_int,
    /// The number of positions that were last encoded.
    positions: usize,
}

// SAFETY: a state has no tie to a thread; `&mut` keeps it to one at a time.
unsafe impl Send for WhisperState {}

impl WhisperState {
    pub(super) fn model(&self) -> &Arc<WhisperModel> {
        &self.model
    }

    /// Encodes `samples` (mono f32 at 16 kHz) in a window of `positions`, at most the model's.
    pub(super) fn encode(&mut self, samples: &[f32], positions: usize) -> Result<(), Failure> {
        let padded;
        let samples = match samples.len() {
            MIN_SAMPLES.. => samples,
            _ => {
                padded = [samples, &vec![0.0; MIN_SAMPLES - samples.len()]].concat();
                &padded
            }
        };
        self.positions = positions.min(self.model.shape.positions);
        let (context, state) = (self.model.context.as_ptr(), self.state.as_ptr());
        let length = c_int::try_from(samples.len()).map_err(|_| failed("take so much audio"))?;
        // SAFETY: the samples outlive the call. `whisper_full` sets the window and computes the
        // spectrogram, for which there is no other function, and ends before it encodes.
        let status = unsafe {
            let strategy = sys::whisper_sampling_strategy_WHISPER_SAMPLING_GREEDY;
            let mut params = sys::whisper_full_default_params(strategy);
            params.n_threads = self.threads;
            params.greedy.best_of = 1;
            params.print_progress = false;
            params.audio_ctx = self.positions as c_int;
            params.encoder_begin_callback = Some(stop);
            sys::whisper_full_with_state(context, state, params, samples.as_ptr(), length)
        };
        if status != 0 {
            return Err(failed("compute the spectrogram"));
        }
        // SAFETY: the spectrogram is there.
        match unsafe { sys::whisper_encode_with_state(context, state, 0, self.threads) } {
            0 => Ok(()),
            _ => Err(failed("encode the audio")),
        }
    }

    /// Continues `past` tokens of the text with `tokens`. Returns the logits of the next token, one
    /// for each entry of the vocabulary.
    pub(super) fn decode(&mut self, tokens: &[i32], past: usize) -> Result<&[f32], Failure> {
        let shape = &self.model.shape;
        if tokens.is_empty() || past + tokens.len() > shape.text_context {
            return Err(failed("decode so many tokens"));
        }
        let state = self.state.as_ptr();
        // SAFETY: the tokens outlive the call and fit into the context.
        let status = unsafe {
            sys::whisper_decode_with_state(
                self.model.context.as_ptr(),
                state,
                tokens.as_ptr(),
                tokens.len() as c_int,
                past as c_int,
                self.threads,
            )
        };
        if status != 0 {
            return Err(failed("decode the text"));
        }
        // SAFETY: there is a row for each token, of which the last one is written, and nothing
        // changes them while `self` is borrowed.
        Ok(unsafe {
            let rows = sys::whisper_get_logits_from_state(state);
            let last = rows.add((tokens.len() - 1) * shape.vocabulary);
            std::slice::from_raw_parts(last, shape.vocabulary)
        })
    }

    /// Returns how much each of `tokens` attends to each of the first `frames` positions, by head.
    pub(super) fn attention(
        &mut self,
        tokens: &[i32],
        heads: &[Head],
        frames: usize,
    ) -> Result<Vec<Scores>, Failure> {
        let frames = frames.min(self.positions);
        let capture = attention::Capture::begin(heads);
        self.decode(tokens, 0)?;
        // SAFETY: the tensors belong to the graph that was just computed, which stays until the
        // next one is built in this state.
        Ok(unsafe { capture.finish(frames, tokens.len()) })
    }
}

impl Drop for WhisperState {
    fn drop(&mut self) {
        // SAFETY: made by `whisper_init_state`, and freed once.
        unsafe { sys::whisper_free_state(self.state.as_ptr()) }
    }
}

/// Stops `whisper_full` before it encodes a window.
unsafe extern "C" fn stop(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    _: *mut c_void,
) -> bool {
    false
}

fn failed(what: &str) -> Failure {
    Failure::new(FailureKind::Engine, format!("whisper.cpp: cannot {what}"))
}
