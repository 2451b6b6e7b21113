//! Container images as docker-archive files.

pub(crate) use kinject_image::{Archive, Entry, Image, digest, file};
