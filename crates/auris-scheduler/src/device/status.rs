//! What a device reports about itself, and what to change when it keeps running out of memory. Pure.

use std::time::Instant;

use super::ManagedDevice;
use crate::breaker::{Breaker, BreakerState};
use crate::memory::MemoryNeed;
use crate::plan::Settings;
use crate::snapshot::{BreakerStatus, DeviceStatus};

/// This many out-of-memory failures within [`ADVICE_TIME`](crate::instance::ADVICE_TIME) trigger
/// advice.
const FREQUENT_OOMS: usize = 3;

/// The facts about a model that keeps running out of memory.
#[derive(Debug)]
struct Situation<'a> {
    model: &'a str,
    slots: usize,
    need: MemoryNeed,
    /// Bytes available to the model: the free memory plus its own.
    room: u64,
    /// Quantised variants, largest first: name, need, whether the file is installed.
    variants: Vec<(&'a str, MemoryNeed, bool)>,
    may_swap: bool,
}

impl ManagedDevice {
    pub(crate) fn status(&self, settings: &Settings, now: Instant) -> DeviceStatus {
        let breaker = self.breaker();
        let breaker = match (breaker.and_then(Breaker::cause), breaker.map(Breaker::state)) {
            (Some(reason), Some(BreakerState::Open { until })) => {
                let retry_in_seconds = until.saturating_duration_since(now).as_secs_f64();
                BreakerStatus::Open { retry_in_seconds, reason }
            }
            (Some(reason), _) => BreakerStatus::HalfOpen { reason },
            (None, _) => BreakerStatus::Closed,
        };
        let memory = self.memory();
        DeviceStatus {
            info: self.info.clone(),
            slots: self.slots,
            busy_slots: self.busy_slots(),
            breaker,
            utilisation_percent: self.utilisation,
            memory_free_bytes: memory.map(|(free, _)| free),
            memory_reserved_bytes: memory.map(|(_, reserved)| reserved),
            advice: self.advice(settings, now),
            event_log: self.event_log.clone(),
            models: self.instances.iter().map(|instance| instance.status(now)).collect(),
        }
    }

    /// What to change so that models run out of memory less often; `None` if they rarely do.
    pub(crate) fn advice(&self, settings: &Settings, now: Instant) -> Option<String> {
        let instance =
            self.instances.iter().find(|instance| instance.recent_ooms(now) >= FREQUENT_OOMS)?;
        let variants = instance.model.variants.iter();
        let variants = variants.map(|v| (v.name.as_str(), v.need, v.file.is_some())).collect();
        Some(advise(&Situation {
            model: &instance.model.name,
            slots: instance.largest_worker_size().slots,
            need: instance.model.need,
            room: self.room(now).saturating_add(instance.reserved_bytes()),
            variants,
            may_swap: settings.swap_variants,
        }))
    }
}

fn advise(situation: &Situation<'_>) -> String {
    let Situation { model, slots, need, room, .. } = situation;
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let needs = format!(
        "{model} on {slots} slots needs about {:.1} GiB and {:.1} GiB are there",
        gib(need.bytes(*slots)),
        gib(*room)
    );
    // The model just ran out with this many slots, whatever the estimate says.
    let fewer = need.slots_within(*room, slots.saturating_sub(1));
    if fewer > 0 {
        return format!("{needs}: start with --max-per-device {fewer}");
    }
    let fits = |(_, need, _): &&(&str, MemoryNeed, bool)| need.slots_within(*room, 1) == 1;
    match situation.variants.iter().find(fits) {
        Some((name, _, true)) if situation.may_swap => {
            format!("{needs}: load {name} in its place from the start, with --models")
        }
        Some((name, _, true)) => {
            format!("{needs}: {name} is there and fits; start with --on-oom quantized")
        }
        Some((name, _, false)) => format!(
            "{needs}: {name} fits; get it with `auris models pull {name}` and start with \
             --on-oom quantized"
        ),
        None => format!("{needs}: end other programs that use this GPU, or load a smaller model"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn situation(slots: usize, room_mib: u64) -> Situation<'static> {
        let need =
            |weights_mib| MemoryNeed { weights_bytes: weights_mib * MIB, state_bytes: 400 * MIB };
        Situation {
            model: "medium",
            slots,
            need: need(1500),
            room: room_mib * MIB,
            variants: vec![("medium-q8_0", need(800), false), ("medium-q5_0", need(500), true)],
            may_swap: false,
        }
    }

    #[test]
    fn the_advice_fits_the_measured_memory() {
        let advice = |slots, room| advise(&situation(slots, room));
        insta::assert_snapshot!(advice(4, 3500), @"medium on 4 slots needs about 3.5 GiB and 3.4 GiB are there: start with --max-per-device 3");
        insta::assert_snapshot!(advice(1, 2000), @"medium on 1 slots needs about 2.4 GiB and 2.0 GiB are there: medium-q8_0 fits; get it with `auris models pull medium-q8_0` and start with --on-oom quantized");
        insta::assert_snapshot!(advice(1, 1500), @"medium on 1 slots needs about 2.4 GiB and 1.5 GiB are there: medium-q5_0 is there and fits; start with --on-oom quantized");
        insta::assert_snapshot!(advice(1, 900), @"medium on 1 slots needs about 2.4 GiB and 0.9 GiB are there: end other programs that use this GPU, or load a smaller model");
    }
}
