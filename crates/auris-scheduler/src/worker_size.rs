//! How large a worker is: its slots, and the model or a smaller variant of it. Pure.
//!
//! An instance that runs out of memory goes down these steps before it gives up the device.

use std::path::Path;

use super::memory::MemoryNeed;
use super::plan::ModelPlan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerSize {
    pub(super) slots: usize,
    /// The index of the variant that replaces the model.
    pub(super) variant: Option<usize>,
}

impl WorkerSize {
    pub(super) fn name(self, model: &ModelPlan) -> &str {
        self.variant.and_then(|index| model.variants.get(index)).map_or(&model.name, |v| &v.name)
    }

    pub(super) fn file(self, model: &ModelPlan) -> &Path {
        let variant = self.variant.and_then(|index| model.variants.get(index));
        variant.and_then(|variant| variant.file.as_deref()).unwrap_or(&model.file)
    }

    pub(super) fn need(self, model: &ModelPlan) -> MemoryNeed {
        self.variant.and_then(|index| model.variants.get(index)).map_or(model.need, |v| v.need)
    }

    pub(super) fn bytes(self, model: &ModelPlan) -> u64 {
        self.need(model).bytes(self.slots)
    }
}

/// The worker sizes from largest to smallest: all slots, half of them, then the variants.
pub(super) fn steps(model: &ModelPlan, slots: usize, swap_variants: bool) -> Vec<WorkerSize> {
    let half = (slots / 2).max(1);
    let mut steps = vec![WorkerSize { slots, variant: None }];
    if half < slots {
        steps.push(WorkerSize { slots: half, variant: None });
    }
    if swap_variants {
        let installed = model.variants.iter().enumerate().filter(|(_, v)| v.file.is_some());
        steps.extend(installed.map(|(index, _)| WorkerSize { slots: half, variant: Some(index) }));
    }
    steps
}

/// The first of the `steps` that fits into `room`, with as many of its slots as fit.
pub(super) fn fit(model: &ModelPlan, steps: &[WorkerSize], room: u64) -> Option<WorkerSize> {
    steps.iter().find_map(|step| {
        let slots = step.need(model).slots_within(room, step.slots);
        (slots > 0).then_some(WorkerSize { slots, ..*step })
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::Variant;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn medium() -> ModelPlan {
        let need = |mib| MemoryNeed { weights_bytes: mib * MIB, state_bytes: 400 * MIB };
        let variant = |name: &str, mib, file: Option<&str>| Variant {
            name: name.to_owned(),
            file: file.map(Into::into),
            need: need(mib),
        };
        ModelPlan {
            name: "medium".to_owned(),
            file: "/m".into(),
            need: need(1500),
            whole_windows: false,
            variants: vec![
                variant("medium-q8_0", 800, None),
                variant("medium-q5_0", 500, Some("/m5")),
            ],
        }
    }

    #[test]
    fn half_the_slots_come_before_an_installed_variant_and_nothing_comes_unasked() {
        let all = WorkerSize { slots: 4, variant: None };
        let half = WorkerSize { slots: 2, variant: None };
        assert_eq!(steps(&medium(), 4, false), [all, half]);
        assert_eq!(
            steps(&medium(), 4, true),
            [all, half, WorkerSize { slots: 2, variant: Some(1) }]
        );
        assert_eq!(steps(&medium(), 1, false), [WorkerSize { slots: 1, variant: None }]);
    }

    #[test]
    fn what_fits_is_chosen_by_need() {
        let model = medium();
        let steps = steps(&model, 4, true);
        let fitting = |mib| fit(&model, &steps, mib * MIB);
        assert_eq!(fitting(8000), Some(WorkerSize { slots: 4, variant: None }));
        assert_eq!(fitting(2900), Some(WorkerSize { slots: 2, variant: None }));
        let swapped = fitting(1500).unwrap();
        assert_eq!(swapped, WorkerSize { slots: 1, variant: Some(1) });
        assert_eq!((swapped.name(&model), swapped.file(&model)), ("medium-q5_0", Path::new("/m5")));
        assert_eq!(fitting(1000), None);
    }
}
