//! The content of a file, in pieces.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use kinject_tunnel::files::{CONTENT_BYTES, FileKind};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Withheld;
use super::status::Found;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// A file that is being read.
pub(super) struct Content {
    file: File,
    left: u64,
}

impl Content {
    /// Opens a file. What is no regular file has no content: reading a device or a pipe may change it, or never end.
    pub(super) fn open(found: &Found, withheld: Withheld) -> Result<Self, Errno> {
        if found.status.kind != FileKind::File || withheld.is(&found.raw) {
            return Err(Errno::EACCES);
        }
        let descriptor = found.open(OFlag::empty())?;
        if found.status.size > CONTENT_BYTES {
            return Err(Errno::EFBIG);
        }
        Ok(Self {
            file: descriptor.into(),
            left: CONTENT_BYTES,
        })
    }

    /// Reads the next piece; none at the end. A file that has grown beyond [`CONTENT_BYTES`] meanwhile is an error.
    pub(super) fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let count = self
            .file
            .by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut piece)?;
        if count == 0 {
            return Ok(None);
        }
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(Some((piece.into(), self)))
    }
}
