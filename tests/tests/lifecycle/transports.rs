//! The transports to the agent's pod, and the rights that each needs.

use kinject_tests::cluster::Rule;
use kinject_tests::programs::shell;
use kinject_tests::running::{Outcome, run_within};
use kinject_tests::session::eventually;

use crate::namespace::{SECONDS, TestNamespace};

const JOBS: Rule<'_> = Rule {
    groups: &["batch"],
    resources: &["jobs"],
    verbs: &["create", "delete"],
};
const SECRETS: Rule<'_> = Rule {
    groups: &[""],
    resources: &["secrets"],
    verbs: &["create"],
};
const PODS: Rule<'_> = Rule {
    groups: &[""],
    resources: &["pods"],
    verbs: &["get", "list", "watch"],
};
const PROXY: Rule<'_> = Rule {
    groups: &[""],
    resources: &["pods/proxy"],
    verbs: &["get", "create"],
};
const PORT_FORWARD: Rule<'_> = Rule {
    groups: &[""],
    resources: &["pods/portforward"],
    verbs: &["get", "create"],
};

/// The outcome of a session with these flags that asks a service.
fn asking(namespace: &TestNamespace, flags: &[&str]) -> Outcome {
    let ask = shell("curl -sS http://web.default/");
    run_within(&mut namespace.kinject(flags, &ask), SECONDS)
}

/// The same as a user with these rights alone.
fn asking_as(namespace: &TestNamespace, rules: &[Rule<'_>], flags: &[&str]) -> Outcome {
    let user = namespace
        .cluster
        .restricted_user(namespace.name(), "developer", rules)
        .unwrap();
    let ask = shell("curl -sS http://web.default/");
    let mut command = kinject_tests::apart::kinject();
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(user.path())
        .args(flags)
        .arg("--")
        .arg(&ask.path)
        .args(&ask.arguments);
    run_within(&mut command, SECONDS)
}

/// Asserts that the service answered over this transport, and that small writes are sent at once.
fn answered(outcome: &Outcome, through: &str) {
    outcome
        .succeeded()
        .prints("hello from web\n")
        .complains(&format!(" s ({through})\n"));
    assert!(!outcome.stderr.contains("small writes"), "{outcome}");
}

const BY_PROXY: &str = "pod proxy";
const BY_PORT_FORWARD: &str = "port-forward, no TLS inside";

/// The cluster reports a pod several times before it runs.
#[test]
fn each_step_of_session_start_is_printed_once() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = namespace.try_session(&["-v"]);
    let steps = outcome
        .succeeded()
        .stderr
        .lines()
        .filter(|line| line.starts_with("kinject: "));
    let mut steps: Vec<&str> = steps.collect();
    let all = steps.len();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len(), all, "{outcome}");
    outcome.complains("kinject: starting the agent\n");
}

#[test]
fn pod_proxy_is_used_by_default() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for flags in [&["-v"][..], &["-v", "--transport", "proxy"]] {
        answered(&asking(&namespace, flags), BY_PROXY);
    }
    namespace.is_clean();
}

#[test]
fn port_forward_is_used_when_requested() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    answered(
        &asking(&namespace, &["-v", "--transport", "port-forward"]),
        BY_PORT_FORWARD,
    );
    namespace.is_clean();
}

#[test]
fn agent_with_port_forward_refuses_connections_at_the_pods_address() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for (transport, answer) in [("port-forward", "refused"), ("proxy", "connected")] {
        let session = namespace.session(&["--transport", transport]);
        let pod = namespace.pod();
        let found = namespace
            .cluster
            .kubectl_json(&["--namespace", namespace.name(), "get", "pod", &pod]);
        let address = found.unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
        let connect_line = format!("exec 3<>/dev/tcp/{address}/7800 && echo connected");
        let connect_output = namespace
            .cluster
            .run_bare_in_pod(namespace.name(), &pod, &["bash", "-c", &connect_line])
            .unwrap();
        let said =
            String::from_utf8_lossy(&[connect_output.stdout, connect_output.stderr].concat()).into_owned();
        assert!(said.contains(answer), "by {transport}: {said}");
        session.end();
        namespace.becomes_clean();
    }
}

