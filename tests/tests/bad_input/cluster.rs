//! Clusters that are silent, or report a pod's state late: kinject reports what is true.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinject_tests::running::spawn;
use serde_json::{Value, json};

use crate::api_server::{Answer, api_server, is_about_agents, makes_agents, pods, session_in};

/// The pod of the Job that [`makes_agents`] makes, with its container in this state.
fn pod(phase: &str, state: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "agent-pod", "uid": "pod", "resourceVersion": "1",
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "made", "uid": "ours", "controller": true,
            }],
        },
        "status": {"phase": phase, "podIP": "10.244.0.9", "containerStatuses": [{
            "name": "agent", "image": "some-image:1", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }]},
    })
}

/// A cluster that reports a running pod whose agent cannot be reached.
fn with_an_agent_out_of_reach(method: &str, path: &str) -> Answer {
    if is_about_agents(path) {
        makes_agents(method, path)
    } else if path.contains(":7800/proxy") || path.contains("/portforward") {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 503, "message": "no way",
        });
        Answer::Json(503, status)
    } else if path.contains("watch") {
        Answer::Silence
    } else if path.contains("/pods/agent-pod") {
        Answer::Json(200, pod("Running", &json!({"running": {}})))
    } else {
        pods(json!([pod("Running", &json!({"running": {}}))]))
    }
}

/// The first query about the pod comes while the transport is tried, the second one after it has failed.
#[test]
fn pod_end_learned_after_the_transport_failed_is_reported() {
    for transport in ["proxy", "port-forward"] {
        let looks = AtomicUsize::new(0);
        let config = api_server(move |method, path| {
            let is_look = path.contains("/pods?") && path.contains("watch") && path.contains("fieldSelector");
            if is_look && looks.fetch_add(1, Ordering::Relaxed) > 0 {
                let ended = json!({"terminated": {"exitCode": 3, "message": "no such flag"}});
                return Answer::Event(json!({"type": "MODIFIED", "object": pod("Failed", &ended)}));
            }
            with_an_agent_out_of_reach(method, path)
        });
        session_in(config.path(), &["--transport", transport])
            .exited(125)
            .complains(
                "kinject: error: the agent ended with status 3: no such flag\n\nhint: check that some-image:1 is an image of",
            );
    }
}

#[test]
fn unreachable_running_agent_is_not_reported_as_ended() {
    let config = api_server(with_an_agent_out_of_reach);
    let outcome = session_in(config.path(), &["--transport", "proxy"]);
    outcome.exited(125).complains("through the pod proxy");
    assert!(!outcome.stderr.contains("ended"), "{outcome}");
}

#[test]
fn session_waiting_for_a_silent_api_server_names_it() {
    let config = api_server(|_, _| Answer::Silence);
    let mut command = kinject_tests::apart::kinject();
    command.args(["run", "-v", "--kubeconfig"]).arg(config.path());
    let mut kinject = spawn(command.args(["--", "true"]).stdin(Stdio::null()));
    let mut lines = BufReader::new(kinject.stderr.take().unwrap()).lines();
    let waits = "kinject: waiting for an answer of the API server at http://127.0.0.1:";
    let found = lines.find(|line| line.as_ref().unwrap().starts_with(waits));
    kinject.kill().unwrap();
    kinject.wait().unwrap();
    assert!(found.is_some());
}
