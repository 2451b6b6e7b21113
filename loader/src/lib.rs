//! Starts an agent that a session brought into the cluster in ConfigMaps, inside whatever image the pod has.
//!
//! The agent comes packed by xz and cut into parts of at most a ConfigMap's size. The loader unpacks the parts into a file
//! in memory (memfd_create(2)), compares the SHA-256 of what it wrote with the one in its arguments, and executes the file
//! (execveat(2)). Where the node forbids to execute files in memory, it uses a file in a volume of the pod instead.
//!
//! ```text
//! loader --sha256 HEX --part FILE... [--fallback FILE] -- ARGUMENT...
//! ```
//!
//! A file of a ConfigMap cannot be executed compressed, so something small and executable has to come with it, and no
//! image is sure to hold a shell or xz. So the loader depends on nothing: it is static, has no C library and asks the kernel
//! directly. This library is all of it but the way in ([`run`] is called by `main.rs`), so that it is tested as others are.
//!
//! The loader cannot vouch for itself: whoever replaces the ConfigMap replaces it, too. The relay looks at the ConfigMaps
//! again after the start.

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
