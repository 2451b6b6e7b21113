//! The rights that forwards take.

use std::path::Path;
use std::process::Command;

use kinject_tests::apart;
use kinject_tests::cluster::{Kubeconfig, Rule};
use kinject_tests::running::run;
use kinject_tests::testbed::cluster;

use crate::process::{Forward, curl};
use crate::restarts::workloads;

fn forward_as(user: &Kubeconfig, arguments: &[&str]) -> Command {
    let mut command = apart::kinject();
    command
        .args(["forward", "--kubeconfig"])
        .arg(user.path())
        .args(arguments);
    command
}

#[test]
fn documented_roles_suffice_for_services_and_workloads() {
    let Some(cluster) = cluster() else { return };
    let namespace = workloads(&cluster);
    let name = namespace.name();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac.yaml");
    let kubectl = |arguments: &[&str]| {
        cluster
            .kubectl(&[&["--namespace", name], arguments].concat())
            .unwrap()
    };
    kubectl(&["apply", "--filename", file.to_str().unwrap()]);
    kubectl(&["create", "serviceaccount", "user"]);
    for role in ["kinject", "kinject-forward"] {
        let (role_flag, user) = (format!("--role={role}"), format!("--serviceaccount={name}:user"));
        kubectl(&["create", "rolebinding", role, &role_flag, &user]);
    }
    let user = cluster.service_account(name, "user").unwrap();
    let forward = Forward::of(forward_as(&user, &["svc/shop", ":web", "deploy/shop", ":http"]));
    for local in [forward.local(), forward.local()] {
        curl(&[format!("http://{local}/")])
            .succeeded()
            .prints("hello from shop\n");
    }
}

#[test]
fn user_without_the_rights_to_follow_pods_is_told_before_anything_is_made() {
    let Some(cluster) = cluster() else { return };
    let namespace = workloads(&cluster);
    let rules = [
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
    ];
    let user = cluster.restricted_user(namespace.name(), "user", &rules).unwrap();
    let outcome = run(&mut forward_as(&user, &["deploy/shop", ":8080"]));
    outcome.exited(125).complains(&format!(
        "missing rights in namespace {}: get deployments.apps/shop, list pods, watch pods",
        namespace.name()
    ));
    let jobs = cluster
        .kubectl_json(&["--namespace", namespace.name(), "get", "jobs"])
        .unwrap();
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(0));
}
