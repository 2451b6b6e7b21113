//! What the tests of several crates and `cargo xtask` have in common.

pub mod program;
pub mod skip;
pub mod waiting;
