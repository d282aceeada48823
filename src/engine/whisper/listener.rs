//! What whisper.cpp tells while it decodes a chunk: its callbacks.

use std::ffi::{CStr, c_int, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::write::ZlibEncoder;
use whisper_rs::FullParams;
use whisper_rs::whisper_rs_sys as sys;

use super::super::SessionEvent;
use super::super::sequences::Sequences;
use super::super::words::{self, Token};
use super::no_speech::NoSpeech;
use super::{TEMPERATURE_STEP, Vocabulary};
use crate::ipc::ChunkOptions;
use crate::transcript::{Segment, TokenLogprob};

/// How many tokens a decoder makes between two signs of life.
const TOKENS_PER_PROGRESS: usize = 16;

/// What the callbacks of one `full` call share. They may come from several threads at once.
pub(super) struct Listener<'a> {
    pub(super) samples: &'a [f32],
    pub(super) options: &'a ChunkOptions,
    pub(super) vocabulary: Vocabulary,
    pub(super) threads: c_int,
    pub(super) cancel: &'a AtomicBool,
    pub(super) tell: Mutex<&'a mut (dyn FnMut(SessionEvent) + Send)>,
    pub(super) heard: Heard,
}

/// What the callbacks have learnt so far.
#[derive(Default)]
pub(super) struct Heard {
    /// How many decoding attempts the present window has seen, each at a higher temperature.
    attempts: AtomicU32,
    sequences: Mutex<Sequences>,
    no_speech: Mutex<NoSpeech>,
    /// The model computed something that is no number, as a damaged file makes it.
    pub(super) not_a_number: AtomicBool,
}

impl Listener<'_> {
    /// Has `params` call back to this listener.
    ///
    /// # Safety
    /// The listener must outlive every use of `params`.
    pub(super) unsafe fn attach(&self, params: &mut FullParams<'_, '_>) {
        let user_data: *mut c_void = (&raw const *self).cast_mut().cast();
        // SAFETY: whisper.cpp calls these during `full` only, with the pointer to this listener,
        // which lives as the caller promises. The callbacks only share it.
        unsafe {
            params.set_new_segment_callback(Some(on_new_segment));
            params.set_new_segment_callback_user_data(user_data);
            params.set_start_encoder_callback(Some(on_window));
            params.set_start_encoder_callback_user_data(user_data);
            params.set_filter_logits_callback(Some(on_token));
            params.set_filter_logits_callback_user_data(user_data);
            params.set_abort_callback(Some(on_computed));
            params.set_abort_callback_user_data(user_data);
        }
    }

    fn tell(&self, event: SessionEvent) {
        (self.tell.lock().unwrap_or_else(PoisonError::into_inner))(event);
    }

    fn sequences(&self) -> MutexGuard<'_, Sequences> {
        self.heard.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_speech(&self) -> MutexGuard<'_, NoSpeech> {
        self.heard.no_speech.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// whisper.cpp does not tell at which temperature it accepted a window, but its attempts
    /// can be counted.
    fn temperature(&self) -> f32 {
        let steps = self.heard.attempts.load(Ordering::Relaxed).saturating_sub(1) as f32;
        (self.options.temperature + TEMPERATURE_STEP * steps).min(1.0)
    }
}

/// The listener behind a callback's user data.
///
/// # Safety
/// `user_data` must be the pointer that `attach` made, and `full` must still be running.
unsafe fn listener<'a>(user_data: *mut c_void) -> &'a Listener<'a> {
    // SAFETY: promised by the caller; the listener is only ever shared.
    unsafe { &*user_data.cast_const().cast::<Listener<'a>>() }
}

unsafe extern "C" fn on_window(
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    user_data: *mut c_void,
) -> bool {
    // SAFETY: whisper.cpp passes back what `attach` set.
    let listener = unsafe { listener(user_data) };
    listener.heard.attempts.store(0, Ordering::Relaxed);
    listener.no_speech().window_begins(context, state);
    listener.tell(SessionEvent::Progress);
    !listener.cancel.load(Ordering::Relaxed)
}

/// Called once after a window is encoded and after each decode; true ends `full`.
unsafe extern "C" fn on_computed(user_data: *mut c_void) -> bool {
    // SAFETY: whisper.cpp passes back what `attach` set.
    let listener = unsafe { listener(user_data) };
    // SAFETY: this is the abort callback, and `on_window` comes before all that is computed.
    listener.cancel.load(Ordering::Relaxed)
        || !unsafe { listener.no_speech().computed(listener.threads) }
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
    // SAFETY: whisper.cpp passes back what `attach` set.
    let listener = unsafe { listener(user_data) };
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        // Once for each attempt, by the first decoder.
        listener.heard.attempts.fetch_add(1, Ordering::Relaxed);
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
    // SAFETY: whisper.cpp passes back what `attach` set.
    let listener = unsafe { listener(user_data) };
    // SAFETY: the state is the one that `full` runs on.
    let all = unsafe { sys::whisper_full_n_segments_from_state(state) };
    for index in (all - new).max(0)..all {
        // SAFETY: the context and state are those of `full`, and `index` is below their count.
        let segment = unsafe { segment(context, state, index, listener) };
        if segment.avg_logprob.is_finite() && segment.no_speech_prob.is_finite() {
            listener.tell(SessionEvent::Segment(segment));
        } else {
            listener.heard.not_a_number.store(true, Ordering::Relaxed);
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
    let mut logprobs = Vec::new();
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
            if listener.options.logprobs {
                logprobs.push(TokenLogprob { bytes: bytes.clone(), logprob: data.plog });
            }
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
        words: if listener.options.words {
            words::words(&tokens, (start, end), listener.samples)
        } else {
            Vec::new()
        },
        logprobs,
        channel: None,
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
