//! ggml's own list of GPUs: the ones that whisper.cpp will use, in its order.
//!
//! Calling this starts CUDA, and any CUDA error ends the process, so the driver is queried first.

use std::ffi::{CStr, c_char};

use whisper_rs::whisper_rs_sys as sys;

use auris_core::probe::{CudaBuild, CudaVersion};

/// A GPU in ggml's list. Its position is whisper.cpp's `gpu_device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedGpu {
    pub(super) name: String,
    pub(super) memory_free_bytes: u64,
    pub(super) memory_total_bytes: u64,
}

/// The GPUs, filtered and counted like `whisper_backend_init_gpu` of whisper.cpp 1.8.3.
pub(super) fn gpus() -> Vec<ListedGpu> {
    // SAFETY: takes nothing; the list is made once and stays.
    let count = unsafe { sys::ggml_backend_dev_count() };
    (0..count).filter_map(gpu).collect()
}

fn gpu(index: usize) -> Option<ListedGpu> {
    // SAFETY: `index` is below the count, and devices live as long as the process.
    let device = unsafe { sys::ggml_backend_dev_get(index) };
    // SAFETY: `device` comes from the list.
    let kind = unsafe { sys::ggml_backend_dev_type(device) };
    let is_gpu = kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_GPU
        || kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_IGPU;
    if !is_gpu {
        return None;
    }
    let (mut free, mut total) = (0, 0);
    // SAFETY: `device` comes from the list; writes two integers.
    unsafe { sys::ggml_backend_dev_memory(device, &mut free, &mut total) };
    // SAFETY: `device` comes from the list; the text lives as long as it.
    let name = unsafe { text(sys::ggml_backend_dev_description(device)) };
    Some(ListedGpu { name, memory_free_bytes: free as u64, memory_total_bytes: total as u64 })
}

/// # Safety
/// `text` is null or ends in a zero byte.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return "GPU".to_owned();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What this program's CUDA code was built for.
pub(super) fn build() -> CudaBuild {
    // The variable that whisper-rs-sys passes on to CMake.
    let architectures = option_env!("CMAKE_CUDA_ARCHITECTURES").map(str::to_owned);
    let cuda = runtime_version();
    CudaBuild { cuda, architectures: architectures.filter(|_| cuda.is_some()) }
}

#[cfg(feature = "cuda")]
fn runtime_version() -> Option<CudaVersion> {
    use std::ffi::c_int;

    unsafe extern "C" {
        /// The version of the CUDA runtime that ggml is linked to. Does not start CUDA.
        fn cudaRuntimeGetVersion(version: *mut c_int) -> c_int;
    }
    let mut version = 0;
    // SAFETY: declared as in CUDA 12's cuda_runtime_api.h; writes one integer.
    let code = unsafe { cudaRuntimeGetVersion(&mut version) };
    u32::try_from(version).ok().filter(|version| code == 0 && *version > 0).map(CudaVersion)
}

#[cfg(not(feature = "cuda"))]
fn runtime_version() -> Option<CudaVersion> {
    None
}
