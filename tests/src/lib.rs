//! What the integration and end-to-end tests share.
//!
//! * [`cluster`] is the real cluster, [`place`] makes it and the sandbox one thing to connect to.
//! * [`session`] is `kinject run` kept open, so that many programs share one session.
//! * [`scene`] puts a place, a session and the bare truth together: most tests take one.
//! * [`programs`] are the programs that tests run, [`running`] runs them with a deadline.
//! * [`packages`] are those of Python that tests need beside what is installed.
//! * [`servers`] are real ones for real clients.
//! * [`proofs`] is what the two long proofs share, the matrix of runtimes and the foreign suites.
//! * [`terminal`] is one with somebody at it.
//! * [`ordinary`] is a user without rights, with an agent of its own.
//! * [`process`] looks at processes from outside.
//! * [`binaries`] finds what is tested, [`apart`] keeps it from the machine's name server, [`skip`] tells what could not be.

pub mod apart;
pub mod binaries;
pub mod cluster;
pub mod ordinary;
pub mod packages;
pub mod place;
pub mod process;
pub mod programs;
pub mod proofs;
pub mod running;
pub mod scene;
pub mod servers;
pub mod session;
pub mod terminal;

pub use kinject_test_support::{skip, waiting};
