//! Children stay in the session, however they are started, and sessions are independent.

use std::fs;
use std::process::Command;

use kinject_tests::binaries;
use kinject_tests::programs::{Program, c, folder, installed, python, sanitized_c, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::{Session, kinject_run};
use kinject_tests::testbed::{Testbed, sandbox, shared_sandbox};

fn kinject(program: &Program) -> Outcome {
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], program))
}

/// Starts a program that asks the cluster, by one of the methods of `escapes.c`.
fn escape(method: &str) -> Outcome {
    kinject(&c("escapes").args([method, "/usr/bin/getent", "hosts", "web"]))
}

const ANSWER: &str = "10.96.10.1      web.default.svc.cluster.local\n";

#[test]
fn every_member_of_the_exec_family_keeps_the_session() {
    for method in [
        "execve",
        "execve-without",
        "execv",
        "execvp",
        "execvpe",
        "execl",
        "execle",
        "execlp",
        "fexecve",
        "execveat",
        "posix_spawn",
        "posix_spawnp",
        "vfork",
        "system",
        "popen",
        "unset",
    ] {
        escape(method).succeeded().prints(ANSWER);
    }
}

#[test]
fn emptied_environment_holds_only_the_session_variables() {
    kinject(&shell("env -i getent hosts web"))
        .succeeded()
        .prints(ANSWER);
    kinject(&shell("env -i env -i getent hosts web"))
        .succeeded()
        .prints(ANSWER);
    let names = kinject(&c("escapes").args(["posix_spawnp", "env"]));
    for line in names.succeeded().stdout.lines() {
        assert!(
            line == "ONLY=this" || line.starts_with("KINJECT_") || line.starts_with("LD_PRELOAD="),
            "{names}"
        );
    }
}

#[test]
fn a_program_that_closes_every_descriptor_still_connects() {
    escape("closed").succeeded().prints(ANSWER);
    let script = "import os, socket\nos.closerange(3, 4096)\nprint(socket.gethostbyname('web'))\n\
        s = socket.create_connection(('echo', 7005))\nprint(s.fileno(), s.recv(99))\n";
    let program = Program::new(kinject_tests::programs::interpreter()).args(["-SEc", script]);
    kinject(&program)
        .succeeded()
        .prints("10.96.10.1\n3 b'welcome\\n'\n");
}

#[test]
fn python_subprocess_with_empty_environment_stays_in_the_session() {
    let script = "import subprocess\nprint(subprocess.run(['/usr/bin/getent', 'hosts', 'web'], env={}, \
        close_fds=True, capture_output=True, start_new_session=True, text=True).stdout, end='')\n";
    let program = Program::new(kinject_tests::programs::interpreter()).args(["-SEc", script]);
    kinject(&program).succeeded().prints(ANSWER);
}

#[test]
fn daemonized_program_stays_in_the_session() {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("answer");
    let line = format!("getent hosts web >{0}.new; mv {0}.new {0}", path.display());
    let daemon = c("escapes").args(["daemon", "/bin/sh", "-c", &line]);
    let wait = format!("\"$@\"; while ! [ -e {} ]; do sleep 0.02; done", path.display());
    let program = Program::new("/bin/sh")
        .args(["-c", &wait, "wait"])
        .arg(&daemon.path)
        .args(daemon.arguments);
    kinject(&program).succeeded();
    assert_eq!(fs::read_to_string(path).unwrap(), ANSWER);
}

#[test]
fn already_preloaded_library_stays_preloaded() {
    let library = binaries::folder().join("test-programs/preloaded.so");
    let source = folder().join("preloaded.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.unwrap().success());
    let mut command = Command::new("env");
    let injected = kinject_run::<&str>(
        shared_sandbox(),
        &[],
        &shell("printf '%s\\n' \"$LD_PRELOAD\"; getent hosts web"),
    );
    // the library is preloaded for kinject's program, not for kinject itself
    command
        .arg(format!("LD_PRELOAD={}", library.display()))
        .arg(injected.get_program())
        .args(injected.get_args());
    let outcome = run(&mut command);
    outcome
        .succeeded()
        .shows("the other library is here\n")
        .shows(ANSWER);
    outcome.shows(&format!("{}:/", library.display()));
}

#[test]
fn empty_ld_preload_is_like_an_unset_one() {
    let mut command = kinject_run::<&str>(shared_sandbox(), &[], &shell("getent hosts web"));
    run(command.env("LD_PRELOAD", "")).succeeded().prints(ANSWER);
}

#[test]
fn nested_session_has_its_own_identifier() {
    let inner = kinject_run::<&str>(
        shared_sandbox(),
        &[],
        &shell("echo $KINJECT_SESSION; getent hosts web"),
    );
    let outer = Program::new("/bin/sh")
        .args(["-c", "echo $KINJECT_SESSION; \"$@\"; getent hosts web", "outer"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let outcome = kinject(&outer);
    let lines: Vec<&str> = outcome.succeeded().stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{outcome}");
    assert_ne!(lines[0], lines[1], "{outcome}");
    assert_eq!(lines[2], lines[3], "{outcome}");
}

#[test]
fn concurrent_sessions_are_independent() {
    let testbeds = [Testbed::Sandbox(sandbox()), Testbed::Sandbox(sandbox())];
    let mut sessions: Vec<Session> = testbeds
        .iter()
        .cycle()
        .take(4)
        .map(|testbed| Session::start::<&str>(testbed, &[]))
        .collect();
    let ask = |session: &Session| {
        let program = python("streams.py").args(["greeting", "10.96.10.3"]);
        run(session.command(&program.path).args(&program.arguments))
    };
    let mut folders: Vec<_> = sessions.iter().map(Session::folder).collect();
    folders.dedup();
    assert_eq!(folders.len(), 4);
    while let Some(session) = sessions.pop() {
        ask(&session).succeeded();
        let folder = session.folder();
        assert_eq!(session.end(), 0);
        assert!(!folder.exists());
        for other in &sessions {
            ask(other).succeeded();
        }
    }
}

#[test]
fn static_busybox_runs_in_a_session() {
    let Some(busybox) = installed("busybox") else {
        return;
    };
    kinject(&busybox.args(["echo", "unharmed"]))
        .succeeded()
        .prints("unharmed\n");
}

/// Once the launcher starts it, and once it starts a shell itself.
#[test]
fn asan_program_runs_and_its_children_do_not_load_libasan() {
    let program = sanitized_c("sanitized", &["-fsanitize=address"]).args(["echo", "7005"]);
    kinject(&program).succeeded().prints("welcome\n");
    let program = sanitized_c("starter", &["-fsanitize=address"]).arg("env; cat /proc/$$/maps");
    let outcome = kinject(&program);
    outcome
        .succeeded()
        .shows("LD_PRELOAD=")
        .shows("libkinject_preload.so");
    assert!(!outcome.stdout.contains("libasan"), "{outcome}");
}
