//! Helpers for the tests of several crates and for `cargo xtask`.

pub mod containerd;
pub mod private_folder;
pub mod program;
pub mod skip;
pub mod waiting;
