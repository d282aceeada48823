//! Realistic devices and requests.

use super::world::{MODELS, Random, SimulatedDevice};
use super::{FAULTS_UNTIL, RECOVERY_SECONDS};
use crate::supervisor::WorkerProgram;
use crate::{DevicePlan, MemoryNeed, ModelPlan, Variant};
use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::ipc::{ChunkOptions, Work};
use auris_core::language::Language;

const GIB: u64 = 1 << 30;

#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) at: f64,
    pub(super) model: &'static str,
    /// Seconds of audio of each chunk.
    pub(super) chunks: Vec<f64>,
    /// When its client leaves, if it does so before the end.
    pub(super) leaves: Option<f64>,
}

pub(super) fn gpu(memory_gib: u64, speed: f64, faults: f64) -> SimulatedDevice {
    SimulatedDevice { is_cpu: false, memory_bytes: memory_gib * GIB, speed, faults }
}

pub(super) fn cpu(faults: f64) -> SimulatedDevice {
    SimulatedDevice { is_cpu: true, memory_bytes: 16 * GIB, speed: 2.0, faults }
}

pub(super) fn plan(index: usize, device: &SimulatedDevice) -> DevicePlan {
    let (backend, id) = if device.is_cpu {
        (Backend::Cpu, DeviceId::cpu())
    } else {
        (Backend::Cuda, DeviceId::indexed(Backend::Cuda, index as u32))
    };
    DevicePlan {
        info: DeviceInfo {
            id,
            backend,
            name: "simulated".to_owned(),
            memory_total_bytes: device.memory_bytes,
            memory_free_bytes: device.memory_bytes,
            index: (!device.is_cpu).then_some(index as u32),
            uuid: None,
            compute_capability: None,
        },
        program: WorkerProgram { path: "/nowhere".into(), arguments: Vec::new() },
        slots: if device.is_cpu { 2 } else { 3 },
        threads: 1,
        warm: true,
    }
}

/// The requested models, and the model that replaces them while they are missing.
pub(super) fn models() -> (Vec<ModelPlan>, ModelPlan) {
    let need = |weights_bytes, state_bytes| MemoryNeed { weights_bytes, state_bytes };
    let variant = |&(name, weights, state): &(&str, u64, u64)| Variant {
        name: name.to_owned(),
        file: Some(name.into()),
        need: need(weights, state),
    };
    let model = |(name, weights, state): &(&str, u64, u64)| ModelPlan {
        name: (*name).to_owned(),
        file: (*name).into(),
        need: need(*weights, *state),
        whole_windows: false,
        variants: MODELS[2..3].iter().filter(|_| *name == "large").map(variant).collect(),
    };
    (MODELS[..2].iter().map(model).collect(), model(&MODELS[3]))
}

pub(super) fn arrivals(random: &mut Random, requests: u64) -> Vec<Arrival> {
    let mut at = 0.0;
    let mut arrivals: Vec<Arrival> = (0..requests)
        .map(|_| {
            at += random.unit() * 4.0;
            let chunks = 1 + random.below(6);
            let model = if random.chance(0.5) { "small" } else { "large" };
            Arrival {
                at,
                model,
                chunks: (0..chunks).map(|_| 1.0 + random.unit() * 29.0).collect(),
                leaves: random.chance(0.1).then(|| at + random.unit() * 20.0),
            }
        })
        .collect();
    arrivals.reverse();
    arrivals
}

pub(super) fn work() -> Work {
    Work::Transcribe(ChunkOptions::new(Language::ENGLISH))
}

/// An occasional chunk of each model after the faults are over: devices need these to return.
pub(super) fn later_arrivals() -> impl Iterator<Item = Arrival> {
    let until = FAULTS_UNTIL + RECOVERY_SECONDS + 200.0;
    let times =
        (0..).map(|n| FAULTS_UNTIL + 100.0 * f64::from(n)).take_while(move |at| *at < until);
    times.flat_map(|at| {
        let of = |model| Arrival { at, model, chunks: vec![5.0], leaves: None };
        ["small", "large"].map(of)
    })
}
