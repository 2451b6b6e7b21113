//! The resolver configuration of the pod, as resolv.conf(5) and glibc read it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use crate::log::log;

const PORT: u16 = 53;
/// glibc reads three and ignores the rest.
const MAX_SERVERS: usize = 3;

/// What the file says of name servers. The search list is the relay's to read, in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// The file, word for word.
    pub(crate) text: String,
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    /// Start with another server each time.
    pub(crate) rotate: bool,
    /// TCP only.
    pub(crate) use_vc: bool,
}

/// Reads the file. Without one, the resolver is on this host, as for glibc.
pub(crate) fn read(path: &Path) -> ResolvConf {
    let text = fs::read(path).unwrap_or_else(|error| {
        log(format_args!("cannot read {}: {error}", path.display()));
        Vec::new()
    });
    parse(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn parse(text: String) -> ResolvConf {
    let mut conf = ResolvConf {
        text: String::new(),
        servers: Vec::new(),
        timeout: Duration::from_secs(5),
        attempts: 2,
        rotate: false,
        use_vc: false,
    };
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(server);
                conf.servers
                    .extend(server.filter(|_| conf.servers.len() < MAX_SERVERS));
            }
            Some("options") => words.for_each(|option| conf.option(option)),
            _ => {}
        }
    }
    if conf.servers.is_empty() {
        conf.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    }
    conf.text = text;
    conf
}

impl ResolvConf {
    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            ("timeout", Some(seconds)) => self.timeout = Duration::from_secs(u64::from(seconds.clamp(1, 30))),
            ("attempts", Some(attempts)) => self.attempts = attempts.clamp(1, 5),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.use_vc = true,
            _ => {}
        }
    }
}

fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    // A link-local address names its interface.
    let (address, zone) = text.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let index = zone
        .parse()
        .ok()
        .or_else(|| nix::net::if_::if_nametoindex(zone).ok())?;
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_file_is_read() {
        let text = "search default.svc.cluster.local svc.cluster.local cluster.local.\n\
                    nameserver 10.96.0.10\noptions ndots:5 timeout:2 attempts:3 rotate edns0\n";
        let conf = parse(text.into());
        assert_eq!(conf.text, text);
        assert_eq!(conf.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!((conf.timeout.as_secs(), conf.attempts, conf.rotate), (2, 3, true));
    }

    #[test]
    fn an_empty_file_means_the_resolver_on_this_host() {
        let conf = parse(String::new());
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((conf.timeout.as_secs(), conf.attempts), (5, 2));
    }

    #[test]
    fn the_fourth_server_and_what_makes_no_sense_are_ignored() {
        let conf = parse(
            "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nnameserver 1.1.1.1\nnameserver bad\n\
             nameserver ::1\nnameserver fe80::1%1\nnameserver 4.4.4.4\noptions timeout:99 attempts:0 attempts:x"
                .into(),
        );
        assert_eq!(conf.servers.len(), 3);
        assert_eq!(conf.servers[2].to_string(), "[fe80::1%1]:53");
        assert_eq!((conf.timeout.as_secs(), conf.attempts), (30, 1));
    }
}
