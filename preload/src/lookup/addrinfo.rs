//! getaddrinfo(3).
//!
//! The relay gives the addresses; libc makes the list of each address, with the program's own hints and service, and
//! the hook chains the lists. So each element is libc's, and freeaddrinfo(3) needs no hook. libc checks hints and
//! service before the relay is asked.
//!
//! We deviate in one flag: `AI_ADDRCONFIG` goes by the cluster's families, not by this machine's interfaces.

use super::idn::{self, AI_CANONIDN, AI_IDN, Converted};
use super::list::{self, AddressText, List};
use super::numeric::numeric_hints;
use super::{Allocation, NotFound, ask, name};
use crate::control::AskError;
use crate::errno::{self, Errno};
use crate::session::Session;
use crate::{failure, real};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;
use kinject_protocol::control::{AddressList, Family, Purpose};
use libc::{addrinfo, c_char, c_int};

/// The flags of a call without hints.
const DEFAULT_FLAGS: c_int = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;

/// The number is an address of another family than the hints'.
const EAI_ADDRFAMILY: c_int = -9;

/// Flags that the relay has applied when libc makes the list of an address.
const DONE_BY_RELAY: c_int =
    libc::AI_ADDRCONFIG | libc::AI_CANONNAME | libc::AI_V4MAPPED | libc::AI_ALL | AI_IDN | AI_CANONIDN;

type Native =
    unsafe extern "C" fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;

hook! {
    unsafe fn getaddrinfo(
        node: *const c_char,
        service: *const c_char,
        hints: *const addrinfo,
        result: *mut *mut addrinfo
    ) -> c_int => hooked {
        getaddrinfo_in_session(node, service, hints, result)
    }
}

/// getaddrinfo(3) as the session has it.
pub(super) extern "C" fn getaddrinfo_in_session(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    let Some(native) = real::getaddrinfo.get() else {
        Errno(libc::ENOSYS).set();
        return libc::EAI_SYSTEM;
    };
    let Some((session, name)) = errno::preserve(|| for_session(native, node, hints)) else {
        // SAFETY: these are the program's own arguments
        return unsafe { native(node, service, hints, result) };
    };
    // SAFETY: a C program may leave hints out, but what it gives is an addrinfo
    let query = Query::new(native, service, unsafe { hints.as_ref() });
    match errno::preserve(|| query.answer(&session, &name)) {
        Ok(list) => {
            // SAFETY: libc too writes here, without a check
            unsafe { *result = list.into_raw() };
            0
        }
        // SAFETY: as above
        Err(Refusal::OtherNetwork) => unsafe { native(node, service, hints, result) },
        Err(Refusal::Code(code)) => code,
        Err(Refusal::System(error)) => {
            error.set();
            libc::EAI_SYSTEM
        }
    }
}

/// A name that the relay looks up.
enum Name<'a> {
    /// As the program gave it.
    Given(&'a [u8]),
    /// As the DNS has it, for a program that sets `AI_IDN`; and as the program gave it.
    Encoded(Converted, &'a [u8]),
    /// The program sets `AI_IDN`, and the name cannot be encoded: the code of getaddrinfo(3).
    Unencodable(c_int),
}

/// The name that the relay looks up, unless libc does the call.
fn for_session<'a>(
    native: Native,
    node: *const c_char,
    hints: *const addrinfo,
) -> Option<(Session, Name<'a>)> {
    if node.is_null() {
        return None;
    }
    // SAFETY: the node is a C string, as libc expects it too
    let name = unsafe { list::bytes(node) };
    // SAFETY: as libc does, a given hint is read
    let flags = unsafe { hints.as_ref() }.map_or(0, |hints| hints.ai_flags);
    match decide(name, flags, || is_number(native, node)) {
        Decision::Native => None,
        Decision::Encode => {
            let session = Session::current()?;
            Some((session, encoded(native, node, name)?))
        }
        Decision::AskRelay => Some((Session::current()?, Name::Given(name))),
    }
}

/// Who looks a name up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// libc.
    Native,
    /// The relay, if the name can be encoded.
    Encode,
    /// The relay.
    AskRelay,
}

