//! ggml's own list of devices: the ones that whisper.cpp will use, in its order.
//!
//! Calling this starts CUDA, and any CUDA error ends the process, so the driver is queried first.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use whisper_rs::whisper_rs_sys as sys;

use auris_core::probe::{CudaBuild, CudaVersion};

/// A device by its position in the list, which never changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct GgmlDevice(usize);

/// All devices, the host's CPU included.
pub(super) fn devices() -> impl Iterator<Item = GgmlDevice> {
    // SAFETY: takes nothing; the first call makes the list, once, behind a lock.
    let count = unsafe { sys::ggml_backend_dev_count() };
    (0..count).map(GgmlDevice)
}

/// The GPUs, filtered like `whisper_backend_init_gpu` of whisper.cpp 1.8.3, so that the position in
/// the result is whisper.cpp's `gpu_device`.
pub(super) fn gpus() -> Vec<GgmlDevice> {
    devices().filter(|device| device.is_gpu()).collect()
}

impl GgmlDevice {
    fn raw(self) -> sys::ggml_backend_dev_t {
        // SAFETY: the position is below the count; devices live as long as the process, which is
        // what the calls below rely on.
        unsafe { sys::ggml_backend_dev_get(self.0) }
    }

    pub(super) fn is_gpu(self) -> bool {
        // SAFETY: the device comes from the list.
        let kind = unsafe { sys::ggml_backend_dev_type(self.raw()) };
        kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_GPU
            || kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_IGPU
    }

    /// Free and all bytes of its memory, as reported by its driver.
    pub(super) fn memory(self) -> (u64, u64) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the device comes from the list; writes two integers.
        unsafe { sys::ggml_backend_dev_memory(self.raw(), &raw mut free, &raw mut total) };
        (free as u64, total as u64)
    }

    pub(super) fn name(self) -> String {
        // SAFETY: the device comes from the list; the text lives as long as it.
        let name = unsafe { text(sys::ggml_backend_dev_description(self.raw())) };
        name.unwrap_or_else(|| "GPU".to_owned())
    }

    /// ggml's name for its memory, such as `CUDA0`.
    pub(super) fn buffer_name(self) -> String {
        // SAFETY: the device comes from the list; buffer types live as long as it.
        let name = unsafe {
            text(sys::ggml_backend_buft_name(sys::ggml_backend_dev_buffer_type(self.raw())))
        };
        name.unwrap_or_default()
    }

    /// Its PCI address, such as `0000:41:00.0`; `None` if it is not on a bus.
    pub(super) fn pci_address(self) -> Option<String> {
        let mut properties = MaybeUninit::<sys::ggml_backend_dev_props>::zeroed();
        // SAFETY: the properties are plain numbers and pointers, valid when zero; ggml fills them
        // in with strings that live as long as the process.
        unsafe {
            sys::ggml_backend_dev_get_props(self.raw(), properties.as_mut_ptr());
            text(properties.assume_init().device_id)
        }
    }
}

/// # Safety
/// `text` is null or ends in a zero byte.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
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
