//! A setting of glibc's allocator. The images set the same for the server by
//! `MALLOC_MMAP_THRESHOLD_`.

/// Blocks of memory of at least this size are returned to the system as soon as they are freed.
#[cfg(target_env = "gnu")]
const RETURNED_BYTES: std::ffi::c_int = 128 << 10;

/// Makes the allocator return large blocks to the system when they are freed. Call it before any
/// thread starts.
///
/// glibc raises this limit from 128 KiB up to 32 MiB with each large block that is freed. Samples
/// of 30 s are 2 MiB, so each decoding thread would keep some: over 400 files the server grew from
/// 28 to 40 MiB, but only from 19 to 21 MiB with a fixed limit.
pub fn return_large_blocks() {
    // SAFETY: mallopt takes two numbers and changes a setting of the allocator, which no other
    // thread uses yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_BYTES);
    }
}
