//! Container images as docker-archive files.

use anyhow::Result;

pub(crate) use kinject_image::{Archive, Entry, Image, digest, file};

use crate::rust_target;

/// An image for machines like this one.
pub(crate) fn of(image: &Image) -> Result<Archive> {
    let architecture = rust_target::this_machine()?;
    Ok(image.to_archive(architecture.kubernetes_name())?)
}
