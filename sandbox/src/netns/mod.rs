//! A user, mount and network namespace of the sandbox's own, made as an ordinary user.
//!
//! [`unshare`] makes them, `network` puts the world's addresses and routes into the network, `files` shows a
//! pod's resolver files, [`join`] lets a program in, [`confine`] takes from it what a pod would not have either.

mod confine;
mod files;
mod join;
mod network;
mod unshare;

pub use confine::{confine, die_with_parent};
pub use files::Files;
pub use join::{join, pidfd};
pub use network::set_up;
pub use unshare::{Forbidden, unshare};
