//! The parts that the executable holds besides its code, as the build script found them.

use kinject_bundle::embedded::EmbeddedParts;

include!(concat!(env!("OUT_DIR"), "/parts.rs"));
