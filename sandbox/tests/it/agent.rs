//! The agent in the sandbox, tested with a stand-in that reports how it was started.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use kinject_sandbox::Sandbox;
use serde_json::Value;

use crate::support::{DEADLINE, Watched, program, script, send, stand_in_agent, up, without_agent};

fn facts(socket: &Path) -> Option<Value> {
    let mut text = String::new();
    UnixStream::connect(socket).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn agent_starts_as_in_a_restricted_pod() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(program(), &stand_in_agent(folder.path())).unwrap();
    let facts = facts(&sandbox.socket).unwrap();
    assert_eq!(facts["pid"].as_u64(), sandbox.ready.agent_pid.map(u64::from));
    assert_eq!(facts["capabilities"], "0000000000000000");
    assert_eq!(facts["no_new_privs"], "1");
    assert!(
        facts["resolv_conf"]
            .as_str()
            .unwrap()
            .contains("nameserver 10.96.0.10\n")
    );
    assert_eq!(
        facts["key"].as_str().unwrap(),
        std::fs::read_to_string(&sandbox.key).unwrap()
    );
}

#[test]
fn generated_key_is_long_and_private() {
    let sandbox = without_agent().start().unwrap();
    let metadata = std::fs::metadata(&sandbox.key).unwrap();
    assert!(metadata.len() >= 32);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(sandbox.key.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn given_key_and_socket_are_used_and_the_key_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (key, socket) = (folder.path().join("a key"), folder.path().join("a socket"));
    std::fs::write(&key, "a secret of more than thirty-two bytes").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let agent = stand_in_agent(folder.path());
    let sandbox = without_agent()
        .agent(&agent)
        .socket(&socket)
        .key(&key)
        .start()
        .unwrap();
    assert_eq!(
        facts(&socket).unwrap()["key"],
        "a secret of more than thirty-two bytes"
    );
    drop(sandbox);
    assert!(key.exists());
    assert!(!socket.exists());
}

#[test]
fn agent_ends_with_the_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let agent = stand_in_agent(folder.path());
    for victim in [
        |sandbox: &Sandbox| sandbox.supervisor(),
        |sandbox: &Sandbox| sandbox.ready.pid,
    ] {
        let sandbox = Sandbox::start(program(), &agent).unwrap();
        let watched = Watched::new(sandbox.ready.agent_pid.unwrap());
        let supervisor = Watched::new(sandbox.supervisor());
        send(victim(&sandbox), libc::SIGKILL);
        supervisor.ended();
        watched.ended();
    }
}

#[test]
fn ended_agent_is_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(program(), &stand_in_agent(folder.path())).unwrap();
    let first = sandbox.ready.agent_pid.unwrap();
    let watched = Watched::new(first);
    send(first, libc::SIGKILL);
    watched.ended();
    let deadline = Instant::now() + DEADLINE;
    let second = loop {
        match facts(&sandbox.socket) {
            Some(facts) => break facts["pid"].as_u64().unwrap(),
            None => assert!(Instant::now() < deadline, "no other agent came"),
        }
    };
    assert_ne!(second, u64::from(first));
}

#[test]
fn agent_that_exits_at_once_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let agent = script(
        folder.path(),
        "agent",
        "#!/bin/sh\necho its own words >&2\nexit 4\n",
    );
    let output = up()
        .arg("--agent")
        .arg(&agent)
        .args(["--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let expected =
        "its own words\nkinject-sandbox: error: the agent ended before it listened: exit status: 4\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn missing_agent_program_is_an_error_with_a_hint() {
    let output = up()
        .args(["--agent", "/no/such/agent", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).starts_with("kinject-sandbox: error: no agent at /no/such/agent\n\nhint: "),
        "{output:?}"
    );
}

#[test]
fn stale_socket_is_replaced_and_socket_in_use_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, socket) = (stand_in_agent(folder.path()), folder.path().join("socket"));
    drop(UnixListener::bind(&socket).unwrap());
    drop(without_agent().agent(&agent).socket(&socket).start().unwrap());

    let _user = UnixListener::bind(&socket).unwrap();
    let output = up()
        .arg("--agent")
        .arg(&agent)
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        stderr(&output),
        format!("kinject-sandbox: error: {} is in use\n", socket.display())
    );
    assert!(socket.exists());
}

#[test]
fn regular_file_at_the_socket_path_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let output = up()
        .arg("--no-agent")
        .arg("--socket")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        stderr(&output),
        format!(
            "kinject-sandbox: error: {} exists and is not a socket\n",
            file.display()
        )
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}
