#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| intertie_fuzz::run("envelope", input));