/// Decides by a name and the program's flags; `is_number` asks libc whether it reads the name as a number.
fn decide(name: &[u8], flags: c_int, is_number: impl FnOnce() -> bool) -> Decision {
    if flags & libc::AI_NUMERICHOST != 0 {
        return Decision::Native;
    }
    if flags & AI_IDN != 0 && idn::needs_encoding(name) {
        return Decision::Encode;
    }
    match name::is_for_relay(name) && !(name::may_be_number(name) && is_number()) {
        true => Decision::AskRelay,
        false => Decision::Native,
    }
}

/// The name as the DNS has it; none if libc looks it up, as a number in other digits than ASCII's.
fn encoded<'a>(native: Native, node: *const c_char, given: &'a [u8]) -> Option<Name<'a>> {
    match as_number(native, node, AI_IDN) {
        // libc encoded the name, and found no number
        libc::EAI_NONAME => {}
        0 => return None,
        code => return Some(Name::Unencodable(code)),
    }
    // SAFETY: the node is a C string
    match unsafe { idn::encoded(node) } {
        Ok(name) if !name::is_for_relay(name.bytes()) => None,
        Ok(name) => Some(Name::Encoded(name, given)),
        Err(code) => Some(Name::Unencodable(code)),
    }
}

/// Does libc read this node as a number?
fn is_number(native: Native, node: *const c_char) -> bool {
    as_number(native, node, 0) == 0
}

/// The code of libc's getaddrinfo(3) for the node as a number, with these flags besides.
fn as_number(native: Native, node: *const c_char, flags: c_int) -> c_int {
    let mut found = ptr::null_mut();
    let mut hints = numeric_hints(libc::AF_UNSPEC);
    hints.ai_flags |= flags;
    // SAFETY: node is a C string; the list comes back in `found`
    let code = unsafe { native(node, ptr::null(), &raw const hints, &raw mut found) };
    if code == 0 {
        // SAFETY: libc made the list, and nobody else has it
        unsafe { libc::freeaddrinfo(found) };
    }
    code
}

/// Why there is no list.
enum Refusal {
    /// A code of getaddrinfo(3).
    Code(c_int),
    /// `EAI_SYSTEM`, with this `errno`.
    System(Errno),
    /// The call is about another network namespace: libc answers it.
    OtherNetwork,
}

impl From<NotFound> for Refusal {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::Failed(failed) => Self::Code(failure::address_info_error(failed)),
            NotFound::AskError(AskError::NoSocket(error)) => Self::System(error),
            NotFound::AskError(AskError::NoRelay) => Self::Code(libc::EAI_AGAIN),
            NotFound::AskError(AskError::OtherNetwork) => Self::OtherNetwork,
        }
    }
}

/// The program's arguments, apart from the name.
struct Query {
    native: Native,
    service: *const c_char,
    /// The program's hints for addresses that are numbers.
    numeric: addrinfo,
    /// The program's own flags, which every element of the list has.
    flags: c_int,
}

impl Query {
    fn new(native: Native, service: *const c_char, hints: Option<&addrinfo>) -> Self {
        let mut numeric = numeric_hints(libc::AF_UNSPEC);
        let mut flags = DEFAULT_FLAGS;
        if let Some(hints) = hints {
            flags = hints.ai_flags;
            numeric = *hints;
            numeric.ai_flags = flags & !DONE_BY_RELAY | libc::AI_NUMERICHOST;
        }
        Self {
            native,
            service,
            numeric,
            flags,
        }
    }

