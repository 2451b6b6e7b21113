//! `cargo fuzz` for [`kinject_fuzz::executable`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinject_fuzz::executable(bytes));
