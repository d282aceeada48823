//! Where this process runs, as far as it affects how to fix a missing GPU.

use std::fs;
use std::path::Path;

/// The kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostKind {
    /// The version of the Windows Subsystem for Linux, if it is one.
    pub wsl: Option<Wsl>,
    pub container: bool,
}

/// Versions of the Windows Subsystem for Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wsl {
    /// Translates system calls; has no device files that GPUs need.
    One,
    /// A virtual machine with the GPU behind `/dev/dxg`.
    Two,
}

impl HostKind {
    /// Detects the place from the system's files below `root`, which is `/` outside of tests.
    pub fn of(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let kernel = read("proc/version").to_lowercase();
        // "4.4.0-19041-Microsoft" is WSL 1, "5.15.153.1-microsoft-standard-WSL2" is WSL 2. A kernel
        // built by the user may have any name, but the device exists.
        let is_two = kernel.contains("wsl2") || kernel.contains("microsoft-standard");
        let wsl = if is_two || root.join("dev/dxg").exists() {
            Some(Wsl::Two)
        } else {
            kernel.contains("microsoft").then_some(Wsl::One)
        };
        let marked =
            ["/.dockerenv", "/run/.containerenv"].iter().any(|path| below(root, path).exists());
        let cgroup = read("proc/1/cgroup");
        let in_cgroup = ["docker", "kubepods", "containerd", "libpod", "lxc"]
            .iter()
            .any(|engine| cgroup.contains(engine));
        Self { wsl, container: marked || in_cgroup || root_is_overlay(&read("proc/1/mountinfo")) }
    }

    pub fn here() -> Self {
        Self::of(Path::new("/"))
    }
}

/// With its own cgroup namespace and without Docker, the overlay root file system is the only sign
/// of a container.
fn root_is_overlay(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ');
        let on_root = fields.nth(4) == Some("/");
        on_root && line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("overlay "))
    })
}

/// An absolute path below `root`.
pub(super) fn below(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[(&str, &str)]) -> HostKind {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = below(root.path(), path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        HostKind::of(root.path())
    }

    #[test]
    fn wsl_is_detected_by_kernel_or_device() {
        let wsl = |version| place(&[("proc/version", version)]).wsl;
        assert_eq!(wsl("Linux version 6.8.0-45-generic (buildd@lcy02)"), None);
        assert_eq!(
            wsl("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"),
            Some(Wsl::One)
        );
        assert_eq!(wsl("Linux version 5.15.153.1-microsoft-standard-WSL2"), Some(Wsl::Two));
        assert_eq!(place(&[("proc/version", "mine"), ("dev/dxg", "")]).wsl, Some(Wsl::Two));
    }

    #[test]
    fn a_container_is_detected_by_any_sign() {
        let overlay = "1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a\n";
        let disk = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n2 1 0:9 / /a rw - overlay o rw\n";
        for (file, content, container) in [
            ("/.dockerenv", "", true),
            ("/run/.containerenv", "", true),
            ("/proc/1/cgroup", "0::/kubepods/pod1/1", true),
            ("/proc/1/mountinfo", overlay, true),
            ("/proc/1/mountinfo", disk, false),
            ("/proc/1/cgroup", "0::/init.scope", false),
        ] {
            assert_eq!(place(&[(file, content)]).container, container, "{file}");
        }
    }
}
