//! Reverse lookups: the names of an address, as the relay knows them.

use super::{Allocation, NotFound};
use crate::control::{self, AskError};
use crate::session::Session;
use core::net::IpAddr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{NameList, ReplyRef, Request};

/// The relay's answer to a reverse lookup.
pub(super) enum Reversed<'a> {
    /// The address belongs to this machine or its network: libc looks it up.
    Local,
    /// The address belongs to the cluster. There is at least one name; the canonical one is the first.
    Names(NameList<'a>),
}

/// Does the relay look this address up? Those of this machine and of its own links are libc's.
pub(super) fn is_for_relay(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast())
        }
    }
}

/// The canonical name.
pub(super) fn first<'a>(mut names: NameList<'a>) -> Option<&'a [u8]> {
    names.next()
}

pub(super) fn ask<'a>(
    session: &Session,
    address: IpAddr,
    buffer: &'a mut Allocation,
) -> Result<Reversed<'a>, NotFound> {
    match control::ask(session, &Request::Reverse { address }, buffer.bytes()) {
        Ok(ReplyRef::Local) | Err(AskError::OtherNetwork) => Ok(Reversed::Local),
        Ok(ReplyRef::Names(names)) if first(names).is_some() => Ok(Reversed::Names(names)),
        Ok(ReplyRef::Names(_)) => Err(NotFound::Failed(NameFailure::NoData)),
        Ok(ReplyRef::NameFailed(failure)) => Err(NotFound::Failed(failure)),
        // replies to other requests
        Ok(
            ReplyRef::Connected
            | ReplyRef::InProgress
            | ReplyRef::Failed(_)
            | ReplyRef::Peer(_)
            | ReplyRef::Unknown
            | ReplyRef::Addresses { .. }
            | ReplyRef::Answer(_)
            | ReplyRef::Flow(_)
            | ReplyRef::StandIn(_)
            | ReplyRef::Noted
            | ReplyRef::File
            | ReplyRef::Errno(_),
        )
        | Err(AskError::NoRelay) => Err(NotFound::Failed(NameFailure::TryAgain)),
        Err(error @ AskError::NoSocket(_)) => Err(NotFound::AskError(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_for_relay_unless_it_is_loopback_link_local_or_multicast() {
        for (address, expected) in [
            ("10.96.10.1", true),
            ("203.0.113.10", true),
            ("::ffff:10.96.10.1", true),
            ("fd00::6", true),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", false),
            ("169.254.1.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_for_relay(address.parse().unwrap()), expected, "{address}");
        }
    }
}
