//! Facts about the machine that need no driver: system files, read in one place.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use auris_core::cgroup;
use auris_core::probe::{
    CUDA_DRIVER, DriverCandidate, GpuEnvironment, HostKind, NVML, library_candidates,
};

const NVIDIA: &str = "0x10de";

/// Files by which processes reach GPUs. All but the first are NVIDIA's own driver's.
const NODES: [&str; 3] = ["dxg", "nvidiactl", "nvidia-uvm"];

/// The observed facts. Made up in tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub(super) place: HostKind,
    /// Kernel and distribution.
    pub(super) system: String,
    pub(super) nodes: Vec<Node>,
    /// NVIDIA's display adapters on the PCI bus.
    pub(super) pci_gpus: usize,
    /// The version of NVIDIA's kernel module, such as `550.54.14`.
    pub(super) kernel_module: Option<String>,
    pub(super) cuda: Vec<DriverCandidate>,
    pub(super) nvml: Vec<DriverCandidate>,
    pub(super) environment: GpuEnvironment,
    /// The container's or service's CPU quota, in cores.
    pub(super) quota_cores: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    /// Whether this user may use it.
    pub(super) usable: bool,
}

impl Host {
    /// Looks below `root`, which is `/` outside of tests.
    pub(super) fn look(root: &Path, environment: GpuEnvironment) -> Self {
        let path = environment.library_path.as_deref();
        Self {
            place: HostKind::of(root),
            system: system(root),
            nodes: nodes(root),
            pci_gpus: pci_gpus(root),
            kernel_module: kernel_module(root),
            cuda: library_candidates(root, CUDA_DRIVER, path),
            nvml: library_candidates(root, NVML, path),
            quota_cores: quota(root),
            environment,
        }
    }

    /// Whether there is a sign of a GPU for CUDA: a device file or a driver.
    pub(super) fn has_gpu(&self) -> bool {
        !self.nodes.is_empty() || !self.cuda.is_empty()
    }
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

fn system(root: &Path) -> String {
    // "Linux version 6.8.0-45-generic (buildd@lcy02) (gcc …) …"
    let version = read(root, "proc/version");
    let kernel = version.split(' ').nth(2).unwrap_or("?").trim();
    let release = read(root, "etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map_or("an unknown distribution", |name| name.trim_matches('"'));
    format!("Linux {kernel}, {name}")
}

fn nodes(root: &Path) -> Vec<Node> {
    let dev = root.join("dev");
    let numbered = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = fs::read_dir(&dev).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| numbered(name) || NODES.contains(&name.as_str()))
        .collect();
    names.sort();
    let node = |name: &String| {
        let file = dev.join(name);
        // Checked, not opened: opening starts the GPU, and may hang if that is broken.
        let usable = rustix::fs::access(&file, Access::READ_OK | Access::WRITE_OK).is_ok();
        Node { path: Path::new("/dev").join(name), usable }
    };
    names.iter().map(node).collect()
}

fn pci_gpus(root: &Path) -> usize {
    let devices = fs::read_dir(root.join("sys/bus/pci/devices")).into_iter().flatten().flatten();
    let is_gpu = |device: &fs::DirEntry| {
        let text = |name| fs::read_to_string(device.path().join(name)).unwrap_or_default();
        // Class 3 is display controllers.
        text("vendor").trim() == NVIDIA && text("class").starts_with("0x03")
    };
    devices.filter(is_gpu).count()
}

fn kernel_module(root: &Path) -> Option<String> {
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 …", or with "Open
    // Kernel Module for x86_64" in the middle.
    let text = read(root, "proc/driver/nvidia/version");
    let is_version =
        |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

/// The CPU quota of this process's control group and those above it, in cores.
fn quota(root: &Path) -> Option<f64> {
    let of_group = |text: &String| {
        let (quota, period) = text.split_once(' ')?;
        cores(quota, period)
    };
    let quotas = cgroup::values(root, "cpu.max");
    quotas.iter().filter_map(of_group).min_by(f64::total_cmp).or_else(|| {
        let value = |name: &str| cgroup::value_v1(root, "cpu", name);
        cores(&value("cpu.cfs_quota_us"), &value("cpu.cfs_period_us"))
    })
}

/// `max` and -1 are no limit.
fn cores(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use auris_core::probe::Wsl;

    fn host(files: &[(&str, &str)]) -> Host {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Host::look(root.path(), GpuEnvironment::default())
    }

    #[test]
    fn a_machine_with_a_driver_shows_it() {
        let host = host(&[
            ("proc/version", "Linux version 6.8.0-45-generic (buildd@lcy02-amd64) #45-Ubuntu"),
            ("etc/os-release", "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n"),
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n\
                 GCC version:  gcc version 13.2.0\n",
            ),
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("dev/nvidia-uvm", ""),
            ("dev/nvidia-caps", ""),
            ("dev/null", ""),
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
            ("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
            ("usr/lib/x86_64-linux-gnu/libcuda.so.1", ""),
        ]);
        assert_eq!(host.system, "Linux 6.8.0-45-generic, Ubuntu 24.04.1 LTS");
        assert_eq!(host.kernel_module.as_deref(), Some("570.86.10"));
        let nodes: Vec<_> = host.nodes.iter().map(|node| node.path.to_str().unwrap()).collect();
        assert_eq!(nodes, ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"]);
        assert_eq!((host.pci_gpus, host.cuda.len(), host.nvml.len()), (1, 1, 0));
        assert!(host.has_gpu());
    }

    #[test]
    fn a_machine_without_anything_shows_nothing() {
        let host = host(&[]);
        assert_eq!(host.system, "Linux ?, an unknown distribution");
        assert_eq!((host.place, host.quota_cores), (HostKind::default(), None));
        assert!(!host.has_gpu());
    }

    #[test]
    fn windows_shows_its_gpus_by_one_device() {
        let host = host(&[("dev/dxg", ""), ("proc/version", "Linux version 5.15.153.1")]);
        assert_eq!(host.place.wsl, Some(Wsl::Two));
        assert!(host.has_gpu());
    }

    #[test]
    fn the_tightest_quota_counts() {
        let quota = |files: &[(&str, &str)]| host(files).quota_cores;
        assert_eq!(quota(&[("sys/fs/cgroup/cpu.max", "150000 100000\n")]), Some(1.5));
        assert_eq!(quota(&[("sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        let nested = [
            ("proc/self/cgroup", "0::/system.slice/auris.service\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "200000 100000\n"),
            ("sys/fs/cgroup/system.slice/auris.service/cpu.max", "400000 100000\n"),
        ];
        assert_eq!(quota(&nested), Some(2.0));
        let first = [
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota(&first), Some(0.5));
    }
}
