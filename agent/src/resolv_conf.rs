//! The resolver configuration of the pod: its text, which the relay reads as well, and the name servers that the agent
//! asks.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use kinject_dns::resolv_conf::ResolvConf;

use crate::log::log;

/// The pod's resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodConf {
    /// The file's text, unchanged.
    pub(crate) text: String,
    /// The parsed file. The relay reads the search list, from the text.
    pub(crate) file: ResolvConf,
    /// The name servers that are asked.
    pub(crate) servers: Vec<SocketAddr>,
}

/// Reads the file. Without one, the name server is on this host, as for glibc.
pub(crate) fn read(path: &Path) -> PodConf {
    let text = fs::read(path).unwrap_or_else(|error| {
        log(format_args!("cannot read {}: {error}", path.display()));
        Vec::new()
    });
    parse(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn parse(text: String) -> PodConf {
    let file = ResolvConf::parse(&text);
    PodConf {
        servers: file.name_servers(interface_index),
        file,
        text,
    }
}

/// The interface that a link-local address names, by its name or its number.
fn interface_index(zone: &str) -> Option<u32> {
    let number = zone.parse().ok();
    number.or_else(|| nix::net::if_::if_nametoindex(zone).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_resolv_conf_is_parsed() {
        let text = "search default.svc.cluster.local svc.cluster.local cluster.local.\n\
                    nameserver 10.96.0.10\noptions ndots:5 timeout:2 attempts:3 rotate edns0\n";
        let conf = parse(text.into());
        assert_eq!(conf.text, text);
        assert_eq!(conf.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(
            (conf.file.timeout.as_secs(), conf.file.attempts, conf.file.rotate),
            (2, 3, true)
        );
    }

    #[test]
    fn empty_resolv_conf_uses_the_local_resolver() {
        let conf = parse(String::new());
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((conf.file.timeout.as_secs(), conf.file.attempts), (5, 2));
    }

    #[test]
    fn fourth_server_and_invalid_values_are_ignored() {
        let conf = parse(
            "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nnameserver 1.1.1.1\nnameserver bad\n\
             nameserver ::1\nnameserver fe80::1%1\nnameserver 4.4.4.4\noptions timeout:99 attempts:0 attempts:x"
                .into(),
        );
        assert_eq!(conf.servers.len(), 3);
        assert_eq!(conf.servers[2].to_string(), "[fe80::1%1]:53");
        assert_eq!((conf.file.timeout.as_secs(), conf.file.attempts), (30, 1));
    }
}
