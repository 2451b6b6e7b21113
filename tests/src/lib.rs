//! Helpers of the integration and end-to-end tests.
//!
//! * [`cluster`] is the real cluster, [`testbed`] is one type for it and the sandbox.
//! * [`session`] is `kinject run` kept open, so that many programs share one session.
//! * [`fixture`] is a testbed with a session, and with bare runs as reference: most tests take one.
//! * [`programs`] are the programs that tests run, [`running`] runs them with a deadline.
//! * [`packages`] are packages of Python and npm that tests install.
//! * [`servers`] are real servers (PostgreSQL, Redis) for real clients.
//! * [`registry`] is a real image registry.
//! * [`proofs`] is shared by `cargo xtask matrix` and `cargo xtask suites`.
//! * [`terminal`] is a pseudo terminal that tests type into.
//! * [`carried`] is kinject with agents that its sessions carry into the cluster.
//! * [`foreign_images`] are images of workloads, in which carried agents run.
//! * [`ordinary`] is an unprivileged user with an agent of its own.
//! * [`process`] reads the state of processes from `/proc`.
//! * [`binaries`] finds the programs under test, [`apart`] keeps them from the machine's name server, [`skip`] notes
//!   tests that could not run.

pub mod apart;
pub mod binaries;
pub mod carried;
pub mod cluster;
pub mod fixture;
pub mod foreign_images;
pub mod ordinary;
pub mod packages;
pub mod process;
pub mod programs;
pub mod proofs;
pub mod registry;
pub mod running;
pub mod servers;
pub mod session;
pub mod terminal;
pub mod testbed;

pub use kinject_test_support::{skip, waiting};
