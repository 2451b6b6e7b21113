//! Parameters of a lookup: what the relay has to know about the libc call that makes it.

/// Which addresses a lookup wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Both, `AF_UNSPEC`.
    Any,
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
    /// `AF_INET6` with `AI_V4MAPPED`: both; the library maps the IPv4 addresses.
    Mapped,
}

/// For which of libc's functions a lookup is made; they order the addresses differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// getaddrinfo(3): sorted by RFC 6724 as seen from the cluster.
    AddressInfo,
    /// gethostbyname(3) and its kin: in the order of the answer.
    HostEntry,
    /// getaddrinfo(3) with `AI_ADDRCONFIG`: as [`Self::AddressInfo`], but only families of which the pod has an
    /// address.
    ConfiguredAddressInfo,
}

/// How the program would have carried a DNS message, which decides how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsTransport {
    /// Over TCP, or over UDP first: the whole answer.
    Stream,
    /// Over UDP alone: an answer that is longer than the question allows is truncated, with TC set (RFC 1035, 4.1.1).
    Datagram,
}

/// Whether a question's name is completed by the pod's search list, as res_search(3) does with these options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Search {
    /// `RES_DEFNAMES`: a name without a dot gets a domain.
    pub default_names: bool,
    /// `RES_DNSRCH`: all domains are tried, for names with dots too.
    pub domains: bool,
    /// `RES_NOTLDQUERY`: a name without a dot is not tried as it is.
    pub no_top_level: bool,
}

impl Search {
    const ANY: u8 = 0x80;

    #[inline]
    pub(super) fn bits(search: Option<Self>) -> u8 {
        search.map_or(0, |search| {
            Self::ANY
                | u8::from(search.default_names)
                | u8::from(search.domains) << 1
                | u8::from(search.no_top_level) << 2
        })
    }

    /// None for bits that mean nothing.
    #[inline]
    pub(super) fn from_bits(bits: u8) -> Option<Option<Self>> {
        match bits {
            0 => Some(None),
            0x80..=0x87 => Some(Some(Self {
                default_names: bits & 1 != 0,
                domains: bits & 2 != 0,
                no_top_level: bits & 4 != 0,
            })),
            _ => None,
        }
    }
}
