//! The options about devices.

use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use auris_scheduler::discovery::GpuSelection;
use auris_scheduler::supervisor::WorkerProgram;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub struct DeviceArgs {
    /// What to run on: `auto`, `cpu`, `cuda`, or one GPU as `cuda:1` or `cuda:UUID`; the variable
    /// DEVICE does the same. Without a usable GPU, the CPU is used [default: auto]
    #[arg(long, env = "AURIS_DEVICE", value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Use no GPU; the variable GPU_AVAILABLE=false does the same
    #[arg(long, env = "AURIS_NO_GPU", value_parser = BoolishValueParser::new())]
    pub no_gpu: bool,
    /// Refuse to start if no GPU works
    #[arg(long, env = "AURIS_REQUIRE_GPU", value_parser = BoolishValueParser::new())]
    pub require_gpu: bool,
    /// The most chunks that one GPU runs at once; fewer if its memory is short
    #[arg(long, env = "AURIS_MAX_PER_DEVICE", value_name = "N", default_value_t = 4)]
    pub max_per_device: usize,
    /// What to do when a GPU has no memory for a model even with half of its slots
    #[arg(long, env = "AURIS_ON_OOM", value_enum, default_value_t = OnOom::Cpu)]
    pub on_oom: OnOom,
    /// Whether models stay loaded on the CPU while a GPU does the work
    #[arg(long, env = "AURIS_CPU_STANDBY", value_enum, default_value_t = Standby::Warm)]
    pub cpu_standby: Standby,
    /// How many chunks the CPU runs at once [default: by its cores]
    #[arg(long, env = "AURIS_SLOTS", value_name = "N")]
    pub slots: Option<usize>,
    /// How many threads each of these chunks uses [default: by its cores]
    #[arg(long, env = "AURIS_THREADS", value_name = "N")]
    pub threads: Option<usize>,
    /// Restart an idle worker after this many chunks
    #[arg(long, env = "AURIS_RECYCLE_AFTER", value_name = "CHUNKS", default_value_t = 1_000)]
    pub recycle_after: u64,
    /// Unload a model that has been idle for this many minutes [default: never]
    #[arg(long, env = "AURIS_UNLOAD_AFTER_MINUTES", value_name = "MINUTES")]
    pub unload_after_minutes: Option<f64>,
    /// Restart a worker that makes no progress for this many seconds
    #[arg(long, env = "AURIS_STALL_SECONDS", value_name = "SECONDS", default_value_t = 60.0)]
    pub stall_seconds: f64,
    /// How many seconds loading a model may take
    #[arg(long, env = "AURIS_LOAD_SECONDS", value_name = "SECONDS", default_value_t = 600.0)]
    pub load_seconds: f64,
    /// How many seconds a GPU's driver may take to answer a probe
    #[arg(long, env = "AURIS_PROBE_SECONDS", value_name = "SECONDS", default_value_t = 15.0)]
    pub probe_seconds: f64,
    /// The worker program for the CPU [default: auris-worker beside this program]
    #[arg(long, env = "AURIS_CPU_PROGRAM", value_name = "COMMAND", value_parser = worker_program)]
    pub cpu_program: Option<WorkerProgram>,
    /// The worker program for NVIDIA GPUs [default: auris-worker-cuda beside this program]
    #[arg(long, env = "AURIS_CUDA_PROGRAM", value_name = "COMMAND", value_parser = worker_program)]
    pub cuda_program: Option<WorkerProgram>,
    /// Let worker processes and ffmpeg reach files, network and programs like any other process; for
    /// systems on which they fail otherwise
    #[arg(long, env = "AURIS_NO_SANDBOX", value_parser = BoolishValueParser::new())]
    pub no_sandbox: bool,
}

/// Reads a command as a shell does.
fn worker_program(command: &str) -> Result<WorkerProgram, String> {
    let words = shlex::split(command).unwrap_or_default();
    let [path, arguments @ ..] = &words[..] else {
        return Err("give a program, with spaces in its name quoted".to_owned());
    };
    let arguments = arguments.iter().map(Into::into).collect();
    Ok(WorkerProgram { path: path.into(), arguments })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best that works.
    Auto,
    Cpu,
    /// GPUs, as long as they work.
    Cuda(GpuSelection),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" | "gpu" => return Ok(Self::Cuda(GpuSelection::All)),
            _ => {}
        }
        let which = lower.strip_prefix("cuda:").filter(|which| !which.is_empty());
        let which = which.ok_or_else(|| {
            format!("`{text}` is not one of auto, cpu, cuda, cuda:INDEX, cuda:UUID")
        })?;
        if let Ok(index) = which.parse() {
            return Ok(Self::Cuda(GpuSelection::Index(index)));
        }
        match which.strip_prefix("gpu-").unwrap_or(which) {
            uuid if uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-') => {
                Ok(Self::Cuda(GpuSelection::Uuid(format!("gpu-{uuid}"))))
            }
            _ => Err(format!(
                "`{which}` is neither an index such as 0 nor a UUID such as \
                 GPU-5c89d5ab-0b5a-4f1e-9d3c-7a4f2f1d9e60; `auris devices` lists both"
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOom {
    /// The CPU takes over
    Cpu,
    /// An installed quantised variant of the model takes over on the same GPU, then the CPU
    Quantized,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Standby {
    /// With its models loaded, so that it takes over in less than a second
    Warm,
    /// With nothing loaded, which saves memory
    Cold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_device_is_read() {
        let choice = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(choice("AUTO"), Ok(DeviceChoice::Auto));
        assert_eq!(choice("gpu"), Ok(DeviceChoice::Cuda(GpuSelection::All)));
        assert_eq!(choice("cuda:1"), Ok(DeviceChoice::Cuda(GpuSelection::Index(1))));
        let uuid = DeviceChoice::Cuda(GpuSelection::Uuid("gpu-5c89d5ab-0b5a".to_owned()));
        assert_eq!(choice("cuda:GPU-5C89d5ab-0b5a"), Ok(uuid.clone()));
        assert_eq!(choice("cuda:5c89d5ab-0b5a"), Ok(uuid));
    }

    #[test]
    fn what_is_no_device_is_reported_with_what_is() {
        let refusal = |text: &str| text.parse::<DeviceChoice>().unwrap_err();
        insta::assert_snapshot!(refusal("cuda:"), @"`cuda:` is not one of auto, cpu, cuda, cuda:INDEX, cuda:UUID");
        insta::assert_snapshot!(refusal("rocm"), @"`rocm` is not one of auto, cpu, cuda, cuda:INDEX, cuda:UUID");
        insta::assert_snapshot!(refusal("cuda:first"), @"`first` is neither an index such as 0 nor a UUID such as GPU-5c89d5ab-0b5a-4f1e-9d3c-7a4f2f1d9e60; `auris devices` lists both");
    }
}