    fn answer(&self, session: &Session, name: &Name<'_>) -> Result<List, Refusal> {
        self.check()?;
        let (name, given) = match name {
            Name::Given(name) => (*name, *name),
            Name::Encoded(name, given) => (name.bytes(), *given),
            Name::Unencodable(code) => return Err(Refusal::Code(*code)),
        };
        let mut buffer = Allocation::new().ok_or(Refusal::Code(libc::EAI_MEMORY))?;
        let purpose = if self.has(libc::AI_ADDRCONFIG) {
            Purpose::ConfiguredAddressInfo
        } else {
            Purpose::AddressInfo
        };
        let found = ask(session, self.family(), purpose, name, &mut buffer)?;
        let mut list = List::new();
        for address in self.matching(found.addresses) {
            if let Some(elements) = self.list_of(address)? {
                // SAFETY: libc made the list, and nobody else has it
                unsafe { list.append(elements, self.flags) };
            }
        }
        if list.is_empty() {
            return Err(Refusal::Code(libc::EAI_NODATA));
        }
        if self.has(libc::AI_CANONNAME) {
            let canonical = if found.canonical.is_empty() {
                given
            } else {
                found.canonical
            };
            let shown = match self.has(AI_CANONIDN) {
                true => idn::decoded(canonical).map_err(Refusal::Code)?,
                false => None,
            };
            list.set_canonical_name(shown.as_ref().map_or(canonical, Converted::bytes))
                .ok_or(Refusal::Code(libc::EAI_MEMORY))?;
        }
        Ok(list)
    }

    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    /// Lets libc check hints and service, by an address that is valid for the family.
    fn check(&self) -> Result<(), Refusal> {
        let valid = match self.numeric.ai_family {
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        if let Some(list) = self.list_of(valid)? {
            // SAFETY: libc made the list, and nobody else has it
            unsafe { libc::freeaddrinfo(list) };
        }
        Ok(())
    }

    /// The family for which the relay is asked: with IPv4, if IPv4 addresses may be mapped.
    fn family(&self) -> Family {
        match self.numeric.ai_family {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 if self.has(libc::AI_V4MAPPED) => Family::Mapped,
            libc::AF_INET6 => Family::V6,
            _ => Family::Any,
        }
    }

    /// The addresses that match the hints, in the relay's order.
    fn matching<'a>(&self, addresses: AddressList<'a>) -> impl Iterator<Item = IpAddr> + use<'a> {
        let family = self.numeric.ai_family;
        let is_mapping = family == libc::AF_INET6
            && self.has(libc::AI_V4MAPPED)
            && (self.has(libc::AI_ALL) || !addresses.into_iter().any(|address| address.is_ipv6()));
        addresses.filter_map(move |address| match (address, family) {
            (IpAddr::V4(v4), libc::AF_INET6) if is_mapping => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            (IpAddr::V4(_), libc::AF_INET6) | (IpAddr::V6(_), libc::AF_INET) => None,
            _ => Some(address),
        })
    }

    /// The list that libc makes of one address; none if the address is not of the hints' family.
    fn list_of(&self, address: IpAddr) -> Result<Option<*mut addrinfo>, Refusal> {
        let text = AddressText::new(address);
        let mut list = ptr::null_mut();
        // SAFETY: the text is a C string, the service is the program's, and the list comes back in `list`
        let code = unsafe {
            (self.native)(
                text.as_ptr(),
                self.service,
                &raw const self.numeric,
                &raw mut list,
            )
        };
        match code {
            0 => Ok((!list.is_null()).then_some(list)),
            EAI_ADDRFAMILY => Ok(None),
            libc::EAI_SYSTEM => Err(Refusal::System(Errno::current())),
            code => Err(Refusal::Code(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> bool {
        panic!("libc was asked for a number")
    }

    #[test]
    fn host_name_is_looked_up_by_relay() {
        assert_eq!(decide(b"web.default", 0, never), Decision::AskRelay);
        assert_eq!(decide(b"web", libc::AI_CANONNAME, never), Decision::AskRelay);
    }

    #[test]
    fn loopback_name_or_numeric_hint_is_native() {
        for (name, flags) in [
            (&b"localhost"[..], 0),
            (b"", 0),
            (b"a b", 0),
            (b"web", libc::AI_NUMERICHOST),
        ] {
            assert_eq!(decide(name, flags, never), Decision::Native, "{name:?} {flags}");
        }
    }

    #[test]
    fn name_that_may_be_a_number_is_looked_up_by_relay_if_libc_reads_none() {
        assert_eq!(decide(b"127.1", 0, || true), Decision::Native);
        assert_eq!(decide(b"1.2.3.4.5", 0, || false), Decision::AskRelay);
    }

    #[test]
    fn name_in_unicode_is_encoded_with_ai_idn_and_native_without() {
        let name = "b\u{fc}cher.test".as_bytes();
        assert_eq!(decide(name, AI_IDN, never), Decision::Encode);
        assert_eq!(decide(name, 0, never), Decision::Native);
        assert_eq!(
            decide(name, AI_IDN | libc::AI_NUMERICHOST, never),
            Decision::Native
        );
        assert_eq!(decide(b"web", AI_IDN, never), Decision::AskRelay);
    }
}
