//! What a relay that serves no session answers the launcher, as a line of JSON on its standard output.

use crate::session::Report;
use serde::{Deserialize, Serialize};

/// What `kinject-relay describe` answers: a relay's version, its protocol, and the agents that it can bring to a
/// cluster.
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

/// What a relay answers that was asked to do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayAnswer {
    /// It is done: of `push-image` the image's name with its digest, of `manifest` the text.
    Done(String),
    /// It is not.
    Failed(Report),
}
