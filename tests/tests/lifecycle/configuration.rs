//! Kubeconfigs: which one is used, and the errors for unusable ones.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kinject_tests::running::{Outcome, run_within};
use kinject_tests::testbed::cluster;
use serde_json::{Value, json};

use crate::namespace::{SECONDS, TestNamespace};

/// `kinject run` with only the environment that the test sets.
fn kinject(flags: &[&str], line: &str) -> Command {
    let mut command = kinject_tests::apart::kinject();
    command
        .arg("run")
        .args(flags)
        .args(["--", "sh", "-c", line])
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent");
    command
}

fn outcome(command: &mut Command) -> Outcome {
    run_within(command, SECONDS)
}

fn with_kubeconfig(path: &Path, flags: &[&str]) -> Outcome {
    let path = path.to_str().unwrap();
    outcome(&mut kinject(&[&["--kubeconfig", path], flags].concat(), "true"))
}

/// A kubeconfig whose server is somewhere else.
fn server(address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "none"}}],
    })
}

fn written(config: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config.to_string()).unwrap();
    file
}

#[test]
fn absent_kubeconfig_is_reported() {
    let outcome = outcome(&mut kinject(&[], "true"));
    outcome
        .exited(125)
        .complains("kubeconfig")
        .complains("\n\nhint: ");
}

#[test]
fn missing_unreadable_or_invalid_kubeconfig_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a config");
    with_kubeconfig(&path, &[])
        .exited(125)
        .complains("a config")
        .complains("\n\nhint: ");
    with_kubeconfig(folder.path(), &[])
        .exited(125)
        .complains("cannot read the kubeconfig");
    for broken in [
        "",
        "{",
        "just words",
        "\0\u{1}",
        "apiVersion: v1\nkind: Config\nclusters: 7\n",
    ] {
        fs::write(&path, broken).unwrap();
        let outcome = with_kubeconfig(&path, &[]);
        outcome
            .exited(125)
            .complains("kubeconfig")
            .complains("\n\nhint: ");
    }
}

#[test]
fn unknown_context_is_reported_with_the_existing_ones() {
    let config = written(&server("https://127.0.0.1:1"));
    let outcome = with_kubeconfig(config.path(), &["--context", "elsewhere"]);
    outcome
        .exited(125)
        .complains("no context \"elsewhere\"")
        .complains("\n\nhint: it has: here; choose one");
}

#[test]
fn context_without_its_cluster_is_reported() {
    let mut config = server("https://127.0.0.1:1");
    config["clusters"] = json!([]);
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome
        .exited(125)
        .complains("kubeconfig")
        .complains("\n\nhint: ");
}

#[test]
fn refusing_server_or_other_service_as_api_server_is_reported() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = with_kubeconfig(written(&server(&format!("https://{closed}"))).path(), &[]);
    outcome
        .exited(125)
        .complains(&format!("cannot reach the cluster at https://{closed}"))
        .complains("\n\nhint: ");
    let outcome = with_kubeconfig(written(&server("https://no-such-host.invalid:6443")).path(), &[]);
    outcome
        .exited(125)
        .complains("cannot reach the cluster")
        .complains("\n\nhint: ");
    let outcome = with_kubeconfig(written(&server("not an address")).path(), &[]);
    outcome.exited(125).complains("\n\nhint: ");
}

#[test]
fn silent_api_server_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let config = written(&server(&format!("https://{address}")));
    let outcome = with_kubeconfig(config.path(), &[]);
    outcome
        .exited(125)
        .complains("cannot reach the cluster")
        .complains("no answer\n\nhint: ");
    assert!(!outcome.stderr.contains("could not be removed"), "{outcome}");
}

#[test]
fn wrong_token_is_reported_as_unauthorized() {
    let Some(cluster) = cluster() else { return };
    let user = cluster.kubeconfig_with_token("default", "no-such-token").unwrap();
    let outcome = with_kubeconfig(&user.path(), &[]);
    outcome
        .exited(125)
        .complains("Unauthorized")
        .complains("\n\nhint: the credentials are wrong or have expired");
}

