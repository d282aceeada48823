//! Linker options for every program with the engine; see the engine's build.rs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for function in ["ggml_soft_max_ext", "ggml_flash_attn_ext", "ggml_build_forward_expand"] {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
}
