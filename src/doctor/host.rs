//! Checks of the machine: system, container, device files, CPU.

use super::facts::Host;
use super::report::{Area, Check, GpuExpectation, Severity};
use auris_core::probe::{UnavailableCause, Wsl};
use auris_scheduler::supervisor::detect::CpuProgramError;

/// The checks that need no driver.
pub(super) fn checks(host: &Host, expectation: GpuExpectation) -> Vec<Check> {
    vec![os(host, expectation), container(host, expectation), device_nodes(host, expectation)]
}

fn os(host: &Host, expectation: GpuExpectation) -> Check {
    let wsl = match host.place.wsl {
        None => "",
        Some(Wsl::One) => ", WSL 1",
        Some(Wsl::Two) => ", WSL 2",
    };
    let check = Check::pass(Area::Gpu, "os", format!("{}{wsl}", host.system));
    match host.place.wsl {
        Some(Wsl::One) => check.with_problem(
            expectation.level(),
            "WSL 1 has no GPUs",
            UnavailableCause::NoDevice.fix(host.place),
        ),
        _ => check,
    }
}

fn container(host: &Host, expectation: GpuExpectation) -> Check {
    if !host.place.container {
        return Check::pass(Area::Gpu, "container", "none");
    }
    let environment = &host.environment;
    let (visible, capabilities) =
        (&environment.nvidia_visible_devices, &environment.nvidia_driver_capabilities);
    let shown = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name}={value}")).unwrap_or_default()
    };
    let check = Check::pass(
        Area::Gpu,
        "container",
        format!(
            "yes{}{}",
            shown("NVIDIA_VISIBLE_DEVICES", visible),
            shown("NVIDIA_DRIVER_CAPABILITIES", capabilities)
        ),
    );
    // `void` is no mistake: CDI sets it to disable the older hook.
    let hidden = visible.as_deref().is_some_and(|value| value == "none" || value.is_empty());
    if hidden && host.nodes.is_empty() {
        return check.with_problem(
            expectation.level(),
            "NVIDIA_VISIBLE_DEVICES keeps GPUs out of the container",
            "set NVIDIA_VISIBLE_DEVICES=all",
        );
    }
    let has_compute = |list: &str| list.split(',').any(|c| ["compute", "all"].contains(&c.trim()));
    match capabilities.as_deref().filter(|list| !list.is_empty()) {
        Some(list) if !has_compute(list) => check.with_problem(
            expectation.level(),
            "the container toolkit mounts no CUDA driver without `compute`",
            "set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ),
        _ => check,
    }
}

fn device_nodes(host: &Host, expectation: GpuExpectation) -> Check {
    let list: Vec<String> = host.nodes.iter().map(|node| node.path.display().to_string()).collect();
    let observed = match (list.is_empty(), host.pci_gpus) {
        (false, _) => list.join(", "),
        (true, 0) => "none".to_owned(),
        (true, gpus) => format!("none, with {gpus} NVIDIA GPUs on the PCI bus"),
    };
    let check = Check::pass(Area::Gpu, "device-nodes", observed);
    let has = |name: &str| host.nodes.iter().any(|node| node.path.ends_with(name));
    if let Some(node) = host.nodes.iter().find(|node| !node.usable) {
        return check.with_problem(
            expectation.level(),
            format!("this user has no access to {}", node.path.display()),
            "run auris as a user or group with access (`ls -l /dev/nvidia* /dev/dxg`), or change the \
             permissions",
        );
    }
    match host.place.wsl {
        Some(Wsl::One) => check,
        Some(Wsl::Two) if !has("dxg") => check.with_problem(
            expectation.level(),
            "WSL has no GPU without /dev/dxg",
            if host.place.container {
                UnavailableCause::NoDevice.fix(host.place)
            } else {
                "run `wsl --update` and `wsl --shutdown` in Windows, and check that Windows \
                 itself shows the GPU"
            },
        ),
        None if !host.nodes.is_empty() && !has("nvidia-uvm") => check.with_problem(
            expectation.level(),
            "CUDA cannot start without /dev/nvidia-uvm",
            "run `sudo nvidia-modprobe -u -c=0` on the host",
        ),
        None if host.nodes.is_empty() && host.pci_gpus > 0 => check.with_problem(
            expectation.level(),
            "no driver is loaded for these GPUs",
            UnavailableCause::NoDriver.fix(host.place),
        ),
        None if host.nodes.is_empty() && expectation.demanded => check.with_problem(
            expectation.level(),
            "a GPU is required",
            UnavailableCause::NoDriver.fix(host.place),
        ),
        _ => check,
    }
}

/// Whether the worker program is there, and the CPU has the instructions that it was built to
/// use.
pub(super) fn cpu_features(name: &str, program: Result<(), CpuProgramError>) -> Check {
    let check = Check::pass(Area::Service, "cpu-features", name);
    match program {
        Ok(()) => check,
        Err(error) => check.with_problem(Severity::Fail, error.to_string(), error.fix()),
    }
}

