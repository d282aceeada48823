//! What a worker keeps once it knows its model. The engine is C code that reads a file from the
//! internet and strangers' audio; should either take it over, it finds no files, no network and no
//! programs.

use std::fs;
use std::path::PathBuf;

use auris_core::device::Backend;
use auris_core::ipc::LoadSpec;
use auris_core::probe::GpuEnvironment;
use auris_sandbox::Sandbox;

use crate::BACKEND;

/// Where the C library counts cores.
const CPUS: &str = "/sys/devices/system/cpu";

/// What the driver's libraries read: themselves, the devices' descriptions, and settings.
const DRIVER_FILES: [&str; 15] = [
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/run",
    "/nix/store",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/nvidia",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/localtime",
];

/// How other processes share a GPU, unless a variable says otherwise.
const MPS_PIPES: &str = "/tmp/nvidia-mps";

/// Confines this process, which must have one thread, for good.
pub fn confine(spec: &LoadSpec, environment: &GpuEnvironment) {
    let confinement = match BACKEND {
        Backend::Cpu => on_cpu(spec).confine_thread(),
        Backend::Cuda => on_gpu(spec, environment).confine_thread(),
    };
    if confinement.is_whole() {
        tracing::debug!("the worker is confined: {confinement:?}");
    } else {
        tracing::warn!("the worker is not wholly confined: {confinement:?}");
    }
}

fn on_cpu(spec: &LoadSpec) -> Sandbox<'static> {
    let readable = vec![spec.model.clone(), CPUS.into()];
    Sandbox { readable, ..Sandbox::default() }
}

/// The driver opens devices, libraries and sockets as it likes.
fn on_gpu(spec: &LoadSpec, environment: &GpuEnvironment) -> Sandbox<'static> {
    let listed = environment.library_path.as_deref().unwrap_or_default().split([':', ';']);
    let listed = listed.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    // The libraries of the image, which are found from where this program is.
    let own = std::env::current_exe().ok();
    let own = own.iter().flat_map(|program| program.ancestors().skip(1).take(1));
    let own = own.flat_map(|folder| [folder.to_owned(), folder.join("../lib/auris")]);
    let readable = [spec.model.clone()].into_iter().chain(DRIVER_FILES.map(PathBuf::from));
    let cache = environment.cache_folder();
    if let Some(cache) = &cache {
        // Kernels are compiled again each time if it cannot be made.
        let _ = fs::create_dir_all(cache);
    }
    let pipes = environment.mps_pipes.as_deref().unwrap_or(MPS_PIPES);
    Sandbox {
        readable: readable.chain(listed).chain(own).collect(),
        writable: ["/dev".into(), pipes.into()].into_iter().chain(cache).collect(),
        local_sockets: true,
        ..Sandbox::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> LoadSpec {
        LoadSpec {
            model: "/models/tiny.bin".into(),
            gpu_index: None,
            gpu_uuid: None,
            slots: 1,
            threads: 1,
            whole_windows: false,
        }
    }

    #[test]
    fn a_gpu_keeps_its_driver_devices_and_cache_and_no_programs() {
        let home = tempfile::tempdir().unwrap();
        let environment = GpuEnvironment {
            library_path: Some("/opt/cuda/lib64::/mine".to_owned()),
            home: Some(home.path().display().to_string()),
            ..GpuEnvironment::default()
        };
        let sandbox = on_gpu(&spec(), &environment);
        for path in ["/models/tiny.bin", "/usr", "/opt/cuda/lib64", "/mine", "/etc/ld.so.cache"] {
            assert!(sandbox.readable.contains(&path.into()), "{path}");
        }
        let cache = home.path().join(".nv/ComputeCache");
        assert!(cache.is_dir());
        assert_eq!(sandbox.writable, [PathBuf::from("/dev"), MPS_PIPES.into(), cache]);
        assert!(sandbox.executable.is_empty() && sandbox.local_sockets);
    }
}
