//! Hints with which libc's getaddrinfo(3) reads numbers, without asking a name server.

use libc::{addrinfo, c_int};

/// Hints for a number of this family.
pub(super) fn numeric_hints(family: c_int) -> addrinfo {
    // SAFETY: an addrinfo of zeros is what programs begin their hints with
    let mut hints: addrinfo = unsafe { core::mem::zeroed() };
    hints.ai_family = family;
    hints.ai_flags = libc::AI_NUMERICHOST;
    hints
}