/// Whether `slots` of `threads` each have a core of their own for every thread.
pub(super) fn threads(host: &Host, slots: usize, threads: usize, cores: usize) -> Check {
    let available = host.quota_cores.map_or(cores as f64, |quota| quota.min(cores as f64));
    let quota = match host.quota_cores {
        Some(quota) => format!(", CPU quota {quota}"),
        None => String::new(),
    };
    let observed = format!("{slots} chunks at once × {threads} threads on {cores} cores{quota}");
    let check = Check::pass(Area::Service, "threads", observed);
    // A quota between two whole numbers is rounded as for the defaults; there is always a thread.
    if (slots * threads) as f64 <= available.ceil().max(1.0) {
        return check;
    }
    check.with_problem(
        Severity::Warn,
        "threads that share a core spin while they wait for each other, and are many times slower",
        format!(
            "give --slots and --threads whose product is at most {}, or more cores",
            available.floor().max(1.0)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::Node;
    use auris_core::probe::{GpuEnvironment, HostKind};

    const AUTO: GpuExpectation = GpuExpectation { wanted: true, demanded: false, there: false };

    fn node(path: &str) -> Node {
        Node { path: path.into(), usable: true }
    }

    fn in_place(container: bool, wsl: Option<Wsl>) -> Host {
        Host { place: HostKind { container, wsl }, ..Host::default() }
    }

    /// The level, and the fix if there is one.
    fn level_and_fix(check: &Check) -> (Severity, &str) {
        assert_eq!(check.fix.is_some(), check.level != Severity::Pass, "{check:?}");
        assert_eq!(check.cause.is_some(), check.level != Severity::Pass, "{check:?}");
        (check.level, check.fix.as_deref().unwrap_or_default())
    }

    #[track_caller]
    fn has(check: &Check, level: Severity, words: &str) {
        let (found, fix) = level_and_fix(check);
        assert_eq!(found, level, "{check:?}");
        assert!(fix.contains(words), "{words:?} is missing: {check:?}");
    }

    #[test]
    fn a_machine_without_a_gpu_passes() {
        for check in checks(&Host::default(), AUTO) {
            assert_eq!(check.level, Severity::Pass, "{check:?}");
        }
    }

    #[test]
    fn wsl_1_is_reported_with_the_way_to_wsl_2() {
        let check = os(&in_place(false, Some(Wsl::One)), AUTO);
        has(&check, Severity::Warn, "wsl --set-version <distro> 2");
        let there = GpuExpectation { demanded: true, ..AUTO };
        has(&os(&in_place(false, Some(Wsl::One)), there), Severity::Fail, "--set-version");
        assert_eq!(os(&in_place(false, Some(Wsl::Two)), AUTO).level, Severity::Pass);
    }

    #[test]
    fn windows_needs_its_device() {
        let mut host = in_place(false, Some(Wsl::Two));
        has(&device_nodes(&host, AUTO), Severity::Warn, "wsl --update");
        host.nodes = vec![node("/dev/dxg")];
        assert_eq!(device_nodes(&host, AUTO).level, Severity::Pass);
        has(&device_nodes(&in_place(true, Some(Wsl::Two)), AUTO), Severity::Warn, "--profile gpu");
    }

    #[test]
    fn device_files_must_be_complete_and_usable() {
        let there = GpuExpectation { there: true, ..AUTO };
        let mut host = Host { nodes: vec![node("/dev/nvidia0")], ..Host::default() };
        has(&device_nodes(&host, there), Severity::Fail, "nvidia-modprobe");
        host.nodes.push(node("/dev/nvidia-uvm"));
        assert_eq!(device_nodes(&host, there).level, Severity::Pass);
        host.nodes[0].usable = false;
        has(&device_nodes(&host, there), Severity::Fail, "ls -l");
        let driverless = Host { pci_gpus: 1, ..Host::default() };
        has(&device_nodes(&driverless, AUTO), Severity::Warn, "install the NVIDIA driver");
    }

    #[test]
    fn a_container_must_be_given_its_gpu() {
        let with = |visible: Option<&str>, capabilities: Option<&str>| {
            let environment = GpuEnvironment {
                nvidia_visible_devices: visible.map(str::to_owned),
                nvidia_driver_capabilities: capabilities.map(str::to_owned),
                ..GpuEnvironment::default()
            };
            container(&Host { environment, ..in_place(true, None) }, AUTO)
        };
        assert_eq!(with(None, None).level, Severity::Pass);
        assert_eq!(with(Some("all"), Some("compute,utility")).level, Severity::Pass);
        assert_eq!(with(Some("void"), Some("all")).level, Severity::Pass);
        has(&with(Some("none"), None), Severity::Warn, "NVIDIA_VISIBLE_DEVICES=all");
        has(&with(Some("all"), Some("utility")), Severity::Warn, "compute,utility");
    }

    #[test]
    fn threads_fit_into_the_quota() {
        let with = |quota_cores, slots, per_slot| {
            threads(&Host { quota_cores, ..Host::default() }, slots, per_slot, 8)
        };
        assert_eq!(with(None, 2, 4).level, Severity::Pass);
        assert_eq!(with(Some(1.5), 1, 2).level, Severity::Pass);
        has(&with(None, 4, 4), Severity::Warn, "at most 8");
        has(&with(Some(2.0), 2, 4), Severity::Warn, "at most 2");
        has(&with(Some(0.5), 2, 1), Severity::Warn, "at most 1");
        assert_eq!(with(Some(0.5), 1, 1).level, Severity::Pass);
    }
}
