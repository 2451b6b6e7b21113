//! Nothing stays in the cluster, whatever way the session ends.

use rustix::process::{Pid, Signal, kill_process};

use std::time::Instant;

use kinject_tests::running::{finish, spawn};
use kinject_tests::session::{eventually, relay_of};

use crate::installation::{CARRIED, Home, SECONDS};

/// The agent ends by itself after two minutes without a relay. The test does not wait for that: it gives the Job a
/// deadline, after which all goes the way that it would go then.
#[test]
fn maps_of_a_session_whose_launcher_and_relay_were_killed_go_with_the_job() {
    let Some(home) = Home::new() else { return };
    let mut session = home.session();
    assert!(!home.maps().is_empty());
    kill_at_once(&[session.relay(), session.launcher()]);
    assert_eq!(session.ended(), 137);
    end_by_deadline(&home);
    home.becomes_clean();
}

/// The Job keeps its deadline until its pod runs. The test does not wait for it: it brings it forward.
#[test]
fn session_killed_while_its_pod_cannot_start_leaves_nothing() {
    let Some(home) = Home::new() else { return };
    // a pod that is never made waits as one does whose image is pulled for long; without the right to events the relay
    // is not told
    home.apply_full_quota("pods", 0);
    let user = home
        .cluster
        .restricted_user(home.name(), "patient", &CARRIED)
        .unwrap();
    let kubeconfig = user.path();
    let flags = [
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--host-image",
        "no-such.example/image:1",
    ];
    let started = Instant::now();
    let launcher = spawn(&mut home.command(&flags));
    eventually("a Job that is released", SECONDS, || {
        home.made("jobs")
            .iter()
            .any(|job| job["spec"]["parallelism"] == 1)
    });
    let relay = relay_of(launcher.id()).unwrap();
    kill_at_once(&[relay, launcher.id()]);
    let outcome = finish(launcher, started, "the killed session", SECONDS);
    assert_eq!(outcome.code(), 137, "{outcome}");
    let job = home.made("jobs").remove(0);
    assert!(job["spec"]["activeDeadlineSeconds"].is_u64(), "{job}");
    assert!(!home.maps().is_empty());
    end_by_deadline(&home);
    home.becomes_clean();
}

/// Kills processes of which none is to learn of another's end.
fn kill_at_once(processes: &[u32]) {
    for signal in [Signal::STOP, Signal::KILL] {
        for process in processes {
            let process = Pid::from_raw(i32::try_from(*process).unwrap()).unwrap();
            kill_process(process, signal).unwrap();
        }
    }
}

/// Gives the Job a deadline that has passed.
fn end_by_deadline(home: &Home) {
    let job = home.made("jobs")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let deadline = r#"{"spec":{"activeDeadlineSeconds":1}}"#;
    let patch = [
        "--namespace",
        home.name(),
        "patch",
        "job",
        &job,
        "--type=merge",
        "--patch",
        deadline,
    ];
    home.cluster.kubectl(&patch).unwrap();
}

/// As after the death of the machine between the creation of the Job and its release.
#[test]
fn job_that_is_held_and_not_released_ends_at_its_deadline_and_is_removed() {
    let Some(home) = Home::new() else { return };
    let session = home.session();
    let mut held = home.made("jobs").remove(0);
    let labels = held["metadata"]["labels"].clone();
    held["metadata"] = serde_json::json!({ "name": "held", "namespace": home.name(), "labels": labels });
    held["spec"].as_object_mut().unwrap().remove("selector");
    held["spec"]["template"]["metadata"]["labels"] = labels;
    held["spec"]["parallelism"] = 0.into();
    held["spec"]["activeDeadlineSeconds"] = 2.into();
    held.as_object_mut().unwrap().remove("status");
    home.cluster.apply(&held.to_string()).unwrap();
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}
