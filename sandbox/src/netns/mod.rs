//! A user, mount and network namespace of the sandbox's own, made as an ordinary user.
//!
//! [`unshare`] makes them, `network` puts the world's addresses and routes into the network, `files` shows a
//! pod's resolver files, [`join`] runs a program in them, [`confine`] drops the privileges that a pod does not have.

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
