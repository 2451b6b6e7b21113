//! Nothing stays in the cluster, whatever way the session ends.

use rustix::process::{Pid, Signal, kill_process};

use crate::installation::Home;

/// The agent ends by itself after two minutes without a relay. The test does not wait for that: it gives the Job a deadline,
/// after which all goes the way that it would go then.
#[test]
fn maps_of_a_session_whose_launcher_and_relay_were_killed_go_with_the_job() {
    let Some(home) = Home::new() else { return };
    let mut session = home.session();
    assert!(!home.maps().is_empty());
    for process in [session.relay(), session.launcher()] {
        let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        kill_process(process, Signal::KILL).unwrap();
    }
    assert_eq!(session.ended(), 137);
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
    home.becomes_clean();
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
