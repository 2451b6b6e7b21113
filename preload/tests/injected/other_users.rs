//! Somebody else where the session's relay was: programs that outlive their session tell him nothing.
//!
//! A session's folder may be gone while its programs go on. Whoever can make it anew has the path of the socket that
//! they ask, and of the resolv.conf that they read.

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

/// An ordinary user besides root.
const OTHER_USER: u32 = 12345;

/// Listens as a user at a socket that everybody may connect to.
struct Impostor {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Impostor {
    fn of_user(user: u32) -> Self {
        Self::at(user, |folder| folder.join("control.sock").into_os_string())
    }

    /// At a name, which no folder protects.
    fn of_user_at_a_name(user: u32) -> Self {
        Self::at(user, |folder| format!("@{}", name_in(folder)).into())
    }

    fn at(user: u32, place: impl FnOnce(&Path) -> OsString) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let mut child = Command::new(compiled("impostor"))
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

    /// What he has heard of all callers.
    fn heard(mut self) -> String {
        drop(self.child.stdin.take());
        let mut heard = String::new();
        self.output.read_to_string(&mut heard).unwrap();
        assert!(self.child.wait().unwrap().success());
        heard
    }
}

/// A name that belongs to this test alone.
fn name_in(folder: &Path) -> String {
    format!("kinject-impostor-{}", folder.file_name().unwrap().display())
}

/// Asks by every kind of call that hands something to the relay, among them sockets.
fn asks(impostor: &Impostor) -> String {
    let port = Script::Connect.port().to_string();
    let program = |name: &str, args: &[&str]| Program::with_socket(&impostor.socket(), name, args).offline();
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
fn another_user_at_the_sessions_socket_hears_nothing() {
    if needs_root() {
        return;
    }
    let impostor = Impostor::of_user(OTHER_USER);
    let said = asks(&impostor);
    assert!(said.contains("connect: ENETUNREACH\n"), "{said}");
    assert!(said.contains("web - [any]: -3\n"), "{said}");
    let heard = impostor.heard();
    assert!(heard.lines().count() > 4, "the programs asked nobody: {heard:?}");
    for line in heard.lines() {
        assert_eq!(line, "0 bytes, no descriptor", "{heard}");
    }
}

#[test]
fn another_user_at_the_relays_name_hears_nothing() {
    if needs_root() {
        return;
    }
    let impostor = Impostor::of_user_at_a_name(OTHER_USER);
    let port = Script::Connect.port().to_string();
    for (program, args) in [("connect_blocking", &[TARGET, &port][..]), ("names", &["web"])] {
        let said = Program::with_name(&impostor.control(), program, args).output();
        assert!(
            said.contains("ENETUNREACH\n") || said.contains("web - [any]: -3\n"),
            "{said}"
        );
    }
    let heard = impostor.heard();
    assert!(heard.lines().count() > 1, "the programs asked nobody: {heard:?}");
    for line in heard.lines() {
        assert_eq!(line, "0 bytes, no descriptor", "{heard}");
    }
}

#[test]
fn the_sessions_own_user_is_asked() {
    if needs_root() {
        return;
    }
    let impostor = Impostor::of_user(0);
    asks(&impostor);
    let heard = impostor.heard();
    assert!(heard.contains(" bytes, a descriptor\n"), "{heard}");
    assert!(!heard.contains("0 bytes, no descriptor\n"), "{heard}");
}

/// In a user namespace that maps nobody, the kernel shows everybody as user 65534, the program itself included.
#[test]
fn a_program_that_cannot_tell_users_apart_asks_nobody() {
    if needs_root() {
        return;
    }
    let impostor = Impostor::of_user(OTHER_USER);
    let port = Script::Connect.port().to_string();
    let said = Program::with_socket(&impostor.socket(), "connect_blocking", &[TARGET, &port])
        .under("unshare", &["--net", "--user"])
        .output();
    assert!(said.contains("connect: ENETUNREACH\n"), "{said}");
    assert_eq!(impostor.heard(), "0 bytes, no descriptor\n");
}

#[test]
fn a_resolv_conf_of_another_user_is_not_read() {
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
    let said = read();
    assert!(!said.contains("203.0.113.66"), "{said}");
    assert_eq!(said.matches(": EACCES\n").count(), refused, "{said}");
}
