#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fielato_properties::check::fleet(data));
