//! What the dynamic loader must find before the program can start.

use std::fs;

use object::read::elf::{Dyn, ElfFile64};

/// Libraries of a GPU or its driver. A program that needs one does not start without it.
const GPU_LIBRARIES: [&str; 5] =
    ["libcuda.", "libcudart.", "libcublas.", "libcublasLt.", "libnvidia-ml."];

/// The names that the ELF file in `program` needs (its `DT_NEEDED` entries).
fn needed(program: &[u8]) -> Vec<String> {
    let file: ElfFile64<'_> = ElfFile64::parse(program).unwrap();
    let endian = file.endian();
    let sections = file.elf_section_table();
    let (entries, strings) = sections.dynamic(endian, program).unwrap().unwrap();
    let strings = sections.strings(endian, program, strings).unwrap();
    entries
        .iter()
        .filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED)
        .map(|entry| String::from_utf8_lossy(entry.string(endian, strings).unwrap()).into_owned())
        .collect()
}

#[test]
fn the_server_needs_no_gpu_library_to_start() {
    let program = fs::read(env!("CARGO_BIN_EXE_auris")).unwrap();
    let needed = needed(&program);
    assert!(needed.iter().any(|name| name.starts_with("libc.")), "not read right: {needed:?}");
    let of_gpu = |name: &&String| GPU_LIBRARIES.iter().any(|library| name.starts_with(library));
    let found: Vec<&String> = needed.iter().filter(of_gpu).collect();
    assert!(found.is_empty(), "the server cannot start without {found:?}");
}
