//! The allocator of the whole process, the server's as well as the worker's.

/// From this size on, a block of memory goes back to the system as soon as it is freed.
#[cfg(target_env = "gnu")]
const RETURNED_BYTES: std::ffi::c_int = 128 << 10;

/// Has large blocks go back to the system when they are freed. Call it before any thread starts.
///
/// glibc raises that limit, at first 128 KiB, up to 32 MiB with each large block that is freed.
/// Samples of 30 s are 2 MiB, so that each decoding thread would keep some: over 400 files the
/// server grew from 28 to 40 MiB, and with the limit held from 19 to 21.
pub fn return_large_blocks() {
    // SAFETY: mallopt takes two numbers and changes a setting of the allocator, which no other
    // thread uses yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_BYTES);
    }
}
