//! The agent in a Kubernetes cluster: from the kubeconfig to a byte stream into its pod.
//!
//! - [`access`]: the cluster, the user and the namespace; [`kubeconfig`]: the file that names them, and its errors.
//! - [`source`]: whether the agent comes from an image of its own ([`image`]: that image by its digest) or is carried
//!   by the session ([`carried`]).
//! - [`job`]: the names, labels and time limits of the agent's Job; [`manifest`]: its content; [`secret`]: the Secret
//!   with the agent's keys; [`preview`]: these objects as YAML, without a session.
//! - [`agent`]: keeps the session's agent: starts it, opens the tunnel to it, starts another one when its pod is gone.
//! - [`creation`]: creates the Job and what it owns; [`held`]: releases a Job that waits for an upload; [`dry_run`]:
//!   asks what the API server would do with a Job; [`gc`]: removes Jobs, also those of a relay that is gone.
//! - [`pod_watch`]: waits until the Job's pod runs; [`pod_startup`]: what the pod's status means while it starts;
//!   [`start_failure`]: why an agent did not start.
//! - [`answering`]: reports requests that the API server answers slowly; [`review`]: asks for the user's rights.
//! - [`ownership`] and [`pod_state`]: whether a pod is the Job's, and whether it is still the one that was found;
//!   [`pod_end`]: how it ended, as soon as the API server reports it; [`resource_version`]: keeps a version from which
//!   the API server can report it; [`deletion`]: whether a user deleted its Job.
//! - [`addresses`]: which are the pod's own.
//! - [`events`]: the cluster's events about a Job; [`pace`]: the rate at which watches are opened.
//! - [`workload`]: an agent's pod in the place of a workload; [`own_mounts`]: the agent's own volumes beside its;
//!   [`mount_failure`]: volumes that cannot be mounted.
//! - [`pod_transport`]: connects to the pod by one of two transports, [`proxy`] or [`port_forward`]; [`nodelay`]:
//!   `TCP_NODELAY` on their connections.
//! - [`networks`]: which networks are the cluster's.
//! - [`endpoints`]: the Services and pods to which forwards lead.

pub(crate) mod access;
mod addresses;
pub(crate) mod agent;
mod answering;
mod carried;
mod creation;
mod deletion;
mod dry_run;
pub(crate) mod endpoints;
mod events;
#[cfg(test)]
mod fake_api;
pub(crate) mod gc;
mod held;
mod image;
pub(crate) mod job;
mod kubeconfig;
mod manifest;
mod mount_failure;
pub(crate) mod networks;
mod nodelay;
mod own_mounts;
mod ownership;
mod pace;
mod pod_end;
mod pod_startup;
mod pod_state;
mod pod_transport;
mod pod_watch;
pub(crate) mod port_forward;
pub(crate) mod preview;
pub(crate) mod proxy;
mod resource_version;
mod review;
mod secret;
mod source;
mod start_failure;
pub(crate) mod workload;