#[test]
fn expired_token_is_reported_within_seconds() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // the account has every right that a session needs, so that only the token is invalid
    let admin = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "late", "namespace": namespace.name()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace.name()}],
    });
    namespace.cluster.apply(&admin.to_string()).unwrap();
    let user = namespace
        .cluster
        .service_account(namespace.name(), "default")
        .unwrap();
    with_kubeconfig(&user.path(), &[]).succeeded();
    let user = namespace
        .cluster
        .expired_service_account(namespace.name(), "default")
        .unwrap();
    let outcome = with_kubeconfig(&user.path(), &[]);
    outcome
        .exited(125)
        .complains("cannot create the agent's Job: Unauthorized")
        .complains("\n\nhint: the credentials are wrong or have expired");
    assert!(outcome.took < Duration::from_secs(5), "{outcome}");
    namespace.is_clean();
}

#[test]
fn api_server_with_another_certificate_is_not_trusted() {
    let Some(cluster) = cluster() else { return };
    let mut config = cluster.kubectl_json(&["config", "view", "--raw"]).unwrap();
    let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
    cluster.remove("certificate-authority-data");
    cluster.remove("certificate-authority");
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome
        .exited(125)
        .complains("cannot reach the cluster")
        .complains("certificate")
        .complains("\n\nhint: ");
}

#[test]
fn credential_plugin_is_run_and_its_failure_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let token = namespace
        .cluster
        .restricted_user(namespace.name(), "plugin", &[])
        .unwrap();
    let known: Value = serde_json::from_slice(&fs::read(token.path()).unwrap()).unwrap();
    let mut config = known.clone();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": known["users"][0]["user"]["token"]},
    });
    let exec = |arguments: Value| {
        json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": "sh", "args": arguments,
        }})
    };
    config["users"][0]["user"] = exec(json!(["-c", format!("echo '{credential}'")]));
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome
        .exited(125)
        .complains("system:serviceaccount:")
        .complains("cannot create resource \"jobs\"");
    // a plug-in that reads standard input gets neither a terminal nor the relay's own input
    config["users"][0]["user"] = exec(json!(["-c", format!("cat >/dev/null; echo '{credential}'")]));
    config["users"][0]["user"]["exec"]["interactiveMode"] = json!("IfAvailable");
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome.exited(125).complains("cannot create resource \"jobs\"");
    config["users"][0]["user"]["exec"]["interactiveMode"] = json!("Always");
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome.exited(125).complains("insists on a terminal\n\nhint: ");
    config["users"][0]["user"] = exec(json!(["-c", "echo no badge today >&2; exit 1"]));
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome
        .exited(125)
        .complains("no badge today")
        .complains("\n\nhint: ");
    config["users"][0]["user"]["exec"]["command"] = json!("/no/such/plugin");
    let outcome = with_kubeconfig(written(&config).path(), &[]);
    outcome
        .exited(125)
        .complains("/no/such/plugin")
        .complains("\n\nhint: ");
}

#[test]
fn several_files_in_kubeconfig_are_merged() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let all = namespace
        .cluster
        .kubectl_json(&["config", "view", "--raw"])
        .unwrap();
    let part = |keys: &[&str]| {
        let mut part = json!({"apiVersion": "v1", "kind": "Config"});
        for key in keys {
            part[key] = all[key].clone();
        }
        written(&part)
    };
    let (one, other) = (
        part(&["current-context", "contexts"]),
        part(&["clusters", "users"]),
    );
    let paths = format!(
        "{}:/no/such/file:{}",
        one.path().display(),
        other.path().display()
    );
    let mut command = kinject(&["--namespace", namespace.name()], "curl -sS http://web.default/");
    outcome(command.env("KUBECONFIG", paths))
        .succeeded()
        .prints("hello from web\n");
}

#[test]
fn kubeconfig_in_the_home_folder_is_the_default_with_its_namespace() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = namespace
        .cluster
        .kubectl_json(&["config", "view", "--raw"])
        .unwrap();
    config["contexts"][0]["context"]["namespace"] = json!(namespace.name());
    fs::create_dir(folder.path().join(".kube")).unwrap();
    fs::write(folder.path().join(".kube/config"), config.to_string()).unwrap();
    let mut command = kinject(&[], "echo ${KINJECT_TARGET#*/}");
    outcome(command.env("HOME", folder.path()))
        .succeeded()
        .prints(&format!("{}\n", namespace.name()));
}
