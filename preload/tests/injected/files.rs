//! `/etc/resolv.conf` for programs with their own DNS client.

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
fn resolv_conf_opened_by_any_function_is_the_pods() {
    let relay = Relay::start();
    let text = "search default.svc.cluster.local\nnameserver 10.96.0.10\n";
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let output = run(&relay, "open_files", &["/etc/resolv.conf"]);
    let close_on_exec = |call: &str| u8::from(matches!(call, "open64" | "__openat64_2" | "open by number"));
    for (call, line) in CALLS.iter().zip(output.lines()) {
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
    assert_eq!(relay.requests(), Vec::<String>::new());
}

/// As behind private mounts, or in another root directory.
#[test]
fn program_without_sessions_folder_gets_pods_resolv_conf_from_relay() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods");
    std::fs::write(&file, "search default.svc.cluster.local\nnameserver 10.96.0.10\n").unwrap();
    let own = relay.socket().with_file_name("resolv.conf");
    for program in ["open_files", "file_status"] {
        std::fs::copy(&file, &own).unwrap();
        let from_folder = run(&relay, program, &["/etc/resolv.conf"]);
        assert_eq!(relay.requests(), Vec::<String>::new());
        std::fs::remove_file(&own).unwrap();
        relay.set_resolv_conf(&file);
        let from_relay = Program::with_name(relay.control(), program, &["/etc/resolv.conf"]).output();
        assert_eq!(from_relay, from_folder, "{program}");
        assert!(relay.take_requests().iter().all(|asked| asked == "resolv.conf"));
    }
}

#[test]
fn file_other_than_resolv_conf_is_opened_unchanged() {
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
fn resolv_conf_missing_in_session_returns_enoent() {
    let relay = Relay::start();
    let output = run(&relay, "open_files", &["/etc/resolv.conf"]);
    for (call, line) in CALLS.iter().zip(output.lines()) {
        assert_eq!(line, format!("{call}: ENOENT"));
    }
}

#[test]
fn program_in_other_network_without_sessions_folder_reads_machines_resolv_conf() {
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
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn program_outside_of_session_reads_machines_resolv_conf() {
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
fn status_of_resolv_conf_by_any_function_is_the_pods() {
    let relay = Relay::start();
    let text = "x".repeat(4711);
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let output = run(&relay, "file_status", &["/etc/resolv.conf"]);
    let mut lines = output.lines();
    for call in QUESTIONS {
        assert_eq!(lines.next(), Some(format!("{call}: 4711 bytes").as_str()));
    }
    for call in ACCESS {
        assert_eq!(lines.next(), Some(format!("{call}: yes").as_str()));
    }
    assert_eq!(lines.next(), Some("no room: -1 EFAULT"));
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn status_of_resolv_conf_missing_in_session_returns_enoent() {
    let relay = Relay::start();
    let output = run(&relay, "file_status", &["/etc/resolv.conf"]);
    for (call, line) in QUESTIONS.iter().zip(output.lines()) {
        assert_eq!(line, format!("{call}: -1 ENOENT"));
    }
}

#[test]
fn status_of_file_other_than_resolv_conf_is_unchanged() {
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
