//! Where a secret of the workload is while a session runs, and where it is not.

use std::fs;
use std::process::Stdio;

use kinject_tests::running::{run_within, spawn};
use kinject_tests::session::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::home::{Home, STARTED};
use crate::image::NodeImage;
use crate::sources::{APP, deployment, sources};

/// Prints all processes' arguments, and the modes of the folders that hold the container's files and the session's.
const LOOK: &str = r#"test "$(cat /etc/secret/password)" = "$PASSWORD" || exit 3
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' '
echo
stat -c 'mode %a' "$(dirname "$KINJECT_SOCKET")" "$(dirname "$(readlink -f "$KINJECT_ROOT")")""#;

#[test]
fn secret_is_in_no_log_argument_object_of_the_session_or_folder_that_others_can_enter() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "secrets");
    home.apply(&sources());
    let password = format!("secret-of-{}", home.name());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
        "stringData": { "password": password, "tls.key": "a key\n" } });
    home.apply(&[secret, deployment(&image.name)]);
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    let look = format!(
        "{LOOK}; kubectl --kubeconfig {} --namespace {} get jobs,pods,configmaps -o json > {}",
        home.cluster.kubeconfig().display(),
        home.name(),
        objects.display()
    );
    let look = look.replacen(
        "kubectl",
        &home.cluster.kubectl_command().get_program().to_string_lossy(),
        1,
    );
    let mut kinject = home.kinject("run");
    kinject.args(["-vv", "--log", "trace", "--target", APP]);
    let outcome = run_within(kinject.args(["--", "sh", "-c", &look]), STARTED);
    outcome
        .succeeded()
        .shows("mode 700\nmode 700\n")
        .complains("in the place of deployment/app");
    for (what, text) in [
        ("the log", outcome.stderr.clone()),
        ("arguments", outcome.stdout.clone()),
        ("objects", fs::read_to_string(&objects).unwrap()),
    ] {
        assert!(!text.contains(&password), "{what}: {text}");
    }
    assert!(
        outcome.stdout.contains("kinject-relay"),
        "the relay is among the processes: {outcome}"
    );
}

#[test]
fn environment_file_of_a_killed_launcher_is_removed_by_the_relay() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "killed");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let folder = tempfile::tempdir().unwrap();
    let (file, up) = (folder.path().join("app.env"), folder.path().join("up"));
    let mut kinject = home.kinject("run");
    kinject
        .args(["--quiet", "--target", APP, "--env-file"])
        .arg(&file);
    let line = format!("touch '{}'; exec sleep 3600", up.display());
    let mut kinject = spawn(kinject.args(["--", "sh", "-c", &line]).stdin(Stdio::null()));
    eventually("the program", STARTED, || {
        assert!(kinject.try_wait().unwrap().is_none(), "kinject ended");
        up.exists()
    });
    assert!(file.exists());
    kill_process(Pid::from_child(&kinject), Signal::KILL).unwrap();
    kinject.wait().unwrap();
    eventually("the file's removal", STARTED, || !file.exists());
}
