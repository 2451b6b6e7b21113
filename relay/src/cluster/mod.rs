//! The agent in a Kubernetes cluster: from the kubeconfig to a byte stream into its pod.
//!
//! - [`access`]: which cluster, as whom, in which namespace; [`kubeconfig`]: where that stands, and what is wrong with it.
//! - [`source`]: what agents are made of; [`image`]: an image by its digest; [`carried`]: without an image of their own.
//! - [`job`] and [`secret`]: what the agent's Job looks like, and the Secret with its keys.
//! - [`preview`]: these as YAML, without a session.
//! - [`agent`]: keeps the session's agent: opens the tunnel to it ([`reach`]), and makes another one when it is gone.
//! - [`answering`]: says whom a user waits for.
//! - [`creation`]: makes the Job and the Secret.
//! - [`gc`]: removes Jobs, also those of a relay that is gone.
//! - [`pod_watch`]: from the Job to a running pod, or to the cluster's own words on why not.
//! - [`ownership`] and [`pod_state`]: whether a pod is the Job's, and whether it is still the one that was found;
//!   [`pod_end`]: how it ended, as soon as the cluster tells; [`memory`]: that the cluster can still tell;
//!   [`deletion`]: whether somebody deleted its Job.
//! - [`addresses`]: which are the pod's own.
//! - [`events`]: what the cluster says of a Job in passing; [`pace`]: how often it is asked to tell of changes.
//! - [`proxy`] and [`port_forward`]: the two ways into the pod.
//! - [`networks`]: which networks are the cluster's.
//! - [`nodelay`]: what both ask of their connection.

pub(crate) mod access;
mod addresses;
pub(crate) mod agent;
mod answering;
mod carried;
mod creation;
mod deletion;
mod events;
#[cfg(test)]
mod fake_api;
pub(crate) mod gc;
mod image;
pub(crate) mod job;
mod kubeconfig;
mod memory;
pub(crate) mod networks;
mod nodelay;
mod ownership;
mod pace;
mod pod_end;
mod pod_state;
pub(crate) mod pod_watch;
pub(crate) mod port_forward;
pub(crate) mod preview;
pub(crate) mod proxy;
mod reach;
mod secret;
mod source;
