//! The logs of whisper.cpp and ggml: forwarded to standard error, and parsed for two facts that no
//! function returns: which memory holds the weights, and why there is no GPU.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use whisper_rs::whisper_rs_sys as sys;

/// Appears in whisper.cpp 1.8.3's line for each buffer of weights, for example
/// `whisper_model_load:        CUDA0 total size =    77.11 MB`.
const WEIGHTS: &str = " total size = ";

/// What whisper.cpp logs as an error when a window is only prepared (`ffi::State::encode`).
const STOPPED: &[u8] = b"encoder_begin_callback returned false";

/// Global, because whisper.cpp's log is. A worker loads only one model in its life.
static LOG: Mutex<LoadLog> = Mutex::new(LoadLog { weights: Vec::new(), last_error: None });

struct LoadLog {
    weights: Vec<Weights>,
    last_error: Option<String>,
}

/// The weights of a model that are in one kind of memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weights {
    /// ggml's name for the memory, such as `CUDA0` or `CPU`.
    pub(super) buffer: String,
    /// Their size in bytes, to 10 kB.
    pub(super) bytes: u64,
}

/// Starts capturing the logs.
pub(super) fn capture() {
    // SAFETY: the callback is a plain function that stays valid and uses no user data.
    unsafe {
        sys::whisper_log_set(Some(on_log), null_mut());
        sys::ggml_log_set(Some(on_log), null_mut());
    }
}

/// The weights of all loads so far.
pub(super) fn weights() -> Vec<Weights> {
    log().weights.clone()
}

pub(super) fn last_error() -> Option<String> {
    log().last_error.clone()
}

fn log() -> MutexGuard<'static, LoadLog> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() || level == sys::ggml_log_level_GGML_LOG_LEVEL_DEBUG {
        return;
    }
    // SAFETY: the callers pass a zero-terminated string that lives until this returns.
    let text = unsafe { CStr::from_ptr(text) };
    if text.to_bytes().windows(STOPPED.len()).any(|part| part == STOPPED) {
        return;
    }
    let _ = rustix::io::write(rustix::stdio::stderr(), text.to_bytes());
    let line = text.to_string_lossy();
    if level == sys::ggml_log_level_GGML_LOG_LEVEL_ERROR {
        log().last_error = Some(line.trim().to_owned());
    }
    if let Some(weights) = parse(&line) {
        log().weights.push(weights);
    }
}

fn parse(line: &str) -> Option<Weights> {
    let (place, size) = line.split_once(WEIGHTS)?;
    let buffer = place.rsplit(':').next()?.trim().to_owned();
    let megabytes: f64 = size.trim().strip_suffix(" MB")?.trim().parse().ok()?;
    Some(Weights { buffer, bytes: (megabytes * 1e6) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_weights_is_read() {
        let line = "whisper_model_load:        CUDA0 total size =    77.11 MB\n";
        let weights = Weights { buffer: "CUDA0".to_owned(), bytes: 77_110_000 };
        assert_eq!(parse(line), Some(weights));
        for other in [
            "whisper_model_load: n_mels        = 80\n",
            "whisper_model_load: model size    =   77.11 MB\n",
            "x: CUDA0 total size = unknown\n",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
