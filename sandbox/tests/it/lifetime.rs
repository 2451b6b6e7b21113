//! How a sandbox ends, and what is left of it: nothing.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use kinject_sandbox::up::Ready;

use crate::support::{Watched, program, send, up, without_agent};

fn folder(ready: &Ready) -> &Path {
    ready.key.parent().unwrap()
}

#[test]
fn dropped_sandbox_ends() {
    let sandbox = without_agent().start().unwrap();
    let (ready, inner) = (sandbox.ready.clone(), Watched::new(sandbox.ready.pid));
    assert!(folder(&ready).exists());
    drop(sandbox);
    inner.ended();
    assert!(!folder(&ready).exists());
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    let sandbox = without_agent().start().unwrap();
    let inner = Watched::new(sandbox.ready.pid);
    send(sandbox.supervisor(), libc::SIGKILL);
    inner.ended();
    assert!(!folder(&sandbox.ready).exists());
}

#[test]
fn killing_the_inner_process_ends_the_supervisor_and_leaves_nothing() {
    let sandbox = without_agent().start().unwrap();
    let supervisor = Watched::new(sandbox.supervisor());
    send(sandbox.ready.pid, libc::SIGKILL);
    supervisor.ended();
    assert!(!folder(&sandbox.ready).exists());
}

#[test]
fn sigterm_ends_the_sandbox_with_status_0() {
    let mut child = up()
        .arg("--no-agent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: Ready = serde_json::from_str(&line).unwrap();
    let (supervisor, inner) = (Watched::new(child.id()), Watched::new(ready.pid));
    send(child.id(), libc::SIGTERM);
    supervisor.ended();
    inner.ended();
    assert!(child.wait().unwrap().success());
    assert!(!folder(&ready).exists());
}

#[test]
fn sandbox_ends_with_its_parent() {
    // The shell stays until its input ends; what it started in the background has no lifeline but the shell.
    let script = "\"$1\" up --no-agent < /dev/null & read -r _";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(program())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let ready: Ready = serde_json::from_str(&line).unwrap();
    let inner = Watched::new(ready.pid);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    inner.ended();
    // The supervisor holds the other end of this pipe until it has ended, too.
    output.read_to_string(&mut line).unwrap();
    assert!(!folder(&ready).exists());
}

#[test]
fn command_runs_outside_the_sandbox_namespaces() {
    let script = "ip=$(cat /proc/net/fib_trie); case $ip in *10.244.0.5*) exit 9;; esac; \
                  \"$0\" enter -- curl -s http://web; test -s \"$KINJECT_SANDBOX_KEY\"";
    let output = up()
        .args(["--no-agent", "--", "sh", "-c", script])
        .arg(program())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello from web\n");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn command_status_is_passed_through() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let outcome = up()
            .args(["--no-agent", "--", "sh", "-c", script])
            .status()
            .unwrap();
        assert_eq!(outcome.code(), Some(status), "{script}");
    }
}

#[test]
fn unrunnable_command_exits_with_the_statuses_of_a_shell() {
    for (command, status, words) in [
        ("/no/such/program", 127, "No such file"),
        ("/", 126, "Permission denied"),
    ] {
        let output = up().args(["--no-agent", "--", command]).output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with(&format!("kinject-sandbox: error: cannot run {command}: {words}")),
            "{stderr}"
        );
        assert_eq!(stderr.matches(words).count(), 1, "{stderr}");
    }
}

#[test]
fn sigterm_is_passed_to_the_command() {
    let script = "trap 'exit 3' TERM; echo up; while :; do read -r _; done";
    let mut child = up()
        .args(["--no-agent", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    send(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn unprivileged_user_can_start_a_sandbox() {
    // SAFETY: takes no pointers and cannot fail.
    let user = match unsafe { libc::geteuid() } {
        0 => 65534,
        user => user,
    };
    // The user may not be able to reach the build's folder.
    let folder = tempfile::Builder::new()
        .permissions(mode(0o755))
        .tempdir_in("/tmp")
        .unwrap();
    let copy = folder.path().join("kinject-sandbox");
    kinject_test_support::program::copy(program(), &copy);
    let output = Command::new(&copy)
        .args([
            "up",
            "--no-agent",
            "--",
            "sh",
            "-c",
            "\"$0\" enter -- curl -s http://web",
        ])
        .arg(&copy)
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir("/")
        .uid(user)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello from web\n",
        "{output:?}"
    );
}

#[test]
fn forbidden_namespaces_are_an_error_with_a_hint() {
    // A user namespace in which no further one may be made.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" up --no-agent -- true";
    let output = Command::new("unshare")
        .args(["-r", "sh", "-c", script])
        .arg(program())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(output.status.signal(), None);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("kinject-sandbox: error: cannot make a user and network namespace: unshare: "),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("\n\nhint: allow it with: sudo sysctl user.max_user_namespaces=1000\n"),
        "{stderr}"
    );
}

fn mode(mode: u32) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(mode)
}
