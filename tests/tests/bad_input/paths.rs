//! Paths that are not UTF-8: a file name is any bytes (path_resolution(7)); kinject uses it unchanged, and escapes it
//! in messages.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{Outcome, run, run_within};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::{Testbed, shared_sandbox};
use tempfile::TempDir;

/// A private folder with a folder in it whose name is not UTF-8.
fn non_utf8_folder() -> (TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let non_utf8_folder = around.path().join(OsStr::from_bytes(b"odd\xff\xfe"));
    fs::create_dir(&non_utf8_folder).unwrap();
    fs::set_permissions(&non_utf8_folder, fs::Permissions::from_mode(0o700)).unwrap();
    (around, non_utf8_folder)
}

fn asks() -> Program {
    shell("printf '%s\\n' \"$KINJECT_SOCKET\"; cat /etc/resolv.conf; exec curl -sS http://web/")
}

fn serves(command: &mut Command) -> Outcome {
    let outcome = run(command);
    outcome
        .succeeded()
        .shows("nameserver 10.96.0.10\n")
        .shows("hello from web\n");
    outcome
}

/// kinject without the flags that select a testbed.
fn without_place(arguments: &[&OsStr]) -> Outcome {
    let mut command = kinject_tests::apart::kinject();
    command.arg("run").args(arguments).args(["--", "true"]);
    run_within(&mut command, Duration::from_secs(15))
}

#[test]
fn session_folder_under_a_non_utf8_path_works() {
    let (_around, folder) = non_utf8_folder();
    for (name, without) in [("XDG_RUNTIME_DIR", None), ("TMPDIR", Some("XDG_RUNTIME_DIR"))] {
        let mut command = kinject_run::<&str>(shared_sandbox(), &[], &asks());
        if let Some(without) = without {
            command.env_remove(without);
        }
        let outcome = serves(command.env(name, &folder));
        // the outcome's text shows invalid UTF-8 as U+FFFD
        assert!(
            outcome
                .stdout
                .lines()
                .next()
                .unwrap()
                .contains("odd\u{fffd}\u{fffd}/kinject"),
            "{outcome}"
        );
    }
}

#[test]
fn trace_file_with_a_non_utf8_name_is_written() {
    let (_around, folder) = non_utf8_folder();
    let file = folder.join(OsStr::from_bytes(b"trace\xff"));
    let mut command = kinject_tests::apart::kinject();
    command
        .arg("trace")
        .args(shared_sandbox().flags())
        .arg("--output")
        .arg(&file);
    run(command.args(["--", "curl", "-sS", "http://web/"]))
        .succeeded()
        .prints("hello from web\n");
    assert!(fs::read_to_string(&file).unwrap().contains("lookup"));

    let missing = folder.join("missing/trace");
    let mut command = kinject_tests::apart::kinject();
    command
        .arg("trace")
        .args(shared_sandbox().flags())
        .arg("--output")
        .arg(missing);
    run(command.args(["--", "true"]))
        .exited(125)
        .complains(r"odd\xff\xfe/missing/trace");
}

/// The sandbox's agent and key by links whose names are not UTF-8.
fn linked(testbed: &Testbed, folder: &Path) -> [OsString; 4] {
    let flags = testbed.flags();
    let value = |name: &str| {
        let at = flags
            .iter()
            .position(|flag| flag == name)
            .expect("a sandbox has an agent and a key");
        flags[at + 1].clone()
    };
    let (agent, key) = (value("--agent"), value("--agent-key"));
    let socket = OsStr::from_bytes(agent.as_bytes().strip_prefix(b"unix:").expect("a socket"));
    symlink(socket, folder.join(OsStr::from_bytes(b"agent\xff"))).unwrap();
    symlink(key, folder.join(OsStr::from_bytes(b"key\xff"))).unwrap();
    let mut endpoint = OsString::from("unix:");
    endpoint.push(folder.join(OsStr::from_bytes(b"agent\xff")));
    let key = folder.join(OsStr::from_bytes(b"key\xff")).into_os_string();
    ["--agent".into(), endpoint, "--agent-key".into(), key]
}

