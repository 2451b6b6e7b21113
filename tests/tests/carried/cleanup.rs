//! Nothing stays in the cluster, whatever way the session ends.

use std::time::Instant;

use kinject_tests::process::kill_at_once;
use kinject_tests::running::{finish, spawn};
use kinject_tests::session::{eventually, relay_of};

use crate::namespace::{CARRIED, SECONDS, TestNamespace};

/// The agent ends by itself after two minutes without a relay. The test does not wait for that, as
/// `tests/tests/edit_role/cleanup.rs` does: it gives the Job a deadline, after which the cluster removes the same.
#[test]
fn config_maps_of_killed_launcher_and_relay_go_with_the_job() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let mut session = namespace.session();
    assert!(!namespace.maps().is_empty());
    kill_at_once(&[session.relay(), session.launcher()]);
    assert_eq!(session.ended(), 137);
    end_by_deadline(&namespace);
    namespace.becomes_clean();
}

/// The Job keeps its deadline until its pod runs. The test does not wait for it: it brings it forward.
#[test]
fn session_killed_while_its_pod_cannot_start_leaves_nothing() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // a pod that is never made waits as one does whose image is pulled for long; without the right to events the relay
    // is not told
    namespace.apply_full_quota("pods", 0);
    let user = namespace
        .cluster
        .restricted_user(namespace.name(), "patient", &CARRIED)
        .unwrap();
    let kubeconfig = user.path();
    let flags = [
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--host-image",
        "no-such.example/image:1",
    ];
    let started = Instant::now();
    let launcher = spawn(&mut namespace.command(&flags));
    eventually("a Job that is released", SECONDS, || {
        namespace
            .made("jobs")
            .iter()
            .any(|job| job["spec"]["parallelism"] == 1)
    });
    let relay = relay_of(launcher.id()).unwrap();
    kill_at_once(&[relay, launcher.id()]);
    let outcome = finish(launcher, started, "the killed session", SECONDS);
    assert_eq!(outcome.code(), 137, "{outcome}");
    let job = namespace.made("jobs").remove(0);
    assert!(job["spec"]["activeDeadlineSeconds"].is_u64(), "{job}");
    assert!(!namespace.maps().is_empty());
    end_by_deadline(&namespace);
    namespace.becomes_clean();
}

/// Gives the Job a deadline that has passed.
fn end_by_deadline(namespace: &TestNamespace) {
    let job = namespace.made("jobs")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let deadline = r#"{"spec":{"activeDeadlineSeconds":1}}"#;
    let patch = [
        "--namespace",
        namespace.name(),
        "patch",
        "job",
        &job,
        "--type=merge",
        "--patch",
        deadline,
    ];
    namespace.cluster.kubectl(&patch).unwrap();
}

/// As after the death of the machine between the creation of the Job and its release.
#[test]
fn held_job_that_is_never_released_ends_at_its_deadline() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session();
    let mut held = namespace.made("jobs").remove(0);
    let labels = held["metadata"]["labels"].clone();
    held["metadata"] = serde_json::json!({ "name": "held", "namespace": namespace.name(), "labels": labels });
    held["spec"].as_object_mut().unwrap().remove("selector");
    held["spec"]["template"]["metadata"]["labels"] = labels;
    held["spec"]["parallelism"] = 0.into();
    held["spec"]["activeDeadlineSeconds"] = 2.into();
    held.as_object_mut().unwrap().remove("status");
    namespace.cluster.apply(&held.to_string()).unwrap();
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}
