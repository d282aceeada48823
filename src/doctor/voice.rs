//! The check of what finds speech.

use super::engine;
use super::report::{Area, Check, Level};
use crate::audio::BUILT_IN_VOICE_NETWORK;
use crate::cli::AudioArgs;
use crate::config::EnginePlan;
use crate::models::{ModelError, SILERO, Store};

/// Loads the model that `plan` would find speech with, if it has one in `store`.
pub(super) async fn activity(args: &AudioArgs, plan: EnginePlan, store: &Store) -> Check {
    let check = |observed: String| Check::pass(Area::Service, "voice-activity", observed);
    let name = SILERO.name;
    let again = match args.vad_model {
        Some(_) => "give another --vad-model".to_owned(),
        None => format!("`auris models rm {name}` and `auris models pull {name}`"),
    };
    if args.no_vad {
        return check("off: silence is transcribed, unless a request says otherwise".to_owned());
    }
    let plan = match plan.with_voice(store) {
        Ok(plan) => plan,
        Err(error) => {
            let observed = args.vad_model.as_deref().unwrap_or_default();
            let fix = format!("`auris models pull {name}`, or give another --vad-model");
            return check(observed.to_owned()).but(Level::Fail, format!("{error:#}"), fix);
        }
    };
    let built_in = format!("{BUILT_IN_VOICE_NETWORK}, which is built in");
    let Some(voice) = plan.voice() else {
        let check = check(built_in.clone());
        return match store.resolve(name) {
            Ok(_) | Err(ModelError::NotInstalled { .. }) => check,
            // Somebody wanted none.
            Err(_) if args.vad_model.is_some() => check,
            Err(error) => check.but(Level::Warn, error.to_string(), again),
        };
    };
    let file = voice.model.display();
    match engine::load(&voice.program, voice.load_spec(), voice.limits).await {
        Ok(report) => check(format!("{file}: loaded in {:.1} s", report.load_seconds)),
        // A server goes on with what is built in.
        Err(ending) => {
            let observed = format!("{built_in}, since {file} does not load");
            check(observed).but(Level::Warn, ending.detail, again)
        }
    }
}
