//! kinject's parts besides its own code: the agents that a session carries into a cluster, and the builds of the
//! preloaded library.
//!
//! A *carried agent* runs in the cluster without an image of its own: the relay puts two files into ConfigMaps, which
//! the pod mounts. The *loader*, a small static program, unpacks the agent, checks its SHA-256 and executes it.
//!
//! `cargo xtask agent` makes the files, in a folder for each architecture:
//!
//! ```text
//! agents/amd64/loader         the loader, executable
//! agents/amd64/agent.xz       the agent, packed
//! agents/amd64/agent.sha256   the SHA-256 of the unpacked agent, as sha256sum(1) writes it
//! ```
//!
//! The one executable that is distributed holds the agents and the builds of the preloaded library ([`embedded`]). A
//! library is unpacked into the user's [`cache`] before programs load it.

mod agent;
pub mod cache;
pub mod embedded;
pub mod library;
mod tree;
mod unpack;

pub use agent::{Architecture, CarriedAgent, UnknownArchitecture};
pub use library::{GlibcVersion, PreloadLibrary};
pub use tree::{AGENTS_FOLDER, BrokenAgent, DIGEST_FILE, LOADER_FILE, PACKED_FILE};

use std::path::Path;

/// A hash, or other bytes, in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The agents that can be carried, at most one for each architecture; none after a plain `cargo build`.
///
/// An executable that holds its agents has those. `programs` is the folder of the running executable: the files of
/// its build are in `agents` beside it.
pub fn carried_agents(programs: &Path) -> Result<Vec<CarriedAgent>, BrokenAgent> {
    if let Some(parts) = embedded::parts() {
        return Ok(parts.agents.to_vec());
    }
    tree::agents(&programs.join(AGENTS_FOLDER))
}
