//! Why a connection or a lookup failed, as the far end saw it.
//!
//! The relay names the failure; the preloaded library turns it into what libc's callers expect (`errno`, `EAI_*`,
//! `h_errno`). Any other failure is [`ConnectFailure::TunnelDown`] or [`NameFailure::TryAgain`]: a failure of kinject's
//! own never looks like an answer of the cluster.

/// Why a TCP connection was not made. The comments give the errno of connect(2) that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectFailure {
    /// The target answered with a reset: `ECONNREFUSED`.
    Refused = 1,
    /// The target did not answer within the kernel's connect timeout: `ETIMEDOUT`.
    TimedOut = 2,
    /// A router or the target's host said that the host cannot be reached: `EHOSTUNREACH`.
    HostUnreachable = 3,
    /// There is no route to the target's network: `ENETUNREACH`.
    NetworkUnreachable = 4,
    /// The connection was reset while it was being made: `ECONNRESET`.
    Reset = 5,
    /// A firewall of the far end's own host forbids it: `EACCES`.
    PermissionDenied = 6,
    /// The target's address cannot be used from there: `EADDRNOTAVAIL`.
    AddressNotAvailable = 7,
    /// The session's tunnel is down and will not come back: `ENETUNREACH`.
    TunnelDown = 8,
    /// The session ran out of sockets, ports or memory: `EAGAIN`, what connect(2) gives for a lack of local ports.
    Exhausted = 9,
    /// The program has fetched the socket's earlier failure and called connect(2) once more: `ECONNABORTED`.
    AlreadyReported = 10,
    /// The kernel does not connect this socket again: `EINVAL`.
    Invalid = 11,
    /// Another call has connected this socket meanwhile, or is about to: what the kernel says of it counts, `EISCONN`
    /// or `EALREADY`.
    NotAtRest = 12,
}

impl ConnectFailure {
    /// Every failure, for exhaustive tests and decoding.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::TimedOut,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::Reset,
        Self::PermissionDenied,
        Self::AddressNotAvailable,
        Self::TunnelDown,
        Self::Exhausted,
        Self::AlreadyReported,
        Self::Invalid,
        Self::NotAtRest,
    ];

    #[inline]
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| *failure as u8 == value)
    }
}

/// Why a name gave no address. The comments give netdb.h's `h_errno` and getaddrinfo(3)'s result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NameFailure {
    /// The name does not exist: `HOST_NOT_FOUND`, `EAI_NONAME`.
    NotFound = 1,
    /// The name exists without an address of the wanted family: `NO_DATA`, `EAI_NODATA`.
    NoData = 2,
    /// The lookup failed temporarily and may succeed later: `TRY_AGAIN`, `EAI_AGAIN`.
    TryAgain = 3,
    /// The name server refused or could not read the question: `NO_RECOVERY`, `EAI_FAIL`.
    NoRecovery = 4,
}

impl NameFailure {
    /// Every failure, for exhaustive tests and decoding.
    pub const ALL: [Self; 4] = [Self::NotFound, Self::NoData, Self::TryAgain, Self::NoRecovery];

    #[inline]
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| *failure as u8 == value)
    }
}
