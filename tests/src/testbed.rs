//! The testbeds: the sandbox and the real cluster. Both have the same services, names and addresses.

use std::ffi::OsString;
use std::sync::OnceLock;

use kinject_sandbox::Sandbox;

use crate::cluster::Cluster;
use crate::{binaries, skip};

/// The kind of a testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user and network namespace with the real agent, and no Kubernetes.
    Sandbox,
    /// The real cluster of this machine.
    Cluster,
}

/// A running testbed.
#[derive(Debug)]
pub enum Testbed {
    /// A sandbox of the test's own.
    Sandbox(Sandbox),
    /// The cluster, which all tests share.
    Cluster(Cluster),
}

impl Testbed {
    /// Opens a testbed; `None`, and a note for the user, where this machine has none.
    pub fn open(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Sandbox => Some(Self::Sandbox(sandbox())),
            Kind::Cluster => cluster().map(Self::Cluster),
        }
    }

    /// The flags of `kinject run` that select this testbed.
    pub fn flags(&self) -> Vec<OsString> {
        match self {
            Self::Sandbox(sandbox) => {
                let mut endpoint = OsString::from("unix:");
                endpoint.push(&sandbox.socket);
                let key = sandbox.key.clone().into();
                vec!["--agent".into(), endpoint, "--agent-key".into(), key]
            }
            Self::Cluster(cluster) => vec!["--kubeconfig".into(), cluster.kubeconfig().into()],
        }
    }
}

/// A new sandbox.
pub fn sandbox() -> Sandbox {
    let started = Sandbox::start(
        &binaries::path("kinject-sandbox"),
        &binaries::path("kinject-agent"),
    );
    started.unwrap_or_else(|error| panic!("no sandbox: {error}"))
}

/// The cluster, or a note that there is none.
pub fn cluster() -> Option<Cluster> {
    let what = "tests on the real cluster";
    if !rustix::process::geteuid().is_root() {
        skip::not_run(what, "comparing with programs in a pod's network needs root");
        return None;
    }
    let cluster = Cluster::running().unwrap_or_else(|error| panic!("cannot look for the cluster: {error:#}"));
    if cluster.is_none() {
        skip::not_run(what, "no cluster is up; `cargo xtask cluster up` starts one");
    }
    cluster
}

/// The sandbox that the tests of one executable share, for behaviour that does not depend on the testbed.
pub fn shared_sandbox() -> &'static Testbed {
    static SANDBOX: OnceLock<Testbed> = OnceLock::new();
    SANDBOX.get_or_init(|| Testbed::Sandbox(sandbox()))
}
