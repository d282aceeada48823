//! The same calls inside whisper.cpp go through the engine as in auris's own programs.

fn main() {
    for function in ["ggml_soft_max_ext", "ggml_flash_attn_ext", "ggml_build_forward_expand"] {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
}
