//! Whether this processor has the instructions that the engine was compiled to use.
//!
//! ggml uses without asking what it was compiled for: an image's build is for x86-64-v3, and a
//! build for one's own machine for that machine. On a lesser processor it would end in SIGILL, so
//! this is asked before it runs. The rest of the program is compiled for any x86-64.

use thiserror::Error;

/// The processor cannot run this build's engine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "this processor lacks {}, which this auris was built to use: take a processor that has it \
     (Intel since 2013, AMD since 2015, in a virtual machine a CPU model that passes it on), or \
     build auris on this machine", .0.join(", ")
)]
pub struct LackingInstructions(pub Vec<&'static str>);

/// Asks whether the engine can run here.
///
/// # Errors
/// The instructions that are lacking.
pub fn check() -> Result<(), LackingInstructions> {
    let lacking = lacking();
    if lacking.is_empty() { Ok(()) } else { Err(LackingInstructions(lacking)) }
}

/// The sets of instructions that ggml was compiled to use and this processor lacks.
#[cfg(target_arch = "x86_64")]
fn lacking() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    use std::ffi::c_int;

    use whisper_rs::whisper_rs_sys as sys;

    type IsUsed = unsafe extern "C" fn() -> c_int;
    // What ggml 0.9.5 tells of its build for x86-64, besides AMX, which Rust cannot ask for.
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
    used.filter(|(_, used, has)| *used && !has).map(|(name, ..)| name).collect()
}

/// Elsewhere ggml is compiled for what every processor of the architecture has, or for this very
/// machine.
#[cfg(not(target_arch = "x86_64"))]
fn lacking() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_that_built_it_can_run_it() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn what_is_lacking_is_named_with_what_to_do() {
        insta::assert_snapshot!(LackingInstructions(vec!["AVX2", "FMA"]), @"this processor lacks AVX2, FMA, which this auris was built to use: take a processor that has it (Intel since 2013, AMD since 2015, in a virtual machine a CPU model that passes it on), or build auris on this machine");
    }
}
