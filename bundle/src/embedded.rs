//! The parts inside of the one executable that is distributed.
//!
//! The launcher's build script puts them in, and the launcher provides them here before anything asks for a part. In a
//! build from the tree there are none: there each part is a file beside the executables.

use crate::{CarriedAgent, PreloadLibrary};
use std::sync::OnceLock;

/// What the executable holds besides its code.
#[derive(Debug)]
pub struct EmbeddedParts {
    /// The builds of the preloaded library, the one for the newest glibc first.
    pub libraries: &'static [PreloadLibrary],
    /// The agents, one for each architecture.
    pub agents: &'static [CarriedAgent],
}

static PARTS: OnceLock<&'static EmbeddedParts> = OnceLock::new();

/// Makes the executable's parts known to all of the process; the first that are provided stay.
pub fn provide(parts: &'static EmbeddedParts) {
    PARTS.get_or_init(|| parts);
}

/// The executable's parts; none in a build from the tree.
pub fn parts() -> Option<&'static EmbeddedParts> {
    PARTS.get().copied()
}
