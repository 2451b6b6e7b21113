//! What programs read that resolve by themselves.

use crate::program::{Program, run};
use crate::relay::Relay;
use std::path::Path;

const CALLS: &[&str] = &[
    "open",
    "open64",
    "openat",
    "openat64",
    "__open_2",
    "__open64_2",
    "__openat_2",
    "__openat64_2",
    "openat by number",
    #[cfg(target_arch = "x86_64")]
    "open by number",
    "fopen",
    "fopen64",
];

#[test]
fn every_way_to_read_the_machines_resolv_conf_gives_the_pods() {
    let relay = Relay::start();
    let text = "search default.svc.cluster.local\nnameserver 10.96.0.10\n";
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let said = run(&relay, "open_files", &["/etc/resolv.conf"]);
    let close_on_exec = |call: &str| u8::from(matches!(call, "open64" | "__openat64_2" | "open by number"));
    for (call, line) in CALLS.iter().zip(said.lines()) {
        let expected = if call.starts_with('f') {
            format!("{call}: search default.svc.cluster.local")
        } else {
            format!(
                "{call}: {} bytes, close on exec {}: search default.svc.cluster.local",
                text.len(),
                close_on_exec(call)
            )
        };
        assert_eq!(line, expected);
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

/// As behind private mounts, or in another root directory.
#[test]
fn a_program_that_does_not_see_the_sessions_folder_gets_the_pods_file_from_the_relay() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods");
    std::fs::write(&file, "search default.svc.cluster.local\nnameserver 10.96.0.10\n").unwrap();
    let here = relay.socket().with_file_name("resolv.conf");
    for program in ["open_files", "file_status"] {
        std::fs::copy(&file, &here).unwrap();
        let seen = run(&relay, program, &["/etc/resolv.conf"]);
        assert_eq!(relay.asked(), Vec::<String>::new());
        std::fs::remove_file(&here).unwrap();
        relay.hands_out(&file);
        let handed = Program::with_name(relay.control(), program, &["/etc/resolv.conf"]).output();
        assert_eq!(handed, seen, "{program}");
        assert!(relay.forget_asked().iter().all(|asked| asked == "resolv.conf"));
    }
}

#[test]
fn every_other_file_is_the_kernels() {
    let relay = Relay::start();
    let files = [
        "/etc/hosts",
        "/etc/passwd",
        "/etc/resolv.con",
        "/etc/resolv.conf.d",
        "/",
        "",
    ];
    let injected = Program::injected(&relay, "open_files", &files).output();
    assert_eq!(injected, Program::bare("open_files", &files).output());
}

#[test]
fn a_session_without_the_pods_file_does_not_show_the_machines() {
    let relay = Relay::start();
    let said = run(&relay, "open_files", &["/etc/resolv.conf"]);
    for (call, line) in CALLS.iter().zip(said.lines()) {
        assert_eq!(line, format!("{call}: ENOENT"));
    }
}

#[test]
fn in_another_network_namespace_without_the_sessions_folder_the_file_that_lies_there_is_read() {
    let relay = Relay::start();
    for program in ["open_files", "file_status"] {
        let files = ["/etc/resolv.conf"];
        let injected = Program::with_name(relay.control(), program, &files)
            .offline()
            .output();
        assert_eq!(
            injected,
            Program::bare(program, &files).offline().output(),
            "{program}"
        );
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn without_a_session_the_machines_file_is_read() {
    let files = ["/etc/resolv.conf"];
    let bare = Program::bare("open_files", &files).output();
    let left = Program::with_socket(Path::new(""), "open_files", &files).output();
    assert_eq!(left, bare);
}

const QUESTIONS: &[&str] = &[
    "stat",
    "stat64",
    "lstat",
    "lstat64",
    "fstatat",
    "fstatat64",
    "statx",
    "__xstat",
    "__xstat64",
    "__lxstat",
    "__lxstat64",
    "__fxstatat",
    "__fxstatat64",
    "newfstatat by number",
    "statx by number",
    #[cfg(target_arch = "x86_64")]
    "stat by number",
    #[cfg(target_arch = "x86_64")]
    "lstat by number",
];

const ACCESS: &[&str] = &[
    #[cfg(target_arch = "x86_64")]
    "access by number",
    "access",
    "faccessat",
    "faccessat by number",
    "faccessat2 by number",
];

#[test]
fn every_way_to_ask_about_the_machines_resolv_conf_tells_of_the_pods() {
    let relay = Relay::start();
    let text = "x".repeat(4711);
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let said = run(&relay, "file_status", &["/etc/resolv.conf"]);
    let mut lines = said.lines();
    for call in QUESTIONS {
        assert_eq!(lines.next(), Some(format!("{call}: 4711 bytes").as_str()));
    }
    for call in ACCESS {
        assert_eq!(lines.next(), Some(format!("{call}: yes").as_str()));
    }
    assert_eq!(lines.next(), Some("no room: -1 EFAULT"));
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn a_session_without_the_pods_file_does_not_tell_of_the_machines() {
    let relay = Relay::start();
    let said = run(&relay, "file_status", &["/etc/resolv.conf"]);
    for (call, line) in QUESTIONS.iter().zip(said.lines()) {
        assert_eq!(line, format!("{call}: -1 ENOENT"));
    }
}

#[test]
fn of_every_other_file_the_kernel_tells() {
    let relay = Relay::start();
    let files = [
        "/etc/hosts",
        "/etc/resolv.con",
        "/etc/resolv.conf.d",
        "/",
        "",
        "nowhere",
    ];
    let injected = Program::injected(&relay, "file_status", &files).output();
    assert_eq!(injected, Program::bare("file_status", &files).output());
}
