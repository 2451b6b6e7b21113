//! `kubectl port-forward`, an alternative to kinject.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::helper::{Helper, tied_as};
use crate::cluster::Borrowed;
use crate::process;

/// How long it may take to listen.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A running `kubectl port-forward` to a Service.
pub(crate) struct PortForward {
    /// Its own ports by the Service's.
    ports: BTreeMap<u16, u16>,
    log: PathBuf,
    _process: Helper,
}

impl PortForward {
    /// Starts one; its log, a line for each connection, goes into `folder`.
    pub(crate) fn start(cluster: &Borrowed, service: &str, ports: &[u16], folder: &Path) -> Result<Self> {
        let log = folder.join("port-forward.log");
        let mut kubectl = cluster.kubectl();
        kubectl
            .args(["port-forward", "--address=127.0.0.1", service])
            .args(ports.iter().map(|port| format!(":{port}")));
        let mut process = Helper::start_writing("kubectl port-forward", &mut tied_as(&kubectl), &log)?;
        let found = process::wait_for("kubectl port-forward", TIMEOUT, || {
            let text = fs::read_to_string(&log)?;
            process.check().with_context(|| text.trim().to_owned())?;
            let found: BTreeMap<u16, u16> = text.lines().filter_map(forwarded).collect();
            Ok((found.len() == ports.len()).then_some(found))
        })?;
        Ok(Self {
            ports: found,
            log,
            _process: process,
        })
    }

    /// Where it listens for a port of the Service.
    pub(crate) fn address(&self, port: u16) -> Result<String> {
        let own = self.ports.get(&port).context("a port that is not forwarded")?;
        Ok(format!("127.0.0.1:{own}"))
    }

    /// The last line of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }
}

/// The Service's port and its own, in `Forwarding from 127.0.0.1:40000 -> 7000`.
///
/// On the right stands the pod's port, which is the Service's in the samples.
fn forwarded(line: &str) -> Option<(u16, u16)> {
    let (own, port) = line
        .strip_prefix("Forwarding from 127.0.0.1:")?
        .split_once(" -> ")?;
    Some((port.parse().ok()?, own.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_forwarding_line_is_parsed() {
        let line = "Forwarding from 127.0.0.1:40000 -> 7000";
        assert_eq!(forwarded(line), Some((7000, 40000)));
        assert_eq!(forwarded("Handling connection for 40000"), None);
    }
}
