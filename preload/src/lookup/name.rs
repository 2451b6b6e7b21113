//! Which names the relay looks up, and which libc.

use kinject_protocol::control::MAX_NAME;

/// Does the relay look this name up?
pub(super) fn is_for_relay(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.iter().all(is_host_byte) && !is_loopback_name(name)
}

fn is_host_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The names of loopback on every machine (RFC 6761, 6.3), and those that Debian's /etc/hosts adds.
fn is_loopback_name(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] = [b"localhost", b"ip6-localhost", b"ip6-loopback"];
    const BELOW: &[u8] = b".localhost";
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_below = name
        .len()
        .checked_sub(BELOW.len())
        .and_then(|start| name.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(BELOW));
    is_below || NAMES.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// May libc read this name as a number? All forms of inet_aton(3) begin with a digit and hold no other letters.
pub(super) fn may_be_number(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
        && name
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X' | b'.'))
}

/// Does the name have digits and dots alone? gethostbyname(3) never looks such a name up.
pub(super) fn is_digits_and_dots(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
        && name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_name_is_for_relay() {
        for name in [
            "web",
            "web.default",
            "db-0.db.default.svc.cluster.local.",
            "_sip._tcp",
            "LOCAL",
            "x--y",
            "a.localhost.example",
        ] {
            assert!(is_for_relay(name.as_bytes()), "{name}");
        }
        assert!(is_for_relay(&[b'a'; MAX_NAME]));
    }

    #[test]
    fn loopback_name_or_invalid_name_is_not_for_relay() {
        for name in [
            "",
            "localhost",
            "LocalHost.",
            "a.b.localhost",
            ".localhost.",
            "ip6-localhost",
            "ip6-loopback",
            "*",
            "a b",
            "::1",
            "fe80::1%eth0",
            "caf\u{e9}",
            "a/b",
            "a\nb",
        ] {
            assert!(!is_for_relay(name.as_bytes()), "{name}");
        }
        assert!(!is_for_relay(&[b'a'; MAX_NAME + 1]));
    }

    #[test]
    fn number_is_distinguished_from_name_that_begins_with_a_digit() {
        for name in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0X7F000001",
            "2130706433",
            "1.2.3.4.5",
        ] {
            assert!(may_be_number(name.as_bytes()), "{name}");
        }
        for name in ["", "web", "9front", "face", "1.2.3.4-web"] {
            assert!(!may_be_number(name.as_bytes()), "{name}");
        }
        assert!(is_digits_and_dots(b"127.0.0.1") && is_digits_and_dots(b"1.2.3.4.5"));
        assert!(!is_digits_and_dots(b"0x7f.1") && !is_digits_and_dots(b".1"));
    }
}
