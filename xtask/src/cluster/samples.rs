//! What runs in the cluster from the start: its name server and the sample workloads that tests connect to.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::kubectl::Kubectl;
use super::node::Node;
use super::state::State;
use crate::{process, workspace};

/// Namespace and name of what has to be ready.
const WORKLOADS: &[(&str, &str)] = &[
    ("kube-system", "deployment/coredns"),
    ("default", "deployment/web"),
    ("default", "deployment/api"),
    ("default", "deployment/echo"),
    ("default", "statefulset/db"),
    ("other", "deployment/web"),
];

/// Services, and whether connections to them are refused.
const SERVICES: &[(&str, bool)] = &[
    ("10.96.0.10:53", false),
    ("10.96.10.1:80", false),
    ("10.96.10.2:80", false),
    ("10.96.10.3:7000", false),
    ("10.96.10.4:80", false),
    ("10.96.10.9:80", true),
];

/// Creates everything, or brings it up to date.
pub(crate) fn apply(state: &State) -> Result<()> {
    let folder = workspace::root().join("deploy");
    process::output(
        Kubectl::new(state)
            .command()
            .args(["apply", "--recursive", "--filename"])
            .arg(folder.join("coredns"))
            .arg("--filename")
            .arg(folder.join("samples")),
    )
    .context("creating the sample workloads")?;
    Ok(())
}

/// Waits until all of it is ready and answers by name and by Service address.
pub(crate) fn wait(state: &State, node: &Node) -> Result<()> {
    for (namespace, workload) in WORKLOADS {
        node.check(state)?;
        Kubectl::new(state)
            .run(&[
                "--namespace",
                namespace,
                "rollout",
                "status",
                "--timeout=90s",
                workload,
            ])
            .with_context(|| format!("waiting for {workload} in namespace {namespace}"))?;
    }
    // A ready pod is not yet a Service that answers: the node's address translation follows a moment later.
    let itself = std::env::current_exe().context("finding this program")?;
    process::output(
        Command::new("nsenter")
            .args(["--net", "--target", &node.pid().as_raw_nonzero().to_string()])
            .arg(itself)
            .args(["cluster", "probe"]),
    )?;
    Ok(())
}

/// Waits, inside the node's network, until every Service answers or refuses as it should.
pub(crate) fn probe() -> Result<()> {
    for (address, refuses) in SERVICES {
        process::wait_for(
            &format!("the Service at {address}"),
            Duration::from_secs(20),
            || {
                let connected = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(1));
                Ok(match connected {
                    Ok(_) => !refuses,
                    Err(error) => *refuses && error.kind() == ErrorKind::ConnectionRefused,
                }
                .then_some(()))
            },
        )?;
    }
    Ok(())
}
