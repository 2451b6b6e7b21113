//! `cargo fuzz` for [`kinject_fuzz::paths`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinject_fuzz::paths(bytes));
