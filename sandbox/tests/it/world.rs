//! The world that a bare program sees inside of a sandbox.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Watched, program, send, without_agent};

/// Connects to each name and port that it is given and prints what happened, one line each.
const CONNECT: &str = r#"
import errno, socket, sys
for target in sys.argv[1:]:
    name, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((name, int(port)), timeout=0.5) as connection:
            connection.settimeout(10)
            print(connection.recv(100).decode().split()[0])
    except socket.gaierror as error:
        print({socket.EAI_NONAME: "NONAME", socket.EAI_AGAIN: "AGAIN", socket.EAI_NODATA: "NODATA"}[error.errno])
    except TimeoutError:
        print("silence")
    except OSError as error:
        print(errno.errorcode[error.errno])
"#;

fn connect(targets: &[&str]) -> String {
    let sandbox = without_agent().start().unwrap();
    let output = sandbox
        .enter("python3")
        .args(["-c", CONNECT])
        .args(targets)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn services_see_the_agents_pod_as_their_peer() {
    let pod = "10.244.0.5\n";
    let targets = [
        "echo:7007",
        "echo.default:7007",
        "db:7007",
        "db-2.db:7007",
        "database.external.test:7007",
    ];
    assert_eq!(connect(&targets), pod.repeat(targets.len()));
}

#[test]
fn unreachable_targets_fail_as_in_a_pod() {
    let targets = [
        ("refused:80", "ECONNREFUSED"),
        ("db:81", "ECONNREFUSED"),
        ("10.96.10.1:81", "ECONNREFUSED"),
        ("silent.external.test:80", "silence"),
        ("unroutable.external.test:80", "EHOSTUNREACH"),
        ("192.0.2.1:80", "ENETUNREACH"),
        ("missing.external.test:80", "NONAME"),
        ("nothing:80", "NONAME"),
        ("anything.broken.test:80", "AGAIN"),
        ("empty.external.test:80", "NODATA"),
    ];
    let seen = connect(&targets.map(|(target, _)| target));
    let expected: Vec<_> = targets.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn http_by_service_name_is_answered() {
    let sandbox = without_agent().start().unwrap();
    let output = sandbox
        .enter("curl")
        .args([
            "--silent",
            "http://web",
            "http://api.default",
            "http://web.other",
            "http://db-1.db:8080",
        ])
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        stdout,
        "hello from web\nhello from api\nhello from other web\nhello from db-1\n"
    );
}

#[test]
fn entered_program_keeps_its_folder_and_has_no_capabilities() {
    let sandbox = without_agent().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = sandbox
        .enter("sh")
        .args([
            "-c",
            "pwd; grep CapEff /proc/self/status; head -c 6 /etc/resolv.conf",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        stdout,
        format!("{}\nCapEff:\t0000000000000000\nsearch", folder.path().display())
    );
}

#[test]
fn entered_program_status_is_passed_through() {
    let sandbox = without_agent().start().unwrap();
    assert_eq!(
        sandbox
            .enter("sh")
            .args(["-c", "exit 7"])
            .status()
            .unwrap()
            .code(),
        Some(7)
    );
    assert_eq!(
        sandbox
            .enter("/no/such/program")
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code(),
        Some(127)
    );
    assert_eq!(
        sandbox.enter("/").stderr(Stdio::null()).status().unwrap().code(),
        Some(126)
    );
}

#[test]
fn sandbox_changes_no_setting_of_the_machine() {
    let before = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    let sandbox = without_agent().start().unwrap();
    assert_eq!(std::fs::read("/etc/resolv.conf").unwrap_or_default(), before);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = sandbox.key.parent().unwrap().to_str().unwrap().to_owned();
    assert!(!mounts.contains(&folder));
}

#[test]
fn sample_server_runs_alone_until_sigterm() {
    let mut child = Command::new(program())
        .args([
            "serve",
            "--name",
            "me",
            "--bind",
            "127.0.0.1",
            "--http-port",
            "0",
            "--tcp-port",
            "0",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let served: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(served[0].as_object().unwrap().len(), 10);
    let greeting = std::net::TcpStream::connect(served[0]["greeting"].as_str().unwrap()).unwrap();
    line.clear();
    BufReader::new(greeting).read_line(&mut line).unwrap();
    assert_eq!(line, "welcome\n");
    let watched = Watched::new(child.id());
    send(child.id(), libc::SIGTERM);
    watched.ended();
    assert!(child.wait().unwrap().success());
}
