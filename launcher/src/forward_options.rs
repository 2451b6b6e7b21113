//! The options of `kinject forward`.

use crate::cli::{ConnectionOptions, OutputOptions};
use crate::exit::Failure;
use crate::forward_words;
use crate::rules::RuleOptions;
use clap::Args;
use kinject_protocol::forward::{ForwardRequest, ListenAddress};
use std::path::Path;

/// What is reached at which ports, and by which session.
#[derive(Args, Debug)]
pub(crate) struct ForwardOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten)]
    pub(crate) rules: RuleOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Listen at this address of this machine, or `localhost`; may be given several times.
    ///
    /// Without it: localhost, which is 127.0.0.1 and ::1. Whoever reaches an address other than loopback gets through.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    address: Vec<String>,
    /// Listen here as a SOCKS5 server, for programs that can use a proxy; without ADDRESS at localhost.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    socks: Option<String>,
    /// What to reach, and its ports: `[TYPE/]NAME[.NAMESPACE]` or a host, then `LOCAL[:REMOTE][/udp]` for each port.
    ///
    /// TYPE is service, pod, deployment, statefulset, daemonset, replicaset, job or rollout; without one NAME is a
    /// Service, or a host that the cluster reaches. LOCAL alone stands for both ports; an empty or 0 one (`:5432`) for
    /// a free one. REMOTE is a port of the Service or of the pods, by number or by name.
    #[arg(value_name = "TARGET LOCAL[:REMOTE]", required_unless_present = "socks")]
    words: Vec<String>,
}

impl ForwardOptions {
    /// The files that options name, with the options.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path)> {
        let rules = self.rules.files().map(|file| ("--rules", file));
        self.connection.files().chain(rules).collect()
    }

    /// What the relay is asked for.
    pub(crate) fn request(&self) -> Result<ForwardRequest, Failure> {
        let mut addresses = Vec::new();
        for text in &self.address {
            let address = forward_words::address(text)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            addresses.push(ListenAddress::Localhost);
        }
        let request = ForwardRequest {
            addresses,
            forwards: forward_words::forwards(&self.words)?,
            socks: self.socks.as_deref().map(forward_words::socks).transpose()?,
        };
        forward_words::check_local_ports(&request)?;
        if self.connection.is_direct() {
            forward_words::check_without_kubernetes(&request)?;
        }
        Ok(request)
    }

    /// The warning about addresses that others reach, if there are some.
    pub(crate) fn exposure(request: &ForwardRequest) -> Option<(String, &'static str)> {
        let of_forwards = request.addresses.iter().filter(|_| !request.forwards.is_empty());
        let of_socks = request.socks.iter().map(|socks| &socks.address);
        let open = of_forwards
            .chain(of_socks)
            .find(|address| !address.is_loopback())?;
        Some((
            format!("whoever reaches this machine at {open} reaches the cluster by these ports"),
            "leave the address out to listen on loopback alone",
        ))
    }
}
