//! `cargo fuzz` for [`kinject_fuzz::address`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinject_fuzz::address(bytes));
