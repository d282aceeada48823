//! The probability that a window holds no speech, set right for whisper.cpp 1.8.3.
//!
//! whisper.cpp decodes a window's prompt and then takes this probability from the first row of
//! its logits. A prompt has several tokens and only the last one's row is written, so that the
//! first row still is what the decode before wrote: at first one for another chunk. Here that row
//! becomes the one after the start-of-transcript token, as OpenAI defines the probability, just
//! before it is read. Decides nothing: whether to drop a window's text, or to sample it again,
//! stays with whisper.cpp. A caller's prompt has no part in it.

use std::ffi::c_int;
use std::ptr;

use whisper_rs::whisper_rs_sys as sys;

/// The logit that the start-of-transcript token gets in the first row. No model computes it,
/// so that it is still there only after a decode that wrote no first row, which is a prompt's.
/// It means "never", and may stay: whisper.cpp lets nobody sample this token, and no model
/// expects it to follow itself.
const MARK: f32 = f32::MIN;

/// What is known of the present window.
pub(super) struct NoSpeech {
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    /// The logits after the start-of-transcript token; empty until the window is encoded.
    start_row: Vec<f32>,
}

impl Default for NoSpeech {
    fn default() -> Self {
        Self { context: ptr::null_mut(), state: ptr::null_mut(), start_row: Vec::new() }
    }
}

impl NoSpeech {
    /// Another window is about to be encoded.
    pub(super) fn window_begins(
        &mut self,
        context: *mut sys::whisper_context,
        state: *mut sys::whisper_state,
    ) {
        (self.context, self.state) = (context, state);
        self.start_row.clear();
    }

    /// The window has been encoded, or something decoded. False if whisper.cpp fails.
    ///
    /// # Safety
    /// Must be called from `full`'s abort callback, in a call for which `window_begins` was told
    /// of the context and state.
    pub(super) unsafe fn computed(&mut self, threads: c_int) -> bool {
        let (context, state) = (self.context, self.state);
        // SAFETY: the context is `full`'s, as promised by the caller, and only read.
        let (start, vocabulary_size) =
            unsafe { (sys::whisper_token_sot(context), sys::whisper_n_vocab(context)) };
        let (Ok(start_index), Ok(vocabulary_size)) =
            (usize::try_from(start), usize::try_from(vocabulary_size))
        else {
            return false;
        };
        let is_encoded_only = self.start_row.is_empty();
        if is_encoded_only {
            // SAFETY: `full` calls back as the last thing of encoding, and clears the decoder's
            // cache and refills its batch before it decodes a prompt. One token always fits.
            // Its attention has one place to look at, whatever else the cache still holds.
            let status =
                unsafe { sys::whisper_decode_with_state(context, state, &start, 1, 0, threads) };
            if status != 0 {
                return false;
            }
        }
        // SAFETY: every decode leaves at least one row of the vocabulary's size, and `full` does
        // not touch the logits during this callback.
        let first_row = unsafe {
            let logits = sys::whisper_get_logits_from_state(state);
            std::slice::from_raw_parts_mut(logits, vocabulary_size)
        };
        let Some(logit) = first_row.get_mut(start_index) else { return false };
        let is_marked = logit.to_bits() == MARK.to_bits();
        *logit = MARK;
        if is_encoded_only {
            self.start_row.extend_from_slice(first_row);
        } else if is_marked {
            first_row.copy_from_slice(&self.start_row);
        }
        true
    }
}
