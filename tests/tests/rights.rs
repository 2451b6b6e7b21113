//! `deploy/rbac.yaml`: sufficient for a session over either transport, and which rules are optional.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kinject_tests::cluster::{Cluster, Kubeconfig, Rule};
use kinject_tests::running::{Outcome, run};
use kinject_tests::{binaries, testbed};

/// Every session needs these.
const SESSION: [Rule<'static>; 3] = [
    Rule {
        groups: &["batch"],
        resources: &["jobs"],
        verbs: &["create", "delete"],
    },
    Rule {
        groups: &[""],
        resources: &["secrets"],
        verbs: &["create"],
    },
    Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch"],
    },
];

const PROXY: Rule<'static> = Rule {
    groups: &[""],
    resources: &["pods/proxy"],
    verbs: &["get"],
};

const PORT_FORWARD: Rule<'static> = Rule {
    groups: &[""],
    resources: &["pods/portforward"],
    verbs: &["get", "create"],
};

/// `kinject run` as that user, with a program that prints the answer of `web`.
fn ask_web(user: &Kubeconfig, transport: &str) -> Outcome {
    let mut command = Command::new(binaries::kinject());
    command
        .args(["run", "--verbose", "--transport", transport, "--kubeconfig"])
        .arg(user.path())
        .args(["--", "curl", "--silent", "http://web.default/"]);
    run(&mut command)
}

fn assert_answered(outcome: &Outcome, transport: &str) {
    assert_eq!(
        (outcome.code(), outcome.stdout.as_str()),
        (0, "hello from web\n"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains(transport), "{outcome}");
}

fn jobs(cluster: &Cluster, namespace: &str) -> Result<usize> {
    let jobs = cluster.kubectl_json(&["--namespace", namespace, "get", "jobs"])?;
    Ok(jobs["items"].as_array().context("no list of jobs")?.len())
}

#[test]
fn documented_role_suffices_for_either_transport() -> Result<()> {
    let Some(cluster) = testbed::cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("role", "restricted")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac.yaml");
    let file = file.to_str().context("the clone's path is not UTF-8")?;
    let name = namespace.name();
    cluster.kubectl(&["--namespace", name, "apply", "--filename", file])?;
    cluster.kubectl(&["--namespace", name, "create", "serviceaccount", "user"])?;
    let user = format!("--serviceaccount={name}:user");
    cluster.kubectl(&[
        "--namespace",
        name,
        "create",
        "rolebinding",
        "kinject",
        "--role=kinject",
        &user,
    ])?;
    let user = cluster.service_account(name, "user")?;

    assert_answered(&ask_web(&user, "proxy"), "(pod proxy)");
    assert_answered(&ask_web(&user, "port-forward"), "(port-forward, no TLS inside)");
    assert_eq!(jobs(&cluster, name)?, 0);
    Ok(())
}

#[test]
fn role_for_one_transport_suffices() -> Result<()> {
    let Some(cluster) = testbed::cluster() else {
        return Ok(());
    };
    for (only, transport) in [
        (PROXY, "(pod proxy)"),
        (PORT_FORWARD, "(port-forward, no TLS inside; "),
    ] {
        let namespace = cluster.namespace("way", "restricted")?;
        let rules = [&SESSION[..], &[only]].concat();
        let user = cluster.restricted_user(namespace.name(), "user", &rules)?;
        assert_answered(&ask_web(&user, "auto"), transport);
        assert_eq!(jobs(&cluster, namespace.name())?, 0);
    }
    Ok(())
}

#[test]
fn role_without_delete_names_the_remaining_job() -> Result<()> {
    let Some(cluster) = testbed::cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("keep", "restricted")?;
    let [_, secrets_rule, pods_rule] = SESSION;
    let only_create = Rule {
        groups: &["batch"],
        resources: &["jobs"],
        verbs: &["create"],
    };
    let rules = [only_create, secrets_rule, pods_rule, PROXY];
    let user = cluster.restricted_user(namespace.name(), "user", &rules)?;
    let outcome = ask_web(&user, "auto");
    assert_answered(&outcome, "could not be removed");
    assert!(outcome.stderr.contains("delete job kinject-agent-"), "{outcome}");
    Ok(())
}
