#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| monet_serve::fuzz::http(bytes));
