#![no_main]

libfuzzer_sys::fuzz_target!(
    // A panic of a decoding library is caught, and is the end of that file alone; libFuzzer would
    // end here before that. A panic that nobody catches still ends it.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |data: &[u8]| auris_fuzz::open(data)
);
