//! Why a dial failed, and how the reason is sent through the tunnel: as the `Proxy-Status` field of RFC 9209.
//!
//! Errors that a program can distinguish stay distinct. Where RFC 9209 has one token for several of them
//! (`destination_ip_unroutable`), `details` begins with the name of the errno.

use std::io;

use http::{HeaderName, HeaderValue, StatusCode};
use sfv::{
    BareItem, Item, KeyRef, List, ListEntry, ListSerializer, Parser, RefBareItem, StringRef, TokenRef,
};

/// The field's name.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Longest text of [`DialError::Other`] that is sent or read.
const MAX_DETAILS: usize = 256;

/// A connection that the agent could not make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The port is closed (ECONNREFUSED).
    #[error("connection refused")]
    Refused,
    /// No answer came before the kernel's own time-out (ETIMEDOUT).
    #[error("connection timed out")]
    TimedOut,
    /// The host cannot be reached (EHOSTUNREACH).
    #[error("no route to host")]
    HostUnreachable,
    /// The network cannot be reached (ENETUNREACH).
    #[error("network is unreachable")]
    NetworkUnreachable,
    /// The address cannot be used, or no local port is left (EADDRNOTAVAIL).
    #[error("cannot assign requested address")]
    AddressNotAvailable,
    /// A rule forbids it (EACCES, EPERM).
    #[error("permission denied")]
    PermissionDenied,
    /// The other side reset the connection while it was being made (ECONNRESET).
    #[error("connection reset by peer")]
    Reset,
    /// The tunnel broke, so the outcome is unknown. It is never sent through the tunnel, so that an agent cannot claim
    /// it.
    #[error("the tunnel to the cluster was lost")]
    TunnelLost,
    /// Any other error, as text.
    #[error("{0}")]
    Other(String),
}

impl DialError {
    /// The HTTP status that RFC 9209 recommends for it.
    pub fn status(&self) -> StatusCode {
        match self {
            DialError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            DialError::Refused
            | DialError::HostUnreachable
            | DialError::NetworkUnreachable
            | DialError::AddressNotAvailable
            | DialError::PermissionDenied
            | DialError::Reset => StatusCode::BAD_GATEWAY,
            DialError::TunnelLost | DialError::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The value of `Proxy-Status`, written by the proxy of this name.
    pub fn to_proxy_status(&self, proxy: &str) -> HeaderValue {
        let mut list = ListSerializer::new();
        let name = TokenRef::from_str(proxy).unwrap_or_else(|_| sfv::token_ref("kinject"));
        let item = list
            .bare_item(name)
            .parameter(key("error"), sfv::token_ref(self.token()));
        if let Some(details) = self.details() {
            item.parameter(key("details"), string(&details));
        }
        let text = list.finish().unwrap_or_default();
        // A structured field is visible ASCII, so it always is a header value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("kinject"))
    }

    /// Reads the error of the proxy nearest to the target from a `Proxy-Status` value. An unknown token becomes
    /// [`DialError::Other`], and so does a value that is not a structured field.
    pub fn from_proxy_status(value: &HeaderValue) -> DialError {
        let Ok(list) = Parser::new(value.as_bytes()).parse::<List>() else {
            return DialError::Other("the agent's answer has an unreadable Proxy-Status".into());
        };
        // The proxy nearest to the target is the first entry; an entry without an error only forwarded the answer.
        let failed = list.iter().find_map(|entry| match entry {
            ListEntry::Item(item) => token(item, "error").map(|error| (item, error)),
            ListEntry::InnerList(_) => None,
        });
        match failed {
            Some((item, error)) => from_token(item, error),
            None => DialError::Other("the agent's answer names no error".into()),
        }
    }

    /// The error of a flow of datagrams whose stream ended by this h2 error.
    pub(crate) fn from_reset(error: &h2::Error) -> DialError {
        match error.reason() {
            Some(h2::Reason::CONNECT_ERROR) if error.is_reset() => DialError::Refused,
            Some(reason) if error.is_reset() => DialError::Other(format!("the agent gave up: {reason}")),
            _ => DialError::TunnelLost,
        }
    }

    fn token(&self) -> &'static str {
        match self {
            DialError::Refused => "connection_refused",
            DialError::TimedOut => "connection_timeout",
            DialError::HostUnreachable | DialError::NetworkUnreachable | DialError::AddressNotAvailable => {
                "destination_ip_unroutable"
            }
            DialError::PermissionDenied => "destination_ip_prohibited",
            DialError::Reset => "connection_terminated",
            DialError::TunnelLost | DialError::Other(_) => "proxy_internal_error",
        }
    }

    fn details(&self) -> Option<String> {
        match self {
            DialError::HostUnreachable => Some("EHOSTUNREACH".into()),
            DialError::NetworkUnreachable => Some("ENETUNREACH".into()),
            DialError::AddressNotAvailable => Some("EADDRNOTAVAIL".into()),
            DialError::TunnelLost => Some(self.to_string()),
            DialError::Other(text) => Some(printable(text)),
            DialError::Refused | DialError::TimedOut | DialError::PermissionDenied | DialError::Reset => None,
        }
    }
}

impl From<&io::Error> for DialError {
    /// From the error of `connect`.
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => DialError::Refused,
            Some(libc::ETIMEDOUT) => DialError::TimedOut,
            Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => DialError::HostUnreachable,
            // A disabled address family has no network either.
            Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EAFNOSUPPORT) => DialError::NetworkUnreachable,
            Some(libc::EADDRNOTAVAIL) => DialError::AddressNotAvailable,
            Some(libc::EACCES | libc::EPERM) => DialError::PermissionDenied,
            Some(libc::ECONNRESET) => DialError::Reset,
            _ => DialError::Other(error.to_string()),
        }
    }
}