#[test]
fn agent_socket_and_key_with_non_utf8_names_work() {
    let (_around, folder) = non_utf8_folder();
    let program = asks();
    let mut command = kinject_tests::apart::kinject();
    command
        .arg("run")
        .args(linked(shared_sandbox(), &folder))
        .arg("--");
    serves(command.arg(&program.path).args(&program.arguments));
}

#[test]
fn missing_agent_or_key_with_a_non_utf8_name_is_shown_escaped() {
    let (_around, folder) = non_utf8_folder();
    let [_, agent, _, key] = linked(shared_sandbox(), &folder);
    let mut missing = agent.clone().into_vec();
    missing.extend(b".gone");
    without_place(&[
        "--agent".as_ref(),
        OsStr::from_bytes(&missing),
        "--agent-key".as_ref(),
        &key,
    ])
    .exited(125)
    .complains(r"odd\xff\xfe/agent\xff.gone");
    let mut missing = key.into_vec();
    missing.extend(b".gone");
    without_place(&[
        "--agent".as_ref(),
        &agent,
        "--agent-key".as_ref(),
        OsStr::from_bytes(&missing),
    ])
    .exited(125)
    .complains(r"--agent-key ")
    .complains(r"odd\xff\xfe/key\xff.gone");
    without_place(&[
        "--agent".as_ref(),
        OsStr::from_bytes(b"tcp:\xff:80"),
        "--agent-key".as_ref(),
        "/no/key".as_ref(),
    ])
    .exited(125)
    .complains("--agent tcp:");
}

#[test]
fn rules_file_with_a_non_utf8_name_is_read_and_shown_escaped() {
    let (_around, folder) = non_utf8_folder();
    let file = folder.join(OsStr::from_bytes(b"rules\xff"));
    fs::write(&file, "remote web\n").unwrap();
    let flags: [&OsStr; 2] = ["--rules".as_ref(), file.as_os_str()];
    serves(&mut kinject_run(shared_sandbox(), &flags, &asks()));
    fs::write(&file, "remote web\nnonsense\n").unwrap();
    run(&mut kinject_run(shared_sandbox(), &flags, &asks()))
        .exited(125)
        .complains(r"odd\xff\xfe/rules\xff:2: ");
    fs::remove_file(&file).unwrap();
    run(&mut kinject_run(shared_sandbox(), &flags, &asks()))
        .exited(125)
        .complains(r"cannot read the rules in ")
        .complains(r"odd\xff\xfe/rules\xff: ");
}

/// A kubeconfig whose server is unreachable: the error names the server, which shows that the file was read.
const NOWHERE: &str = r#"{"apiVersion":"v1","kind":"Config","current-context":"c",
    "contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
    "clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:9"}}],
    "users":[{"name":"u","user":{"token":"t"}}]}"#;

#[test]
fn kubeconfig_with_a_non_utf8_name_is_read_and_shown_escaped() {
    let (_around, folder) = non_utf8_folder();
    let file = folder.join(OsStr::from_bytes(b"config\xff"));
    let by_flag = || without_place(&["--kubeconfig".as_ref(), file.as_os_str()]);
    let by_environment = || {
        let mut command = kinject_tests::apart::kinject();
        command.args(["run", "--", "true"]).env("KUBECONFIG", &file);
        run_within(&mut command, Duration::from_secs(15))
    };
    for missing in [by_flag(), by_environment()] {
        missing.exited(125).complains(r"odd\xff\xfe/config\xff");
    }
    fs::write(&file, NOWHERE).unwrap();
    for found in [by_flag(), by_environment()] {
        found.exited(125).complains("https://127.0.0.1:9");
    }
}
