//! The agent in a Kubernetes cluster: from the kubeconfig to a byte stream into its pod.
//!
//! - [`access`]: which cluster, as whom, in which namespace.
//! - [`job`]: what the agent's Job looks like.
//! - [`agent`]: makes the Job, opens the tunnel, removes the Job.
//! - [`leftovers`]: removes Jobs, also those of a relay that is gone.
//! - [`watching`]: from the Job to a running pod, or to the cluster's own words on why not.
//! - [`proxy`] and [`port_forward`]: the two ways into the pod.
//! - [`networks`]: which networks are the cluster's.
//! - [`promptness`]: what both ask of their connection.

pub(crate) mod access;
pub(crate) mod agent;
pub(crate) mod job;
pub(crate) mod leftovers;
pub(crate) mod networks;
pub(crate) mod port_forward;
mod promptness;
pub(crate) mod proxy;
pub(crate) mod watching;
