//! A fake NVIDIA driver, compiled once from `tests/fixtures/fake_libcuda.c`; its head lists the
//! variables that tell it what to do.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use auris_scheduler::supervisor::WorkerProgram;

use super::harness::repository;

/// The folder with the fake `libcuda.so.1` and `libnvidia-ml.so.1`, for `LD_LIBRARY_PATH`.
pub fn library_path() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-driver");
        fs::create_dir_all(&folder).unwrap();
        let source = repository("tests/fixtures/fake_libcuda.c");
        let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
            let library = folder.join(name);
            if modified(&library) > modified(&source) {
                continue;
            }
            // Other test processes do the same at the same time.
            let mine = folder.join(format!("{name}.{}", process::id()));
            let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
                .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
                .args([&mine, &source])
                .status();
            assert!(compiled.is_ok_and(|status| status.success()), "{name} cannot be compiled");
            fs::rename(mine, library).unwrap();
        }
        folder
    })
}

/// Variables as settings for [`program`], or for a command: the fake driver is the one that is
/// found, and nothing that this machine's user has set hides it.
pub fn settings(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = library_path().to_str().unwrap();
    let base = [("LD_LIBRARY_PATH", path)];
    base.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// The fake worker, started with `variables` and without this process's own
/// settings of CUDA.
pub fn program(variables: &[(String, String)]) -> WorkerProgram {
    let mut arguments: Vec<OsString> = ["-u", "CUDA_VISIBLE_DEVICES"].map(Into::into).to_vec();
    arguments.extend(variables.iter().map(|(name, value)| format!("{name}={value}").into()));
    arguments.extend([super::harness::program("auris-fake-worker").into(), "none".into()]);
    WorkerProgram { path: "/usr/bin/env".into(), arguments }
}

/// Whether this machine has a driver of its own, which is then found where the fake one is not.
pub fn is_real_one_installed() -> bool {
    !auris_core::probe::library_candidates(Path::new("/"), auris_core::probe::CUDA_DRIVER, None)
        .is_empty()
}
