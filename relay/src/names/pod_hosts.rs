//! The hosts file of the pod in whose place programs run (hosts(5)). As libc does in the pod, the session looks there
//! before it asks a name server.

use parking_lot::Mutex;
use std::net::IpAddr;

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostsLine {
    /// The address.
    pub(crate) address: IpAddr,
    /// Its names; the first is the canonical one.
    pub(crate) names: Vec<String>,
}

/// The lines of the file.
#[derive(Default)]
pub(crate) struct PodHosts(Mutex<Vec<HostsLine>>);

impl PodHosts {
    /// Replaces all lines.
    pub(crate) fn set(&self, lines: Vec<HostsLine>) {
        *self.0.lock() = lines;
    }

    /// The canonical name and the addresses of a name.
    pub(super) fn addresses(&self, name: &str) -> Option<(String, Vec<IpAddr>)> {
        let name = name.trim_end_matches('.');
        let lines = self.0.lock();
        let mut found = lines
            .iter()
            .filter(|line| line.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
            .peekable();
        let canonical = found.peek()?.names.first()?.clone();
        Some((canonical, found.map(|line| line.address).collect()))
    }

    /// The canonical name of an address.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        let lines = self.0.lock();
        let line = lines.iter().find(|line| line.address.to_canonical() == address)?;
        line.names.first().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_the_pods_hosts_file_are_found() {
        let line = |address: &str, names: &[&str]| HostsLine {
            address: address.parse().unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let hosts = PodHosts::default();
        assert_eq!(hosts.addresses("legacy"), None);
        hosts.set(vec![
            line("10.9.9.9", &["legacy.example", "legacy"]),
            line("fd00::9", &["legacy"]),
        ]);
        let (canonical, addresses) = hosts.addresses("LEGACY.").unwrap();
        assert_eq!(canonical, "legacy.example");
        assert_eq!(
            addresses,
            ["10.9.9.9".parse::<IpAddr>().unwrap(), "fd00::9".parse().unwrap()]
        );
        assert_eq!(hosts.addresses("other"), None);
        assert_eq!(
            hosts.name_of("10.9.9.9".parse().unwrap()).unwrap(),
            "legacy.example"
        );
        assert_eq!(hosts.name_of("10.9.9.8".parse().unwrap()), None);
    }
}
