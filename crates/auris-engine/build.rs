//! Linker options: which calls inside whisper.cpp go through the engine, and where CUDA's libraries
//! are. CUDA's are only for `--features cuda`, which builds the GPU worker program.
//!
//! The run path belongs to the program, so it is set here and not in the flags of a build command:
//! with `RUSTFLAGS`, every change would recompile all kernels, which takes most of an hour.

use std::env;
use std::path::{Path, PathBuf};

/// Where the program looks for cudart and cuBLAS when it starts: in its own folder, then where a
/// package installs them.
const RUN_PATHS: [&str; 2] = ["$ORIGIN", "$ORIGIN/../lib/auris"];

/// Functions that whisper.cpp calls and that `src/whisper/attention.rs` intercepts.
const WRAPPED: [&str; 3] =
    ["ggml_soft_max_ext", "ggml_flash_attn_ext", "ggml_build_forward_expand"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for function in WRAPPED {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["CUDA_PATH", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for folder in RUN_PATHS {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
    for libraries in toolkit().iter().flat_map(|root| library_folders(root)) {
        println!("cargo::rustc-link-search=native={}", libraries.display());
        // libcuda belongs to the driver; the toolkit's stub is for the linker only and must not be
        // loaded.
        println!("cargo::rustc-link-search=native={}", libraries.join("stubs").display());
        // Last, so that libraries in the program's folder take precedence over the build machine's.
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
    }
}

/// The toolkit named by the environment; `scripts/cuda-toolkit` finds one.
fn toolkit() -> Option<PathBuf> {
    ["CUDA_PATH", "CUDA_HOME"].into_iter().find_map(env::var_os).map(PathBuf::from)
}

fn library_folders(root: &Path) -> Vec<PathBuf> {
    let places = ["lib64", "lib"].map(|name| root.join(name));
    places.into_iter().filter(|folder| folder.join("libcudart.so").exists()).take(1).collect()
}
