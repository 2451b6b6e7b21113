//! Whatever way a session ends, nothing of it is left: no Job, no pod, no process, no folder.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use kinject_tests::place::Place;
use kinject_tests::process;
use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{run, spawn};
use kinject_tests::session::{Session, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Home;

const SOON: Duration = Duration::from_secs(20);

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn job_exists_while_the_program_runs_and_is_removed_after() {
    let Some(home) = Home::new() else { return };
    let session = home.session(&[]);
    let jobs = home.made("jobs");
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        jobs[0]["metadata"]["labels"]["app.kubernetes.io/instance"],
        session.name()
    );
    let (relay, folder) = (session.relay(), session.folder());
    assert_eq!(session.end(), 0);
    home.is_clean();
    assert!(!process::lives(relay) && !folder.exists());
}

#[test]
fn signal_ends_the_program_and_the_session() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let Some(home) = Home::new() else { return };
        let mut session = home.session(&[]);
        let folder = session.folder();
        kill(session.launcher(), signal);
        assert_eq!(session.ended(), 128 + number);
        home.is_clean();
        assert!(!folder.exists());
    }
}

#[test]
fn signal_during_session_start_leaves_nothing() {
    let Some(home) = Home::new() else { return };
    // an image that takes for ever to come, so that there is time
    let mut command = home.kinject(&[], &Program::new("/bin/true"));
    let mut kinject = spawn(command.stdin(Stdio::null()));
    eventually("a Job", SOON, || {
        !home.made("jobs").is_empty() || kinject.try_wait().unwrap().is_some()
    });
    kill(kinject.id(), Signal::INT);
    let mut status = None;
    eventually("the end of kinject", SOON, || {
        status = kinject.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    assert!(
        status.signal() == Some(libc::SIGINT) || status.success(),
        "{status}"
    );
    home.is_clean();
}

#[test]
fn killed_launcher_leaves_nothing() {
    let Some(home) = Home::new() else { return };
    let mut session = home.session(&[]);
    let (relay, folder) = (session.relay(), session.folder());
    kill(session.launcher(), Signal::KILL);
    assert_eq!(session.ended(), 137);
    home.becomes_clean();
    eventually("the relay's end", SOON, || !process::lives(relay));
    assert!(!folder.exists());
}

#[test]
fn launcher_killed_during_session_start_leaves_nothing() {
    let Some(home) = Home::new() else { return };
    let mut kinject = spawn(home.kinject(&[], &Program::new("/bin/true")).stdin(Stdio::null()));
    eventually("a Job", SOON, || !home.made("jobs").is_empty());
    kill(kinject.id(), Signal::KILL);
    kinject.wait().unwrap();
    home.becomes_clean();
}

#[test]
fn killed_relay_leaves_nothing_in_the_cluster() {
    let Some(home) = Home::new() else { return };
    let session = home.session(&[]);
    let folder = session.folder();
    kill(session.relay(), Signal::KILL);
    // at once, while the program goes on
    home.becomes_clean();
    assert!(process::lives(session.launcher()));
    assert_eq!(session.end(), 0);
    assert!(!folder.exists());
}

#[test]
fn relay_killed_with_a_second_agent_leaves_neither() {
    let Some(home) = Home::new() else { return };
    let session = home.session(&[]);
    let first = home.pod();
    let arguments = [
        "--namespace",
        home.name(),
        "delete",
        "pod",
        &first,
        "--wait=false",
    ];
    home.cluster.kubectl(&arguments).unwrap();
    let ask = shell("curl -sS http://web.default/");
    run(session.command(&ask.path).args(&ask.arguments)).succeeded();
    eventually("another agent", SOON, || {
        let pods = home.made("pods");
        pods.iter()
            .any(|pod| pod["metadata"]["name"] != first.as_str() && pod["status"]["phase"] == "Running")
    });
    kill(session.relay(), Signal::KILL);
    home.becomes_clean();
    assert_eq!(session.end(), 0);
}

#[test]
fn agent_ends_by_itself_after_relay_and_launcher_are_killed() {
    let Some(home) = Home::new() else { return };
    let mut session = home.session(&[]);
    let (relay, folder) = (session.relay(), session.folder());
    // a launcher that goes first is noticed by its relay, and the other way round
    kill(session.launcher(), Signal::STOP);
    kill(relay, Signal::KILL);
    kill(session.launcher(), Signal::KILL);
    assert_eq!(session.ended(), 137);
    // it goes when the agent has waited for its relay long enough
    let jobs = home.made("jobs");
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0]["spec"]["ttlSecondsAfterFinished"].is_u64());
    assert_eq!(jobs[0]["spec"]["backoffLimit"], 0);
    let job = jobs[0]["metadata"]["name"].as_str().unwrap();
    let arguments = ["--namespace", home.name(), "delete", "job", job];
    home.cluster.kubectl(&arguments).unwrap();
    home.is_clean();
    // nobody is left who could
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn sessions_in_two_namespaces_resolve_their_own_names() {
    let Some(home) = Home::new() else { return };
    let sessions: Vec<Session> = ["default", "other"]
        .iter()
        .map(|namespace| Session::start(&home.place, &["--namespace", namespace]))
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
    let Some(home) = Home::new() else { return };
    let Place::Cluster(cluster) = &home.place else {
        unreachable!("a home is in the cluster")
    };
    let context = cluster.kubectl(&["config", "current-context"]).unwrap();
    let said = run(&mut home.kinject(&["-v"], &shell("echo $KINJECT_TARGET")));
    said.succeeded()
        .prints(&format!("{}/{}\n", context.trim(), home.name()));
    said.complains(&format!("kinject: {}/{} ready in ", context.trim(), home.name()));
}
