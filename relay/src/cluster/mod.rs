//! The agent in a Kubernetes cluster: from the kubeconfig to a byte stream into its pod.
//!
//! - [`access`]: the cluster, the user and the namespace; [`kubeconfig`]: the file that names them, and its errors.
//! - [`source`]: what agents are made of; [`image`]: an image by its digest; [`carried`]: without an image of their
//!   own.
//! - [`job`]: the names, labels and times of the agent's Job; [`manifest`] and [`secret`]: its content, and the Secret
//!   with its keys.
//! - [`preview`]: these as YAML, without a session.
//! - [`agent`]: keeps the session's agent: opens the tunnel to it ([`reach`]), and makes another one when it is gone.
//! - [`answering`]: reports requests that the API server answers slowly.
//! - [`creation`]: makes the Job and the Secret.
//! - [`gc`]: removes Jobs, also those of a relay that is gone.
//! - [`pod_watch`]: waits until the Job's pod runs; [`pod_startup`]: what the pod's status means while it starts;
//!   [`start_failure`]: why an agent did not start.
//! - [`ownership`] and [`pod_state`]: whether a pod is the Job's, and whether it is still the one that was found;
//!   [`pod_end`]: how it ended, as soon as the API server reports it; [`resource_version`]: keeps a version from which
//!   the API server can report it; [`deletion`]: whether a user deleted its Job.
//! - [`addresses`]: which are the pod's own.
//! - [`events`]: the cluster's events about a Job; [`pace`]: the rate at which watches are opened.
//! - [`proxy`] and [`port_forward`]: the two transports into the pod; [`nodelay`]: `TCP_NODELAY` on their connections.
//! - [`networks`]: which networks are the cluster's.

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
mod held;
mod image;
pub(crate) mod job;
mod kubeconfig;
mod manifest;
pub(crate) mod networks;
mod nodelay;
mod ownership;
mod pace;
mod pod_end;
mod pod_startup;
mod pod_state;
mod pod_watch;
pub(crate) mod port_forward;
pub(crate) mod preview;
pub(crate) mod proxy;
mod reach;
mod resource_version;
mod secret;
mod source;
mod start_failure;
