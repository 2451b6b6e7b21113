//! Starts an agent that a session has uploaded into the cluster in ConfigMaps. The image of the pod may be any image.
//!
//! The session compresses the agent with xz and cuts it into parts that fit into ConfigMaps. The loader unpacks the
//! parts into a file in memory (memfd_create(2)), compares the SHA-256 of the result with the one in its arguments, and
//! executes the file (execveat(2)). On nodes that forbid executing a memfd, it uses a file in a volume of the pod
//! instead.
//!
//! ```text
//! loader --sha256 HEX --part FILE... [--fallback FILE] -- ARGUMENT...
//! ```
//!
//! The loader itself is uploaded uncompressed, since the image need not contain a shell or xz. So it is small and
//! depends on nothing: it is static, and makes its system calls without a C library. This library is all of it except
//! the entry point in `main.rs`, which calls [`run`], so that it has tests like any other library.
//!
//! The check of the SHA-256 does not protect the loader: a user who replaces a ConfigMap can replace the loader, too.
//! So the relay verifies the ConfigMaps after the start.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod arguments;
mod execute;
mod failure;
mod parts;
mod unpack;

pub use arguments::Arguments;
pub use execute::run;
pub use failure::Failure;
pub use parts::Parts;
pub use unpack::unpack;