fn from_token(item: &Item, error: &str) -> DialError {
    let details = text(item, "details").unwrap_or_default();
    match (error, details) {
        ("connection_refused", _) => DialError::Refused,
        ("connection_timeout", _) => DialError::TimedOut,
        ("destination_ip_unroutable", details) if details.starts_with("ENETUNREACH") => {
            DialError::NetworkUnreachable
        }
        ("destination_ip_unroutable", details) if details.starts_with("EADDRNOTAVAIL") => {
            DialError::AddressNotAvailable
        }
        ("destination_ip_unroutable", _) => DialError::HostUnreachable,
        ("destination_ip_prohibited", _) => DialError::PermissionDenied,
        ("connection_terminated", _) => DialError::Reset,
        ("proxy_internal_error", details) if !details.is_empty() => DialError::Other(printable(details)),
        (unknown, "") => DialError::Other(printable(unknown)),
        (unknown, details) => DialError::Other(printable(&format!("{unknown}: {details}"))),
    }
}

fn token<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.params.get(name)? {
        BareItem::Token(token) => Some(token.as_str()),
        _ => None,
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.params.get(name)? {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(token) => Some(token.as_str()),
        _ => None,
    }
}

fn key(name: &'static str) -> &'static KeyRef {
    sfv::key_ref(name)
}

fn string(text: &str) -> RefBareItem<'_> {
    StringRef::from_str(text)
        .unwrap_or_else(|_| sfv::string_ref("?"))
        .into()
}

/// Visible ASCII of bounded length, as a structured field's string has to be.
fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(MAX_DETAILS).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every_error() -> Vec<DialError> {
        vec![
            DialError::Refused,
            DialError::TimedOut,
            DialError::HostUnreachable,
            DialError::NetworkUnreachable,
            DialError::AddressNotAvailable,
            DialError::PermissionDenied,
            DialError::Reset,
            DialError::Other("no buffer space available \"quoted\" \\".into()),
        ]
    }

    #[test]
    fn dial_errors_survive_the_proxy_status_round_trip() {
        for error in every_error() {
            let value = error.to_proxy_status("kinject-agent");
            assert_eq!(DialError::from_proxy_status(&value), error, "{value:?}");
            assert!(error.status().is_server_error());
        }
    }

    #[test]
    fn dial_errors_use_the_tokens_of_rfc_9209() {
        let written = |error: DialError| {
            error
                .to_proxy_status("kinject-agent")
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            written(DialError::Refused),
            "kinject-agent;error=connection_refused"
        );
        assert_eq!(
            written(DialError::TimedOut),
            "kinject-agent;error=connection_timeout"
        );
        assert_eq!(
            written(DialError::NetworkUnreachable),
            "kinject-agent;error=destination_ip_unroutable;details=\"ENETUNREACH\""
        );
    }

    #[test]
    fn proxy_status_of_other_proxies_is_parsed() {
        let read = |value: &'static str| DialError::from_proxy_status(&HeaderValue::from_static(value));
        assert_eq!(
            read("a; error=dns_timeout"),
            DialError::Other("dns_timeout".into())
        );
        assert_eq!(
            read("\"a b\"; error=connection_refused, edge"),
            DialError::Refused
        );
        assert_eq!(read("edge, a; error=connection_timeout"), DialError::TimedOut);
        assert_eq!(
            read("a;error=destination_ip_unroutable"),
            DialError::HostUnreachable
        );
        assert_eq!(
            read("a;error=tls_certificate_error"),
            DialError::Other("tls_certificate_error".into())
        );
        let explained = DialError::Other("http_protocol_error: bad frame".into());
        assert_eq!(
            read("a;error=http_protocol_error;details=\"bad frame\""),
            explained
        );
        assert!(matches!(read("a"), DialError::Other(_)));
        assert!(matches!(read(";;;"), DialError::Other(_)));
    }

    #[test]
    fn tunnel_lost_claimed_by_an_agent_becomes_other() {
        let claimed = DialError::TunnelLost.to_proxy_status("kinject-agent");
        let read = DialError::from_proxy_status(&claimed);
        assert_eq!(read, DialError::Other(DialError::TunnelLost.to_string()));
    }

    #[test]
    fn connect_errno_maps_to_its_dial_error() {
        for (errno, expected) in [
            (libc::ECONNREFUSED, DialError::Refused),
            (libc::ETIMEDOUT, DialError::TimedOut),
            (libc::EHOSTUNREACH, DialError::HostUnreachable),
            (libc::ENETUNREACH, DialError::NetworkUnreachable),
            (libc::EADDRNOTAVAIL, DialError::AddressNotAvailable),
            (libc::EACCES, DialError::PermissionDenied),
            (libc::EPERM, DialError::PermissionDenied),
            (libc::ECONNRESET, DialError::Reset),
        ] {
            let error = DialError::from(&io::Error::from_raw_os_error(errno));
            assert_eq!(error, expected, "{errno}");
        }
        let other = DialError::from(&io::Error::from_raw_os_error(libc::EMFILE));
        assert!(
            matches!(&other, DialError::Other(text) if text.contains("open files")),
            "{other:?}"
        );
    }

    proptest! {
        #[test]
        fn any_header_value_is_read_without_a_panic(value in "[ -~]{0,200}") {
            let value = HeaderValue::try_from(value).unwrap();
            let error = DialError::from_proxy_status(&value);
            prop_assert_eq!(DialError::from_proxy_status(&error.to_proxy_status("p")), error);
        }

        #[test]
        fn any_error_text_is_a_valid_header_value(text in ".{0,400}") {
            let value = DialError::Other(text).to_proxy_status("kinject-agent");
            prop_assert!(DialError::from_proxy_status(&value) != DialError::Refused);
        }
    }
}
