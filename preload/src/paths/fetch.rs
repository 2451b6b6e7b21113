//! What the shadow root lacks until the relay is asked.

use crate::control::{self, AskError, SMALL_REPLY};
use crate::errno::Errno;
use crate::session::Session;
use kinject_protocol::control::{FilePart, ReplyRef, Request};

/// Asks the relay to put a part of a file below the shadow root.
#[cold]
pub(super) fn fetch(part: FilePart, path: &[u8]) -> Result<(), Errno> {
    let session = Session::current().ok_or(Errno(libc::EIO))?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask(&session, &Request::Fetch { part, path }, &mut buffer) {
        Ok(ReplyRef::Noted) => Ok(()),
        Ok(ReplyRef::Errno(errno)) => Err(Errno(errno.into())),
        Err(AskError::NoSocket(error)) => Err(error),
        // a relay that is gone, of another build, or out of reach
        Ok(_) | Err(AskError::NoRelay | AskError::OtherNetwork) => Err(Errno(libc::EIO)),
    }
}
