//! Reports about a sandbox: from the inner process to the outer one, and from that to its caller.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::world;

/// One line from the inner process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Everything answers.
    Ready {
        /// The agent's process.
        agent_pid: Option<u32>,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
}

/// The line that `kinject-sandbox up` prints once everything answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The agent's socket, for `kinject run --agent unix:SOCKET`.
    pub socket: PathBuf,
    /// The agent's key, for `--agent-key KEY`.
    pub key: PathBuf,
    /// The process whose namespaces are the sandbox's, for `kinject-sandbox enter --pid PID`.
    pub pid: u32,
    /// The agent's process when the sandbox became ready.
    pub agent_pid: Option<u32>,
    /// The names that have an address, in full, with what they resolve to.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
}

/// The names of the world with their addresses.
pub(super) fn names() -> BTreeMap<String, Vec<Ipv4Addr>> {
    let services = world::SERVICES
        .iter()
        .map(|service| (service.fqdn(), service.addresses()));
    let external = world::EXTERNAL
        .iter()
        .map(|(name, address)| ((*name).to_owned(), vec![*address]));
    services.chain(external).collect()
}
