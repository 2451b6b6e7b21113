//! A place to connect to without any Kubernetes.
//!
//! A sandbox is a user and network namespace of its own, made without any privilege, in which the real agent stands
//! as in a pod, with real HTTP, TCP, UDP and DNS services around it. It imitates no Kubernetes API.
//!
//! * [`Sandbox`] is for tests and tools: it runs `kinject-sandbox up` and ends it when dropped.
//! * [`world`] says what there is to connect to.
//! * [`serve`] and [`dns`] are the services, [`netns`] is the namespace, [`up`] puts them together.

mod client;
pub mod dns;
pub mod failure;
pub mod netns;
pub mod serve;
pub mod up;
pub mod world;

pub use client::{Builder, Sandbox, StartError};
