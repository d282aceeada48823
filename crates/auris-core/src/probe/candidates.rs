//! Where copies of the driver's libraries may be.
//!
//! The loader alone chooses which one is used. The others are listed because a second copy is a
//! common reason why no GPU is found: a Linux driver installed inside WSL, or cuda-compat in an
//! image.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host_kind::below;

/// A copy of a driver's library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverCandidate {
    /// Where it was found.
    pub path: PathBuf,
    /// The actual file after following links; `None` for a dangling link.
    pub file: Option<PathBuf>,
    /// Whether the loader took this one.
    pub loaded: bool,
}

/// Folders in which distributions, container toolkits and WSL put the driver's libraries.
const FOLDERS: [&str; 16] = [
    "/usr/lib/wsl/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/usr/lib64/nvidia",
    "/usr/lib/nvidia",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/run/opengl-driver/lib",
    "/usr/local/cuda/compat",
    "/usr/local/cuda/lib64",
];

/// Contains a folder for each Windows driver, where the library's name may end in another `.1`.
const WSL_DRIVERS: &str = "/usr/lib/wsl/drivers";

/// Returns every copy of the library `name` in `library_path` (the value of `LD_LIBRARY_PATH`) and
/// in the usual folders below `root`, which is `/` outside of tests. A file with several names is
/// listed by the first.
pub fn library_candidates(
    root: &Path,
    name: &str,
    library_path: Option<&str>,
) -> Vec<DriverCandidate> {
    let listed = library_path.unwrap_or_default().split([':', ';']);
    let listed = listed.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let usual = FOLDERS.iter().map(|folder| below(root, folder));
    let mut windows: Vec<PathBuf> = fs::read_dir(below(root, WSL_DRIVERS))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    windows.sort();
    let mut found: Vec<DriverCandidate> = Vec::new();
    let inner = format!("{name}.1");
    let named = listed.chain(usual).map(|folder| folder.join(name));
    let windows = windows.iter().flat_map(|folder| [folder.join(name), folder.join(&inner)]);
    for path in named.chain(windows) {
        // Includes dangling links, which an upgrade leaves behind in a container.
        if path.symlink_metadata().is_err() {
            continue;
        }
        let file = path.canonicalize().ok();
        if file.is_none() || found.iter().all(|known| known.file != file) {
            found.push(DriverCandidate { path, file, loaded: false });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::probe::CUDA_DRIVER;

    #[test]
    fn every_copy_is_found_once_and_broken_links_as_well() {
        let root = tempfile::tempdir().unwrap();
        let folder = |path: &str| {
            let folder = below(root.path(), path);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let mine = folder("/opt/mine");
        fs::write(mine.join("libcuda.so.1"), "").unwrap();
        fs::write(folder("/usr/lib/wsl/lib").join("libcuda.so.1"), "").unwrap();
        fs::write(folder("/usr/lib/wsl/drivers/nv_1").join("libcuda.so.1.1"), "").unwrap();
        let distribution = folder("/usr/lib/x86_64-linux-gnu");
        fs::write(distribution.join("libcuda.so.550"), "").unwrap();
        symlink("libcuda.so.550", distribution.join("libcuda.so.1")).unwrap();
        symlink("x86_64-linux-gnu/libcuda.so.550", folder("/usr/lib").join("libcuda.so.1"))
            .unwrap();
        symlink("libcuda.so.535", folder("/usr/lib64").join("libcuda.so.1")).unwrap();

        let path = format!("{}::/nowhere", mine.display());
        let found = library_candidates(root.path(), CUDA_DRIVER, Some(&path));
        let found: Vec<(String, bool)> = found
            .iter()
            .map(|copy| {
                let folder = copy.path.parent().unwrap().strip_prefix(root.path()).unwrap();
                (folder.display().to_string(), copy.file.is_some())
            })
            .collect();
        let expected = [
            ("opt/mine", true),
            ("usr/lib/wsl/lib", true),
            ("usr/lib/x86_64-linux-gnu", true),
            ("usr/lib64", false),
            ("usr/lib/wsl/drivers/nv_1", true),
        ];
        assert_eq!(found, expected.map(|(folder, whole)| (folder.to_owned(), whole)));
    }
}
