//! Whether this CPU has the instructions that the engine was compiled to use.
//!
//! ggml uses the instructions it was compiled for without checking: a container image is built for
//! x86-64-v3, and a local build for the building machine. On an older CPU it would end in SIGILL,
//! so this is checked first. The rest of the program is compiled for any x86-64.

/// The instruction sets that ggml was compiled to use and this CPU lacks.
#[cfg(target_arch = "x86_64")]
pub fn missing_instructions() -> Vec<String> {
    use std::arch::is_x86_feature_detected as has;
    use std::ffi::c_int;

    use whisper_rs::whisper_rs_sys as sys;

    type IsUsed = unsafe extern "C" fn() -> c_int;
    // What ggml 0.9.5 reports about its x86-64 build, except AMX, which Rust cannot detect.
    let sets: [(&str, IsUsed, bool); 10] = [
        ("SSSE3", sys::ggml_cpu_has_ssse3, has!("ssse3")),
        ("AVX", sys::ggml_cpu_has_avx, has!("avx")),
        ("AVX2", sys::ggml_cpu_has_avx2, has!("avx2")),
        ("FMA", sys::ggml_cpu_has_fma, has!("fma")),
        ("F16C", sys::ggml_cpu_has_f16c, has!("f16c")),
        ("BMI2", sys::ggml_cpu_has_bmi2, has!("bmi2")),
        ("AVX-VNNI", sys::ggml_cpu_has_avx_vnni, has!("avxvnni")),
        ("AVX-512", sys::ggml_cpu_has_avx512, has!("avx512f")),
        ("AVX-512 VBMI", sys::ggml_cpu_has_avx512_vbmi, has!("avx512vbmi")),
        ("AVX-512 VNNI", sys::ggml_cpu_has_avx512_vnni, has!("avx512vnni")),
    ];
    // SAFETY: they take nothing and return a constant of the build.
    let used = sets.into_iter().map(|(name, used, has)| (name, unsafe { used() } != 0, has));
    used.filter(|(_, used, has)| *used && !has).map(|(name, ..)| name.to_owned()).collect()
}

/// On other architectures, ggml is compiled for what every such CPU has, or for this very machine.
#[cfg(not(target_arch = "x86_64"))]
pub fn missing_instructions() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_that_built_it_can_run_it() {
        assert!(missing_instructions().is_empty());
    }
}
