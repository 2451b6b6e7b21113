//! This machine's own names: /etc/hosts (hosts(5)) and the host name.
//!
//! They come from the user and not from a name server, so they are also used for names that no local name server is
//! asked for.

use std::fs;
use std::net::IpAddr;

/// The machine's hosts file.
const HOSTS: &str = "/etc/hosts";

/// The addresses of a name in the hosts file, in order.
pub(super) async fn addresses(name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.').to_owned();
    search(move |text| parse(text, &name)).await
}

/// The name of an address in the hosts file.
pub(super) async fn name_of(address: IpAddr) -> Option<String> {
    search(move |text| parse_name(text, address)).await
}

/// Searches the hosts file, which is read for each lookup, since users edit it.
async fn search<T: Default + Send + 'static>(find: impl FnOnce(&str) -> T + Send + 'static) -> T {
    let read = tokio::task::spawn_blocking(move || {
        // without the file there are no such names
        let text = fs::read(HOSTS).unwrap_or_default();
        find(&String::from_utf8_lossy(&text))
    });
    read.await.unwrap_or_default()
}

/// Whether this is the machine's own host name (gethostname(2)).
pub(super) fn is_own_name(name: &str) -> bool {
    let own = rustix::system::uname();
    let name = name.trim_end_matches('.').as_bytes();
    !name.is_empty() && name.eq_ignore_ascii_case(own.nodename().to_bytes())
}

/// Lines of the form `ADDRESS NAME [ALIAS]...`; a number sign begins a comment.
fn parse(text: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| -> Option<IpAddr> {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|alias| alias.trim_end_matches('.').eq_ignore_ascii_case(name))
            .then_some(address)
    };
    text.lines().filter_map(line).collect()
}

/// The first name of the first line with that address.
fn parse_name(text: &str, address: IpAddr) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let found: IpAddr = words.next()?.parse().ok()?;
        (found == address).then_some(words.next()?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hosts_line_with_the_name_yields_its_address() {
        let text = "# 10.0.0.9 web\n127.0.0.1\tlocalhost\n10.0.0.1 web.office.test Web # web2\n\n\
            fd00::1 web\nfe80::1%eth0 web\n300.0.0.1 web\n10.0.0.2 webster\n10.0.0.3";
        let found =
            |name: &str| -> Vec<String> { parse(text, name).iter().map(ToString::to_string).collect() };
        assert_eq!(found("web"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(found("WEB.office.TEST"), ["10.0.0.1"]);
        assert_eq!(found("web2"), Vec::<String>::new());
        assert_eq!(found("10.0.0.3"), Vec::<String>::new());
        let named = |address: &str| parse_name(text, address.parse().unwrap());
        assert_eq!(named("10.0.0.1").as_deref(), Some("web.office.test"));
        assert_eq!(named("fd00::1").as_deref(), Some("web"));
        assert_eq!((named("10.0.0.9"), named("10.0.0.3")), (None, None));
    }

    #[test]
    fn own_host_name_is_recognised() {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert!(is_own_name(&own) && is_own_name(&format!("{own}.").to_uppercase()));
        assert!(!is_own_name("") && !is_own_name(&format!("{own}x")));
    }
}
