//! The host's CPU as a device.

use std::fs;

use crate::device::{Backend, DeviceId, DeviceInfo};

/// Returns the host's CPU, as the operating system describes it. Values that it does not report are
/// 0 or `CPU`.
pub fn cpu() -> DeviceInfo {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let kibibytes = |key| {
        let value = value_of(&meminfo, key).and_then(|value| value.split(' ').next());
        value.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    DeviceInfo {
        id: DeviceId::cpu(),
        backend: Backend::Cpu,
        name: value_of(&cpuinfo, "model name").unwrap_or("CPU").to_owned(),
        memory_total_bytes: kibibytes("MemTotal") * 1024,
        memory_free_bytes: kibibytes("MemAvailable") * 1024,
        index: None,
        uuid: None,
        compute_capability: None,
    }
}

/// Returns the value of the first line `key: value`.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_a_name_and_memory() {
        let cpu = cpu();
        assert!(!cpu.name.is_empty());
        assert!(cpu.memory_total_bytes >= cpu.memory_free_bytes);
        assert!(cpu.memory_free_bytes > 1 << 20);
    }
}
