//! Queries NVIDIA's driver directly: `libcuda.so.1` and `libnvidia-ml.so.1`, loaded at run time.
//!
//! CUDA's own runtime reports "driver too old" for almost everything, and aborts later; the driver
//! itself reports what is wrong. Creates no CUDA context, so it takes no device memory and cannot
//! report free memory. A broken driver may hang or kill the process here, so call this only in a
//! child that does nothing else. The interfaces are those of CUDA 12's `cuda.h` and `nvml.h`; they
//! do not change.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::fs;
use std::path::{Path, PathBuf};

use libloading::Library;

use auris_core::probe::{CUDA_DRIVER, CudaVersion};

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
const CAPABILITY_MAJOR: c_int = 75;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
const CAPABILITY_MINOR: c_int = 76;

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;

/// More than any machine has; a larger count is not believed.
const MOST_DEVICES: c_int = 1024;

/// A GPU as the driver describes it. Its position in the list is CUDA's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DriverGpu {
    pub(super) name: String,
    pub(super) uuid: Option<String>,
    pub(super) memory_total_bytes: u64,
    pub(super) compute_capability: Option<String>,
}

/// What a CUDA driver reports.
#[derive(Debug)]
pub(super) struct CudaDriver {
    /// The newest CUDA that it can run.
    pub(super) cuda: Option<CudaVersion>,
    /// At least one device, or why there is none.
    pub(super) gpus: Result<Vec<DriverGpu>, DriverError>,
}

/// Why a library reports nothing useful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DriverError {
    /// There is no such file; with the loader's message.
    NotFound(String),
    /// It exists but cannot be loaded, or lacks a function; with the loader's message.
    NotLoaded(String),
    /// A call failed.
    Code {
        /// The function that was called.
        call: &'static str,
        /// The code that it returned.
        code: i32,
    },
}

/// Queries the CUDA driver at `path`, or, if `path` is only a name, the one that the loader finds.
pub(super) fn query_cuda(path: &OsStr) -> CudaDriver {
    let library = match load(path) {
        Ok(library) => library,
        Err(error) => return CudaDriver { cuda: None, gpus: Err(error) },
    };
    // It reports its version even if it cannot start.
    CudaDriver { cuda: version(library), gpus: gpus(library) }
}

/// Queries NVML at `path` for the driver's version, such as `550.54.14`.
pub(super) fn query_nvml(path: &OsStr) -> Result<String, DriverError> {
    let library = load(path)?;
    let init: unsafe extern "C" fn() -> c_int = function(library, c"nvmlInit_v2")?;
    let version: unsafe extern "C" fn(*mut c_char, c_uint) -> c_int =
        function(library, c"nvmlSystemGetDriverVersion")?;
    // SAFETY: declared as in nvml.h; takes nothing.
    check("nvmlInit_v2", unsafe { init() })?;
    let mut text = [0u8; 80]; // NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    // SAFETY: declared as in nvml.h; writes at most the length that it is given.
    let code = unsafe { version(text.as_mut_ptr().cast(), text.len() as c_uint) };
    check("nvmlSystemGetDriverVersion", code)?;
    Ok(string(&text))
}

/// The file that the loader took for the library at `path`, if a library of that name is loaded.
pub(super) fn loaded_file(path: &Path) -> Option<PathBuf> {
    // A library's file name ends with the version of the driver: libcuda.so.550.54.14.
    let name = path.file_name()?.to_str()?;
    let stem = &name[..name.find(".so").map_or(name.len(), |at| at + 3)];
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut files: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .filter(|file| file.rsplit('/').next().is_some_and(|name| name.starts_with(stem)))
        .collect();
    // On WSL, the library that programs load loads one of the Windows driver's in turn.
    files.sort_by_key(|file| file.contains("/wsl/drivers/"));
    files.first().map(PathBuf::from)
}

/// Loads a library and never unloads it: a driver's threads and exit handlers outlive every handle.
fn load(path: &OsStr) -> Result<&'static Library, DriverError> {
    // SAFETY: loading runs the library's initialisers. It is NVIDIA's driver, in a process that
    // exists to find out whether that goes well.
    let library = unsafe { Library::new(path) }.map_err(|error| {
        let words = words(&error);
        let missing = words.starts_with(&*path.to_string_lossy()) && words.contains("No such file");
        if missing { DriverError::NotFound(words) } else { DriverError::NotLoaded(words) }
    })?;
    Ok(Box::leak(Box::new(library)))
}

