//! However a session ends, nothing of it is left: no Job, no pod, no process, no folder.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use kinject_tests::process;
use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{run, spawn};
use kinject_tests::session::{Session, eventually};
use kinject_tests::testbed::Testbed;
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::TestNamespace;

const TIMEOUT: Duration = Duration::from_secs(20);

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn job_exists_while_the_program_runs_and_is_removed_after() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    let jobs = namespace.made("jobs");
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        jobs[0]["metadata"]["labels"]["app.kubernetes.io/instance"],
        session.name()
    );
    let (relay, folder) = (session.relay(), session.folder());
    assert_eq!(session.end(), 0);
    namespace.is_clean();
    assert!(!process::is_alive(relay) && !folder.exists());
}

#[test]
fn signal_ends_the_program_and_the_session() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let Some(namespace) = TestNamespace::new() else {
            return;
        };
        let mut session = namespace.session(&[]);
        let folder = session.folder();
        kill(session.launcher(), signal);
        assert_eq!(session.ended(), 128 + number);
        namespace.is_clean();
        assert!(!folder.exists());
    }
}

#[test]
fn signal_during_session_start_leaves_nothing() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // an image that cannot be pulled, so that the session keeps waiting
    let mut command = namespace.kinject(&[], &Program::new("/bin/true"));
    let mut kinject = spawn(command.stdin(Stdio::null()));
    eventually("a Job", TIMEOUT, || {
        !namespace.made("jobs").is_empty() || kinject.try_wait().unwrap().is_some()
    });
    kill(kinject.id(), Signal::INT);
    let mut status = None;
    eventually("the end of kinject", TIMEOUT, || {
        status = kinject.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    assert!(
        status.signal() == Some(libc::SIGINT) || status.success(),
        "{status}"
    );
    namespace.is_clean();
}

#[test]
fn killed_launcher_leaves_nothing() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let mut session = namespace.session(&[]);
    let (relay, folder) = (session.relay(), session.folder());
    kill(session.launcher(), Signal::KILL);
    assert_eq!(session.ended(), 137);
    namespace.becomes_clean();
    eventually("the relay's end", TIMEOUT, || !process::is_alive(relay));
    assert!(!folder.exists());
}

#[test]
fn launcher_killed_during_session_start_leaves_nothing() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let mut kinject = spawn(
        namespace
            .kinject(&[], &Program::new("/bin/true"))
            .stdin(Stdio::null()),
    );
    eventually("a Job", TIMEOUT, || !namespace.made("jobs").is_empty());
    kill(kinject.id(), Signal::KILL);
    kinject.wait().unwrap();
    namespace.becomes_clean();
}

#[test]
fn killed_relay_leaves_nothing_in_the_cluster() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    let folder = session.folder();
    kill(session.relay(), Signal::KILL);
    // at once, while the program goes on
    namespace.becomes_clean();
    assert!(process::is_alive(session.launcher()));
    assert_eq!(session.end(), 0);
    assert!(!folder.exists());
}

#[test]
fn relay_killed_with_a_second_agent_leaves_neither() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    let first = namespace.pod();
    let arguments = [
        "--namespace",
        namespace.name(),
        "delete",
        "pod",
        &first,
        "--wait=false",
    ];
    namespace.cluster.kubectl(&arguments).unwrap();
    let ask = shell("curl -sS http://web.default/");
    run(session.command(&ask.path).args(&ask.arguments)).succeeded();
    eventually("another agent", TIMEOUT, || {
        let pods = namespace.made("pods");
        pods.iter()
            .any(|pod| pod["metadata"]["name"] != first.as_str() && pod["status"]["phase"] == "Running")
    });
    kill(session.relay(), Signal::KILL);
    namespace.becomes_clean();
    assert_eq!(session.end(), 0);
}

#[test]
fn agent_ends_by_itself_after_relay_and_launcher_are_killed() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let mut session = namespace.session(&[]);
    let (relay, folder) = (session.relay(), session.folder());
    // the relay notices that its launcher has ended, and the launcher that its relay has
    kill(session.launcher(), Signal::STOP);
    kill(relay, Signal::KILL);
    kill(session.launcher(), Signal::KILL);
    assert_eq!(session.ended(), 137);
    // the agent ends after its grace period without a relay
    let jobs = namespace.made("jobs");
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0]["spec"]["ttlSecondsAfterFinished"].is_u64());
    assert_eq!(jobs[0]["spec"]["backoffLimit"], 0);
    let job = jobs[0]["metadata"]["name"].as_str().unwrap();
    let arguments = ["--namespace", namespace.name(), "delete", "job", job];
    namespace.cluster.kubectl(&arguments).unwrap();
    namespace.is_clean();
    // neither launcher nor relay is left to remove it
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn sessions_in_two_namespaces_resolve_their_own_names() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let sessions: Vec<Session> = ["default", "other"]
        .iter()
        .map(|name| Session::start(&namespace.testbed, &["--namespace", name]))
        .collect();
    for (session, greeting) in sessions
        .iter()
        .zip(["hello from web\n", "hello from other web\n"])
    {
        let ask = shell("curl -sS http://web/");
        run(session.command(&ask.path).args(&ask.arguments))
            .succeeded()
            .prints(greeting);
    }
    for session in sessions {
        assert_eq!(session.end(), 0);
    }
}

#[test]
fn session_names_its_context_and_namespace() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let Testbed::Cluster(cluster) = &namespace.testbed else {
        unreachable!("the namespace is in the cluster")
    };
    let context = cluster.kubectl(&["config", "current-context"]).unwrap();
    let outcome = run(&mut namespace.kinject(&["-v"], &shell("echo $KINJECT_TARGET")));
    outcome
        .succeeded()
        .prints(&format!("{}/{}\n", context.trim(), namespace.name()));
    outcome.complains(&format!(
        "kinject: {}/{} ready in ",
        context.trim(),
        namespace.name()
    ));
}
