//! `auris-fake-worker SCRIPT`: a worker with an engine that fails by SCRIPT.

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use auris_core::device::Backend;
use auris_core::ipc::LoadSpec;
use auris_core::probe::GpuEnvironment;
use auris_engine::probe;
use auris_fake_worker::{Fault, Script, load, send_bad_greeting};
use auris_sandbox::Sandbox;
use auris_worker::{Engine, PrivatePipes};

/// What auris-worker calls it.
const NO_SANDBOX: &str = "--no-sandbox";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    auris_worker::abort_on_panic();
    auris_worker::prefer_as_oom_victim();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (script, options) = arguments.split_first().ok_or("usage: auris-fake-worker SCRIPT")?;
    let script: Script = script.parse()?;
    let is_confined = !options.iter().any(|option| option == NO_SANDBOX);
    let options: Vec<&str> =
        options.iter().map(String::as_str).filter(|option| *option != NO_SANDBOX).collect();
    let pipes = auris_worker::claim_stdio()?;
    if !options.is_empty() {
        return answer(pipes, &options);
    }
    if script.strikes(Fault::Exit) {
        return Ok(ExitCode::from(127));
    }
    if script.strikes(Fault::Garbage) || script.strikes(Fault::Version) {
        send_bad_greeting(&script, pipes.events);
    }
    // As auris-worker, except that it counts its faults in a folder.
    // A folder that is made later is made in another one.
    let made = |marker: &PathBuf| match marker.exists() {
        true => Some(marker.clone()),
        false => marker.parent().map(Into::into),
    };
    let writable: Vec<PathBuf> = script.marker.iter().filter_map(made).collect();
    let confine = |spec: &LoadSpec| {
        if is_confined {
            let readable = vec![spec.model.clone()];
            Sandbox { readable, writable, ..Sandbox::default() }.confine_thread()?;
        }
        Ok(())
    };
    let load = move |spec: &_| load(&script, spec);
    let engine = Engine { backend: Backend::Cpu, confine, load };
    auris_worker::run(pipes.requests, pipes.events, engine)?;
    // Slots may hang.
    std::process::exit(0)
}

/// Answers a question of the parent in a line. A driver that hangs is left behind with the parent.
fn answer(mut pipes: PrivatePipes, options: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    auris_worker::end_with(pipes.requests)?;
    let environment = GpuEnvironment::read();
    let line = match options {
        ["--probe"] => serde_json::to_string(&report(&environment)),
        ["--check-cpu"] => serde_json::to_string(&probe::cpu_report()),
        ["--probe-driver", path] => {
            serde_json::to_string(&probe::driver_report(PathBuf::from(path), &environment))
        }
        _ => return Err(format!("unknown options: {options:?}").into()),
    }?;
    pipes.events.write_all(format!("{line}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reports the driver's GPUs; a test sets their free memory in bytes with CUDA_FAKE_FREE.
fn report(environment: &GpuEnvironment) -> auris_core::probe::ProbeReport {
    let mut report = probe::driver_devices(environment);
    let free = env::var("CUDA_FAKE_FREE").ok().and_then(|bytes| bytes.parse().ok());
    if let Some(free) = free {
        for device in &mut report.devices {
            device.memory_free_bytes = device.memory_total_bytes.min(free);
        }
    }
    report
}
