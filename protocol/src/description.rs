//! What a relay says of itself: the line of JSON that `kinject-relay describe` prints and `kinject version` reads.

use serde::{Deserialize, Serialize};

/// A relay's version, its protocol, and the agents that it can bring to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayDescription {
    /// The release.
    pub version: String,
    /// The version of the protocol that it speaks with agents.
    pub wire: u16,
    /// The agents that it carries, one for each architecture.
    pub agents: Vec<AgentDescription>,
}

/// An agent that needs no image of kinject's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDescription {
    /// The architecture, as Kubernetes names it.
    pub architecture: String,
    /// The SHA-256 of the agent's executable, in hexadecimal.
    pub sha256: String,
    /// How many bytes the packed executable has.
    pub packed_size: u64,
    /// How many bytes the loader has, which unpacks it in the cluster.
    pub loader_size: u64,
}
