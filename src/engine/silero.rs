//! Silero's voice activity model in whisper.cpp 1.8.3, on one thread of the processor.
//!
//! whisper.cpp forgets what it heard at each call: who judges a stream block by block must let the
//! blocks overlap.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use whisper_rs::{WhisperVadContext, WhisperVadContextParams};

use super::{Loaded, Session, SessionEvent, whisper};
use crate::ipc::{ChunkOptions, Failure, FailureKind, LoadSpec, VOICE_WINDOW};
use crate::language::Language;

/// Loads the model and warms it up.
///
/// # Errors
/// `BadModel` for a file that whisper.cpp refuses or that judges other windows, `Engine` if it
/// fails on silence.
pub(super) fn load(spec: &LoadSpec) -> Result<Loaded, Failure> {
    whisper::listen();
    let bad = |why: &str| {
        let message = format!("whisper.cpp does not load {}: {why}", spec.model.display());
        Failure { kind: FailureKind::BadModel, message }
    };
    // whisper-rs panics for a zero within a path, which no path of a file has.
    let path = spec.model.to_str().filter(|path| !path.contains('\0'));
    let path = path.ok_or_else(|| bad("its path is no UTF-8"))?;
    let started = Instant::now();
    let mut params = WhisperVadContextParams::new();
    params.set_n_threads(1);
    let context = WhisperVadContext::new(path, params)
        .map_err(|error| bad(&whisper::last_error().unwrap_or_else(|| error.to_string())))?;
    let load_seconds = started.elapsed().as_secs_f64();
    let mut session = SileroSession { context };
    let started = Instant::now();
    let windows = session.voice(&[0.0; 4 * VOICE_WINDOW])?.len();
    if windows != 4 {
        return Err(bad(&format!("it judges {windows} windows instead of 4 of {VOICE_WINDOW}")));
    }
    Ok(Loaded {
        sessions: vec![Box::new(session)],
        multilingual: true,
        load_seconds,
        warm_up_seconds: started.elapsed().as_secs_f64(),
        gpu: None,
    })
}

struct SileroSession {
    context: WhisperVadContext,
}

impl Session for SileroSession {
    fn detect(&mut self, _: &[f32]) -> Result<Vec<(Language, f32)>, Failure> {
        Err(no_text())
    }

    fn transcribe(
        &mut self,
        _: &[f32],
        _: &ChunkOptions,
        _: &AtomicBool,
        _: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        Err(no_text())
    }

    fn voice(&mut self, samples: &[f32]) -> Result<Vec<f32>, Failure> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        self.context.detect_speech(samples).map_err(|error| Failure {
            kind: FailureKind::Engine,
            message: format!("whisper.cpp: no voice activity: {error}"),
        })?;
        Ok(self.context.probabilities().to_vec())
    }
}

fn no_text() -> Failure {
    let message = "this worker's model is for voice activity only".to_owned();
    Failure { kind: FailureKind::Engine, message }
}
