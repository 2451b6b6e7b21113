//! The places to connect to. Both show the same world.

use std::ffi::OsString;
use std::sync::OnceLock;

use kinject_sandbox::Sandbox;

use crate::cluster::Cluster;
use crate::{binaries, skip};

/// Which of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user and network namespace with the real agent, and no Kubernetes.
    Sandbox,
    /// The real cluster of this machine.
    Cluster,
}

/// A place that is there.
#[derive(Debug)]
pub enum Place {
    /// A sandbox of one's own.
    Sandbox(Sandbox),
    /// The cluster, which all tests share.
    Cluster(Cluster),
}

impl Place {
    /// Opens a place; `None`, and a note for the user, where this machine has none.
    pub fn open(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Sandbox => Some(Self::Sandbox(sandbox())),
            Kind::Cluster => cluster().map(Self::Cluster),
        }
    }

    /// The flags of `kinject run` that lead here.
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

/// The sandbox that tests of this program share: for what is the same wherever the agent stands.
pub fn shared_sandbox() -> &'static Place {
    static SANDBOX: OnceLock<Place> = OnceLock::new();
    SANDBOX.get_or_init(|| Place::Sandbox(sandbox()))
}