#[test]
fn tls_always_applies_inside_port_forward() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let flags = ["-v", "--transport", "port-forward", "--tls", "always"];
    answered(&asking(&namespace, &flags), "port-forward, TLS");
    namespace.is_clean();
}

#[test]
fn large_transfer_is_complete_over_either_transport() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for (transport, tls) in [
        ("proxy", "auto"),
        ("port-forward", "auto"),
        ("port-forward", "always"),
    ] {
        let session = namespace.session(&["--transport", transport, "--tls", tls]);
        if transport == "port-forward" {
            eventually("the second lane", SECONDS, || {
                let logs = ["--namespace", namespace.name(), "logs", &namespace.pod()];
                namespace
                    .cluster
                    .kubectl(&logs)
                    .unwrap()
                    .contains("second lane of a tunnel")
            });
        }
        let size = (50_u64 << 20).to_string();
        let program = kinject_tests::programs::python("streams.py").args(["transfer", "10.96.10.3", &size]);
        let mut command = session.command(&program.path);
        run_within(command.args(&program.arguments), 4 * SECONDS)
            .succeeded()
            .prints(&format!("{size} True\n"));
        session.end();
        namespace.becomes_clean();
    }
}

#[test]
fn minimal_rights_suffice_for_the_pod_proxy() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    answered(
        &asking_as(&namespace, &[JOBS, SECRETS, PODS, PROXY], &["-v"]),
        BY_PROXY,
    );
    namespace.is_clean();
}

#[test]
fn without_proxy_right_port_forward_is_used_and_the_ready_message_says_why() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    answered(
        &asking_as(&namespace, &[JOBS, SECRETS, PODS, PORT_FORWARD], &["-v"]),
        "port-forward, no TLS inside; the pod proxy may not be used",
    );
    namespace.is_clean();
}

#[test]
fn requested_transport_without_its_right_is_refused_with_the_clusters_message() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking_as(
        &namespace,
        &[JOBS, SECRETS, PODS, PORT_FORWARD],
        &["--transport", "proxy"],
    );
    outcome
        .exited(125)
        .complains("cannot get resource \"pods/proxy\"")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn without_rights_for_any_transport_the_denial_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking_as(&namespace, &[JOBS, SECRETS, PODS], &[]);
    outcome
        .exited(125)
        .complains("pods/portforward")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn without_create_jobs_right_the_denial_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking_as(&namespace, &[SECRETS, PODS, PROXY], &[]);
    outcome
        .exited(125)
        .complains("cannot create resource \"jobs\"")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn without_create_secrets_right_the_denial_is_reported_and_the_job_removed() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking_as(&namespace, &[JOBS, PODS, PROXY], &[]);
    outcome
        .exited(125)
        .complains("cannot create the Secret with the agent's keys")
        .complains("cannot create resource \"secrets\"")
        .complains("\n\nhint: ask for this permission");
    namespace.is_clean();
}

#[test]
fn without_read_pods_right_the_denial_is_reported_and_the_job_removed() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking_as(&namespace, &[JOBS, SECRETS, PROXY], &[]);
    outcome
        .exited(125)
        .complains("cannot list resource \"pods\"")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn without_delete_right_the_remaining_job_is_named() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let create = Rule {
        verbs: &["create"],
        ..JOBS
    };
    let outcome = asking_as(&namespace, &[create, SECRETS, PODS, PROXY], &[]);
    outcome.exited(0).prints("hello from web\n");
    outcome.complains("could not be removed").complains(&format!(
        "kubectl -n {} delete job kinject-agent-",
        namespace.name()
    ));
}

#[test]
fn impersonated_user_and_group_decide_the_rights() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = asking(
        &namespace,
        &["--as", "nobody-in-particular", "--as-group", "strangers"],
    );
    outcome
        .exited(125)
        .complains("User \"nobody-in-particular\" cannot create resource \"jobs\"");
    let admin = asking(&namespace, &["--as", "somebody", "--as-group", "system:masters"]);
    admin.succeeded().prints("hello from web\n");
    namespace.is_clean();
}
