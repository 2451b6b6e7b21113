//! The images that a carried agent runs in.

use kinject_tests::cluster::{AGENT_IMAGE, SAMPLES_IMAGE, SHELL_IMAGE};
use kinject_tests::programs::shell;
use kinject_tests::running::run_within;
use kinject_tests::session::eventually;

use crate::installation::{Home, PAUSE_IMAGE, REMOVAL, SECONDS, WEB_SAYS, assert_answered};

#[test]
fn user_with_the_edit_role_has_a_session_in_the_bare_pause_image() {
    let Some(home) = Home::new() else { return };
    let user = home.cluster.user_with_role(home.name(), "edit").unwrap();
    let kubeconfig = user.path();
    let kubeconfig = kubeconfig.to_str().unwrap();
    assert_answered(&home.ask(&["--kubeconfig", kubeconfig, "--host-image", PAUSE_IMAGE]));
    home.is_clean();
}

/// The first has a shell and the user root, the second a static program alone, and the third an entry point that fails
/// without arguments.
#[test]
fn entry_point_and_user_of_the_image_are_overridden() {
    let Some(home) = Home::new() else { return };
    for image in [SHELL_IMAGE, SAMPLES_IMAGE, AGENT_IMAGE] {
        let outcome = home.ask(&["-v", "--host-image", image]);
        assert_answered(&outcome);
        let chosen = format!("the agent runs in the image {image}: --host-image names it");
        outcome.complains(&chosen);
    }
    home.is_clean();
}

#[test]
fn image_of_a_running_pod_is_taken_and_said() {
    let Some(home) = Home::new() else { return };
    home.run_pod("app", SHELL_IMAGE, &["/bin/sleep", "3600"]);
    let outcome = home.ask(&["-v"]);
    assert_answered(&outcome);
    let chosen = format!("the agent runs in the image {SHELL_IMAGE}: pod app runs it");
    outcome.complains(&chosen);
    home.is_clean();
}

#[test]
fn annotations_of_job_and_pod_tell_that_an_agent_runs_there() {
    let Some(home) = Home::new() else { return };
    let session = home.session();
    for kind in ["jobs", "pods"] {
        let made = home.made(kind);
        let told = made[0]["metadata"]["annotations"]["kinject/agent"]
            .as_str()
            .unwrap();
        for word in [env!("CARGO_PKG_VERSION"), "SHA-256", PAUSE_IMAGE] {
            assert!(told.contains(word), "{kind}: {told}");
        }
    }
    assert_eq!(session.end(), 0);
    home.is_clean();
}

#[test]
fn agent_whose_pod_was_deleted_is_carried_again() {
    let Some(home) = Home::new() else { return };
    let session = home.session();
    let first = home.made("pods")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let delete = [
        "--namespace",
        home.name(),
        "delete",
        "pod",
        &first,
        "--wait=false",
    ];
    home.cluster.kubectl(&delete).unwrap();
    let ask = shell("curl -sS --max-time 5 http://web.default/");
    eventually("an answer by another agent", REMOVAL, || {
        let asked = run_within(session.command(&ask.path).args(&ask.arguments), SECONDS);
        let pods = home.made("pods");
        let is_new = pods.iter().any(|pod| pod["metadata"]["name"] != first.as_str());
        asked.stdout == WEB_SAYS && is_new
    });
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}
