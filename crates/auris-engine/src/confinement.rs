//! What a worker keeps once it knows its model. The engine is C code that reads a file from the
//! internet and strangers' audio; should either take it over, it finds no files, no network and no
//! programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use auris_core::device::Backend;
use auris_core::ipc::LoadSpec;
use auris_core::probe::GpuEnvironment;
use auris_sandbox::Sandbox;

use crate::BACKEND;

/// Where the C library counts cores.
const CPUS: &str = "/sys/devices/system/cpu";

/// What the driver's libraries read: themselves, the devices' descriptions, and settings.
const DRIVER_FILES: [&str; 18] = [
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/run/opengl-driver",
    "/run/nvidia",
    "/run/nvidia-persistenced",
    "/run/nvidia-fabricmanager",
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
///
/// # Errors
/// Descriptors or memory are short, so that it would be confined less than it could be.
pub fn confine(spec: &LoadSpec, environment: &GpuEnvironment) -> io::Result<()> {
    let confinement = match BACKEND {
        Backend::Cpu => on_cpu(spec).confine_thread(),
        Backend::Cuda => on_gpu(spec, environment).confine_thread(),
    }?;
    if confinement.is_whole() {
        tracing::debug!("the worker is confined: {confinement:?}");
    } else {
        tracing::warn!("the worker is not wholly confined: {confinement:?}");
    }
    Ok(())
}

fn on_cpu(spec: &LoadSpec) -> Sandbox<'static> {
    let readable = vec![spec.model.clone(), CPUS.into()];
    Sandbox { readable, ..Sandbox::default() }
}

/// The driver opens devices, libraries and sockets as it likes.
fn on_gpu(spec: &LoadSpec, environment: &GpuEnvironment) -> Sandbox<'static> {
    let listed = environment.library_path.as_deref().unwrap_or_default().split([':', ';']);
    let listed = listed.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let own = std::env::current_exe().ok();
    let own = own.iter().flat_map(|program| parts(program));
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
        gpu_driver: true,
        ..Sandbox::default()
    }
}

/// The program, and the libraries of its image or archive: beside it and in `../lib/auris`. Nothing
/// else of its folder, which may be anyone's.
fn parts(program: &Path) -> Vec<PathBuf> {
    let folder = program.parent().unwrap_or(program);
    let beside = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let libraries = beside.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so."))
    });
    let own = [program.to_owned(), folder.join("../lib/auris")];
    own.into_iter().chain(libraries).collect()
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
        for path in ["/", "/run", "/etc", "/home"] {
            assert!(!sandbox.readable.contains(&path.into()), "{path}");
        }
        for path in ["/models/tiny.bin", "/usr", "/opt/cuda/lib64", "/mine", "/etc/ld.so.cache"] {
            assert!(sandbox.readable.contains(&path.into()), "{path}");
        }
        let cache = home.path().join(".nv/ComputeCache");
        assert!(cache.is_dir());
        assert_eq!(sandbox.writable, [PathBuf::from("/dev"), MPS_PIPES.into(), cache]);
        assert!(sandbox.executable.is_empty() && sandbox.gpu_driver);
    }
    #[test]
    fn a_program_has_its_libraries_and_no_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["auris-worker-cuda", "libcublas.so.12", "secret"] {
            fs::write(path(name), "").unwrap();
        }
        let expected = ["auris-worker-cuda", "../lib/auris", "libcublas.so.12"].map(path);
        assert_eq!(parts(&path("auris-worker-cuda")), expected);
    }
}
