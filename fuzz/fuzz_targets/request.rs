//! `cargo fuzz` for [`kinject_fuzz::request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinject_fuzz::request(bytes));
