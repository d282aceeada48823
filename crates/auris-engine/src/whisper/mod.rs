//! whisper.cpp through whisper-rs 0.16 (whisper.cpp 1.8.3, ggml 0.9.5).
//!
//! Does not choose devices and does not recover. On errors that it cannot report it lets the
//! process die, after a line on stderr that starts with [`CRASH_PREFIX`].

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;
use std::time::Instant;

use whisper_rs::whisper_rs_sys as sys;

use auris_core::ipc::{CRASH_PREFIX, Failure, FailureKind, LoadSpec};
use auris_worker::Loaded;

mod alignment;
mod attention;
mod decode;
mod ffi;
mod gpu;
mod load_log;
mod rules;
mod script;
mod segments;
mod session;
mod window;

use attention::Head;
use ffi::WhisperModel;
use gpu::Gpu;
use rules::Rules;
use session::WhisperSession;

/// Loads the model and warms up one state per slot.
///
/// # Errors
/// `BadModel` for a file that whisper.cpp rejects, `OutOfMemory` if a state cannot be created,
/// `WrongDevice` if the requested GPU does not exist or the model is not on it.
pub fn load(spec: &LoadSpec) -> Result<Loaded, Failure> {
    install_callbacks();
    let uuid = spec.gpu_uuid.as_deref();
    let gpu_index = spec.gpu_index.map(|index| Gpu::locate(index, uuid)).transpose()?;
    let gpu = gpu_index.map(Gpu::find).transpose()?;

    let started = Instant::now();
    // On the CPU, flash attention does not use llamafile's matrix kernels and takes more than twice
    // as long: 2.4 s instead of 1.0 s to encode a window with tiny's dimensions.
    let model = WhisperModel::load(&spec.model, gpu_index, gpu.is_some())?;
    let load_seconds = started.elapsed().as_secs_f64();
    if let Some(gpu) = &gpu {
        gpu.check_placement(std::fs::metadata(&spec.model).map_or(0, |file| file.len()))?;
    }

    let threads = c_int::try_from(spec.threads.max(1)).unwrap_or(1);
    // With flash attention, whisper.cpp attends to positions beyond a short window without a mask,
    // and so to data left there by earlier chunks.
    let whole_windows = spec.whole_windows || gpu.is_some();
    let rules = Arc::new(Rules::new(&model));
    let heads: Arc<[Head]> = alignment::heads(&model.shape).into();
    let mut sessions = (0..spec.slots.max(1))
        .map(|_| {
            let state = model.state(threads).ok_or_else(|| {
                let message = format!("no state for {}", spec.model.display());
                Failure::new(FailureKind::OutOfMemory, message)
            })?;
            let (rules, heads) = (Arc::clone(&rules), Arc::clone(&heads));
            Ok(WhisperSession { state, rules, heads, whole_windows })
        })
        .collect::<Result<Vec<_>, Failure>>()?;

    let started = Instant::now();
    std::thread::scope(|scope| {
        let warm_ups: Vec<_> =
            sessions.iter_mut().map(|session| scope.spawn(|| session.warm_up())).collect();
        warm_ups.into_iter().try_for_each(|warm_up| {
            warm_up
                .join()
                .unwrap_or_else(|_| Err(Failure::new(FailureKind::Engine, "the warm-up panicked")))
        })
    })?;
    Ok(Loaded {
        multilingual: model.shape.multilingual,
        sessions: sessions.into_iter().map(|session| Box::new(session) as _).collect(),
        load_seconds,
        warm_up_seconds: started.elapsed().as_secs_f64(),
        gpu: gpu.map(|gpu| Box::new(gpu) as _),
    })
}

/// From now on, forwards the logs of whisper.cpp and ggml, and records why ggml ends the process.
fn install_callbacks() {
    // SAFETY: the callback is a plain function that stays valid, and is set before any other
    // thread of this process calls ggml.
    unsafe { sys::ggml_set_abort_callback(Some(record_crash)) };
    load_log::capture();
}

/// ggml calls this with its message just before it calls `abort()`.
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

fn not_a_number() -> Failure {
    let message = "the model's output is not a number; is its file damaged?";
    Failure::new(FailureKind::Engine, message)
}

#[cfg(test)]
mod tests;
