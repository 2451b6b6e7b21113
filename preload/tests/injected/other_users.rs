//! Another user in the place of the session's relay: programs that outlive their session send it nothing.
//!
//! After the end of a session its folder may be gone while its programs go on. Another user may then create the path
//! of the socket to which they connect, and of the resolv.conf that they read.

use crate::program::{Program, compiled, control_address, library};
use crate::script::Script;
use kinject_test_support::skip;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const TARGET: &str = "10.96.10.3";

/// A user other than root.
const OTHER_USER: u32 = 12345;

/// A listener of a user, to which every user may connect.
struct ForeignListener {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl ForeignListener {
    fn of_user(user: u32) -> Self {
        Self::at(user, |folder| folder.join("control.sock").into_os_string())
    }

    /// At an abstract name.
    fn of_user_at_name(user: u32) -> Self {
        Self::at(user, |folder| format!("@{}", name_in(folder)).into())
    }

    fn at(user: u32, place: impl FnOnce(&Path) -> OsString) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let mut child = Command::new(compiled("foreign_listener"))
            .arg(place(folder.path()))
            .arg(user.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self {
            child,
            output,
            folder,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// The value of `KINJECT_CONTROL` that leads to the name.
    fn control(&self) -> String {
        control_address(&name_in(self.folder.path()), None)
    }

    /// What it received, a line for each connection.
    fn received(mut self) -> String {
        drop(self.child.stdin.take());
        let mut received = String::new();
        self.output.read_to_string(&mut received).unwrap();
        assert!(self.child.wait().unwrap().success());
        received
    }
}

/// A name of this test alone.
fn name_in(folder: &Path) -> String {
    format!(
        "kinject-foreign-listener-{}",
        folder.file_name().unwrap().display()
    )
}

/// Makes every kind of call that sends something to the relay, among them calls that pass a socket.
fn make_requests(listener: &ForeignListener) -> String {
    let port = Script::Connect.port().to_string();
    let program = |name: &str, args: &[&str]| Program::with_socket(&listener.socket(), name, args).offline();
    [
        program("connect_blocking", &[TARGET, &port]).output(),
        program("names", &["web"]).output(),
        program("datagrams", &[TARGET, &port]).output(),
        program("address_names", &[TARGET]).output(),
        program("dns_messages", &["web"]).output(),
    ]
    .concat()
}

fn needs_root() -> bool {
    let has = rustix::process::geteuid().is_root();
    if !has {
        skip::not_run("tests with another user", "they need root");
    }
    !has
}

#[test]
fn socket_path_of_another_user_gets_no_request() {
    if needs_root() {
        return;
    }
    let listener = ForeignListener::of_user(OTHER_USER);
    let output = make_requests(&listener);
    assert!(output.contains("connect: ENETUNREACH\n"), "{output}");
    assert!(output.contains("web - [any]: -3\n"), "{output}");
    let received = listener.received();
    assert!(received.lines().count() > 4, "no program connected: {received:?}");
    for line in received.lines() {
        assert_eq!(line, "0 bytes, no descriptor", "{received}");
    }
}

#[test]
fn abstract_name_of_another_user_gets_no_request() {
    if needs_root() {
        return;
    }
    let listener = ForeignListener::of_user_at_name(OTHER_USER);
    let port = Script::Connect.port().to_string();
    for (program, args) in [("connect_blocking", &[TARGET, &port][..]), ("names", &["web"])] {
        let output = Program::with_name(&listener.control(), program, args).output();
        assert!(
            output.contains("ENETUNREACH\n") || output.contains("web - [any]: -3\n"),
            "{output}"
        );
    }
    let received = listener.received();
    assert!(received.lines().count() > 1, "no program connected: {received:?}");
    for line in received.lines() {
        assert_eq!(line, "0 bytes, no descriptor", "{received}");
    }
}

#[test]
fn socket_path_of_own_user_gets_requests() {
    if needs_root() {
        return;
    }
    let listener = ForeignListener::of_user(0);
    make_requests(&listener);
    let received = listener.received();
    assert!(received.contains(" bytes, a descriptor\n"), "{received}");
    assert!(!received.contains("0 bytes, no descriptor\n"), "{received}");
}

/// In a user namespace without a map the kernel shows every user as user 65534, the program's own included.
#[test]
fn program_with_unmapped_user_sends_no_request() {
    if needs_root() {
        return;
    }
    let listener = ForeignListener::of_user(OTHER_USER);
    let port = Script::Connect.port().to_string();
    let output = Program::with_socket(&listener.socket(), "connect_blocking", &[TARGET, &port])
        .under("unshare", &["--net", "--user"])
        .output();
    assert!(output.contains("connect: ENETUNREACH\n"), "{output}");
    assert_eq!(listener.received(), "0 bytes, no descriptor\n");
}

#[test]
fn resolv_conf_of_another_user_returns_eacces() {
    if needs_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, "nameserver 203.0.113.66\n").unwrap();
    let read = || {
        Program::with_socket(
            &folder.path().join("control.sock"),
            "open_files",
            &["/etc/resolv.conf"],
        )
        .env("KINJECT_LIBRARY", library())
        .output()
    };
    let refused = read().matches("203.0.113.66\n").count();
    assert!(refused > 10, "{refused}");
    chown(&file, Some(OTHER_USER), None).unwrap();
    let output = read();
    assert!(!output.contains("203.0.113.66"), "{output}");
    assert_eq!(output.matches(": EACCES\n").count(), refused, "{output}");
}
