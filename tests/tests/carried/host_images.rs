//! The images that a carried agent runs in.

use kinject_tests::carried::architecture;
use kinject_tests::cluster::SHELL_IMAGE;
use kinject_tests::foreign_images::static_program;
use kinject_tests::programs::shell;
use kinject_tests::running::run_within;
use kinject_tests::session::eventually;

use crate::namespace::{PAUSE_IMAGE, REMOVAL, SECONDS, TestNamespace, WEB_SAYS, assert_answered};

#[test]
fn edit_role_suffices_for_a_session_in_the_pause_image() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let user = namespace
        .cluster
        .user_with_role(namespace.name(), "edit")
        .unwrap();
    let kubeconfig = user.path();
    let kubeconfig = kubeconfig.to_str().unwrap();
    assert_answered(&namespace.ask(&["--kubeconfig", kubeconfig, "--host-image", PAUSE_IMAGE]));
    namespace.is_clean();
}

#[test]
fn entry_point_user_and_files_of_the_host_image_do_not_matter() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let ask_in = |image: &str| {
        let outcome = namespace.ask(&["-v", "--host-image", image]);
        assert_answered(&outcome);
        outcome.complains(&format!(
            "the agent runs in the image {image}: --host-image names it"
        ));
    };
    // busybox, with a shell and the user root
    ask_in(SHELL_IMAGE);
    for image in [
        static_program("", "65532:65532", &["sleep", "3600"]),
        static_program("", "1234", &["sleep", "3600"]),
        static_program("", "root", &["false"]),
        static_program("", "no-such-user", &["no-such-program"]),
    ] {
        let image = namespace.cluster.load_image(&image, architecture()).unwrap();
        ask_in(image.name());
    }
    namespace.is_clean();
}

#[test]
fn image_of_a_running_pod_is_chosen_and_named() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    namespace.run_pod("app", SHELL_IMAGE, &["/bin/sleep", "3600"]);
    let outcome = namespace.ask(&["-v"]);
    assert_answered(&outcome);
    let chosen = format!("the agent runs in the image {SHELL_IMAGE}: pod app runs it");
    outcome.complains(&chosen);
    namespace.is_clean();
}

#[test]
fn annotations_of_job_and_pod_name_agent_version_hash_and_image() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session();
    for kind in ["jobs", "pods"] {
        let made = namespace.made(kind);
        let told = made[0]["metadata"]["annotations"]["kinject/agent"]
            .as_str()
            .unwrap();
        for word in [env!("CARGO_PKG_VERSION"), "SHA-256", PAUSE_IMAGE] {
            assert!(told.contains(word), "{kind}: {told}");
        }
    }
    assert_eq!(session.end(), 0);
    namespace.is_clean();
}

#[test]
fn agent_whose_pod_was_deleted_is_carried_again() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session();
    let first = namespace.made("pods")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let delete = [
        "--namespace",
        namespace.name(),
        "delete",
        "pod",
        &first,
        "--wait=false",
    ];
    namespace.cluster.kubectl(&delete).unwrap();
    let ask = shell("curl -sS --max-time 5 http://web.default/");
    eventually("an answer by another agent", REMOVAL, || {
        let asked = run_within(session.command(&ask.path).args(&ask.arguments), SECONDS);
        let pods = namespace.made("pods");
        let is_new = pods.iter().any(|pod| pod["metadata"]["name"] != first.as_str());
        asked.stdout == WEB_SAYS && is_new
    });
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}
