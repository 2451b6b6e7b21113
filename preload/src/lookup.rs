//! Name lookups: what the functions of the resolver family share.
//!
//! The relay looks a name up in the cluster and falls back to the local network by itself, so its answer is final.
//! libc looks up every name in another network namespace than the session's. In the session's it looks up numbers,
//! this machine's names for itself, and what is no host name: empty, longer than the DNS allows, or with other bytes
//! than letters, digits, hyphens, underscores and dots.

mod addrinfo;
mod addrinfo_a;
mod hostent;
mod idn;
mod list;
mod name;
mod nameinfo;
mod numeric;
mod reverse;

pub(crate) use addrinfo_a::Gaicb;

use crate::control::{self, AskError};
use crate::session::Session;
use core::ptr::NonNull;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{AddressList, Family, MAX_REPLY, Purpose, ReplyRef, Request};

/// The addresses of a name, in the reply's buffer.
struct Found<'a> {
    canonical: &'a [u8],
    addresses: AddressList<'a>,
}

/// Why there are none.
enum NotFound {
    /// The relay says so.
    Failed(NameFailure),
    /// The relay could not be asked.
    AskError(AskError),
}

fn ask<'a>(
    session: &Session,
    family: Family,
    purpose: Purpose,
    name: &[u8],
    buffer: &'a mut Allocation,
) -> Result<Found<'a>, NotFound> {
    let request = Request::Resolve {
        family,
        purpose,
        name,
    };
    match control::ask(session, &request, buffer.bytes()) {
        Ok(ReplyRef::Addresses { canonical, addresses }) => Ok(Found { canonical, addresses }),
        Ok(ReplyRef::NameFailed(failure)) => Err(NotFound::Failed(failure)),
        // replies to other requests
        Ok(
            ReplyRef::Connected
            | ReplyRef::InProgress
            | ReplyRef::Local
            | ReplyRef::Failed(_)
            | ReplyRef::Peer(_)
            | ReplyRef::Unknown
            | ReplyRef::Answer(_)
            | ReplyRef::Names(_)
            | ReplyRef::Noted
            | ReplyRef::File
            | ReplyRef::Errno(_)
            | ReplyRef::Flow(_)
            | ReplyRef::StandIn(_),
        )
        | Err(AskError::NoRelay) => Err(NotFound::Failed(NameFailure::TryAgain)),
        Err(error @ (AskError::NoSocket(_) | AskError::OtherNetwork)) => Err(NotFound::AskError(error)),
    }
}

/// Memory of libc's allocator for one reply. An allocation that fails is an ordinary error.
pub(crate) struct Allocation {
    memory: NonNull<u8>,
    size: usize,
}

impl Allocation {
    /// A buffer for the largest reply that is no DNS message.
    fn new() -> Option<Self> {
        Self::of_size(MAX_REPLY)
    }

    pub(crate) fn of_size(size: usize) -> Option<Self> {
        // SAFETY: calloc may be called with any sizes
        let memory = NonNull::new(unsafe { libc::calloc(size, 1) })?.cast();
        Some(Self { memory, size })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: calloc gave this many bytes, all of them written, and they live as long as self
        unsafe { core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.size) }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: the memory is calloc's, and every borrow of it has ended
        unsafe { libc::free(self.memory.as_ptr().cast()) };
    }
}
