#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auris_fuzz::fields(data));
