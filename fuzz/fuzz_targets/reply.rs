//! `cargo fuzz` for [`kinject_fuzz::reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinject_fuzz::reply(bytes));