/// The function `name`, which the caller must declare as in the library's header.
fn function<F: Copy>(library: &'static Library, name: &CStr) -> Result<F, DriverError> {
    // SAFETY: every caller names a function of the header with its own type; the library is never
    // unloaded.
    let symbol = unsafe { library.get::<F>(name) };
    symbol.map(|symbol| *symbol).map_err(|error| DriverError::NotLoaded(words(&error)))
}

fn words(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } | libloading::Error::DlSym { source } => {
            source.to_string()
        }
        other => other.to_string(),
    }
}

fn check(call: &'static str, code: c_int) -> Result<(), DriverError> {
    if code == 0 { Ok(()) } else { Err(DriverError::Code { call, code }) }
}

fn version(library: &'static Library) -> Option<CudaVersion> {
    let get: unsafe extern "C" fn(*mut c_int) -> c_int =
        function(library, c"cuDriverGetVersion").ok()?;
    let mut version = 0;
    // SAFETY: declared as in cuda.h; writes one integer, and may be called before cuInit.
    check("cuDriverGetVersion", unsafe { get(&mut version) }).ok()?;
    u32::try_from(version).ok().filter(|version| *version > 0).map(CudaVersion)
}

fn gpus(library: &'static Library) -> Result<Vec<DriverGpu>, DriverError> {
    let init: unsafe extern "C" fn(c_uint) -> c_int = function(library, c"cuInit")?;
    let count: unsafe extern "C" fn(*mut c_int) -> c_int = function(library, c"cuDeviceGetCount")?;
    // SAFETY: declared as in cuda.h; 0 is the one value that it takes.
    check("cuInit", unsafe { init(0) })?;
    let mut devices = 0;
    // SAFETY: declared as in cuda.h; writes one integer.
    check("cuDeviceGetCount", unsafe { count(&mut devices) })?;
    if devices <= 0 {
        return Err(DriverError::Code { call: "cuDeviceGetCount", code: NO_DEVICE });
    }
    (0..devices.min(MOST_DEVICES)).map(|index| gpu(library, index)).collect()
}

fn gpu(library: &'static Library, index: c_int) -> Result<DriverGpu, DriverError> {
    let get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int = function(library, c"cuDeviceGet")?;
    let name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int =
        function(library, c"cuDeviceGetName")?;
    let memory: unsafe extern "C" fn(*mut usize, c_int) -> c_int =
        function(library, c"cuDeviceTotalMem_v2")?;

    let mut device = 0;
    // SAFETY: declared as in cuda.h; writes one integer.
    check("cuDeviceGet", unsafe { get(&mut device, index) })?;
    let mut text = [0u8; 256];
    // SAFETY: declared as in cuda.h; writes at most the length that it is given.
    let code = unsafe { name(text.as_mut_ptr().cast(), text.len() as c_int, device) };
    check("cuDeviceGetName", code)?;
    let mut bytes = 0;
    // SAFETY: declared as in cuda.h; writes one integer.
    check("cuDeviceTotalMem", unsafe { memory(&mut bytes, device) })?;
    Ok(DriverGpu {
        name: string(&text),
        uuid: uuid(library, device),
        memory_total_bytes: bytes as u64,
        compute_capability: capability(library, device),
    })
}

/// `GPU-` and the UUID. For a part of a GPU (MIG), its own UUID if the driver is new enough to
/// distinguish them.
fn uuid(library: &'static Library, device: c_int) -> Option<String> {
    type Get = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int;
    let get: Get = function(library, c"cuDeviceGetUuid_v2")
        .or_else(|_| function(library, c"cuDeviceGetUuid"))
        .ok()?;
    let mut bytes = [0; 16];
    // SAFETY: declared as in cuda.h; writes 16 bytes.
    check("cuDeviceGetUuid", unsafe { get(&mut bytes, device) }).ok()?;
    Some(format!("GPU-{}", uuid::Uuid::from_bytes(bytes)))
}

fn capability(library: &'static Library, device: c_int) -> Option<String> {
    let get: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int =
        function(library, c"cuDeviceGetAttribute").ok()?;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: declared as in cuda.h; writes one integer.
        check("cuDeviceGetAttribute", unsafe { get(&mut value, attribute, device) }).ok()?;
        Some(value)
    };
    Some(format!("{}.{}", attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?))
}

/// The text before the first zero byte.
fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// Whether `path` is, or is named like, a CUDA driver and not another library.
pub(super) fn is_cuda(path: &OsStr) -> bool {
    let name = path.to_string_lossy();
    let stem = CUDA_DRIVER.trim_end_matches(".1");
    name.rsplit('/').next().is_some_and(|name| name.starts_with(stem))
}
