//! The resolv.conf that programs of the session see: the pod's own.
//!
//! It is written into the session's folder, where the preloaded library finds it. A name server on the pod's loopback
//! would be taken for one on this machine, so it is replaced by an address that no host has.

use kinject_dns::resolv_conf::{Directive, NameServer};
use kinject_protocol::environment::RESOLV_CONF;
use kinject_protocol::folder;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a name server on the pod's loopback: the IPv4 dummy address, which no host has (RFC 7600, 4.8).
const STAND_IN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

/// The resolv.conf that programs see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PodResolvConf {
    text: String,
    /// The name servers in it, in place of which the relay answers.
    pub(crate) servers: Vec<IpAddr>,
}

impl PodResolvConf {
    /// Derives it from the pod's file.
    pub(crate) fn of_pod(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len());
        let mut servers = Vec::new();
        for line in text.split_inclusive('\n') {
            let server = match Directive::parse(line) {
                // a link-local one cannot be reached from elsewhere
                Directive::NameServer(Some(NameServer { address, zone: None })) => Some(address),
                _ => None,
            };
            match server {
                Some(server) if server.to_canonical().is_loopback() || server.is_unspecified() => {
                    shown.push_str(&format!("nameserver {STAND_IN}\n"));
                    servers.push(STAND_IN);
                }
                Some(server) => {
                    shown.push_str(line);
                    servers.push(server.to_canonical());
                }
                None => shown.push_str(line),
            }
        }
        if servers.is_empty() {
            // without one, programs would ask this host (resolv.conf(5))
            if !shown.is_empty() && !shown.ends_with('\n') {
                shown.push('\n');
            }
            shown.push_str(&format!("nameserver {STAND_IN}\n"));
            servers.push(STAND_IN);
        }
        Self { text: shown, servers }
    }

    /// Writes it into the session's folder. If the disk is full it is written to memory, and the folder gets a link to
    /// it.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(RESOLV_CONF);
        match std::fs::write(&path, &self.text) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                std::fs::remove_file(&path)?;
                let in_memory = folder::in_memory(folder);
                // only a new file of this user: others may write to the folder
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&in_memory)?;
                // the link first: the removal of the session's folder finds the file by it
                std::os::unix::fs::symlink(&in_memory, path)?;
                file.write_all(self.text.as_bytes())
            }
            written => written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_resolv_conf_is_shown_unchanged() {
        let text =
            "search default.svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5";
        let shown = PodResolvConf::of_pod(text);
        assert_eq!(shown.text, text);
        assert_eq!(
            shown.servers,
            [
                "10.96.0.10".parse::<IpAddr>().unwrap(),
                "fd00::a".parse().unwrap()
            ]
        );
    }

    #[test]
    fn name_server_on_the_pods_loopback_gets_the_stand_in_address() {
        for text in [
            "nameserver 127.0.0.11\noptions edns0\n",
            "nameserver ::1\noptions edns0\n",
        ] {
            let shown = PodResolvConf::of_pod(text);
            assert_eq!(shown.text, "nameserver 192.0.0.8\noptions edns0\n");
            assert_eq!(shown.servers, [STAND_IN]);
        }
    }

    #[test]
    fn resolv_conf_without_name_servers_gets_the_stand_in_address() {
        for text in ["", "# nothing\n", "nameserver nonsense\n"] {
            let shown = PodResolvConf::of_pod(text);
            assert_eq!(shown.text, format!("{text}nameserver 192.0.0.8\n"));
            assert_eq!(shown.servers, [STAND_IN]);
        }
    }
}
