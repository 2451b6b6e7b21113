//! What a library in a program must not do: keep descriptors, hold locks, leak, crash.

use crate::program::{Program, library, run};
use crate::relay::Relay;
use crate::script::Script;
use kinject_test_support::skip;
use std::path::Path;

const TARGET: &str = "10.96.10.3";

fn connected() -> String {
    Script::Connect.port().to_string()
}

#[test]
fn program_that_closes_every_descriptor_connects() {
    let relay = Relay::start();
    let output = run(&relay, "closed_descriptors", &[TARGET, &connected()]);
    assert_eq!(output, "socket: 0\nconnect: 0\nopen: 2\n");
}

#[test]
fn concurrent_threads_and_forked_children_all_connect() {
    let relay = Relay::start();
    let output = run(&relay, "fork_storm", &[TARGET, &connected(), "web"]);
    assert_eq!(
        output,
        "children that failed: 0\nthreads failed: 0\nthreads worked: yes\n"
    );
}

#[test]
fn signal_handler_connects_during_a_connect() {
    let relay = Relay::start();
    let output = run(&relay, "signal_handler", &[TARGET, &connected()]);
    assert_eq!(output, "failed: 0, in the handler: 0\n");
}

#[test]
fn thread_cancelled_in_connect_ends_and_leaks_no_descriptor() {
    let relay = Relay::start();
    let output = run(
        &relay,
        "cancel",
        &[TARGET, &Script::ProgressForever.port().to_string()],
    );
    assert_eq!(
        output,
        "connecting: yes\ncancelled: yes\ncleaned: yes\nleaked: 0\n"
    );
}

#[test]
fn program_outside_of_session_gets_libcs_results() {
    let relay = Relay::start();
    for (program, args) in [
        ("bad_addresses", &[][..]),
        ("names", &["-s", "80", "127.0.0.1", "localhost", "-"]),
        ("host_entries", &["127.0.0.1", "localhost"]),
    ] {
        let injected = Program::bare(program, args)
            .env("LD_PRELOAD", library())
            .offline()
            .output();
        assert_eq!(
            injected,
            Program::bare(program, args).offline().output(),
            "{program}"
        );
        let left = Program::injected(&relay, program, args)
            .env("KINJECT_SOCKET", "")
            .offline()
            .output();
        assert_eq!(left, injected, "{program}");
        let without_socket = Program::injected(&relay, program, args)
            .env_remove("KINJECT_SOCKET")
            .offline()
            .output();
        assert_eq!(without_socket, injected, "{program}");
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn program_out_of_descriptors_gets_emfile() {
    let relay = Relay::start();
    let output = run(&relay, "limits", &[TARGET, &connected(), "web", "descriptors"]);
    assert_eq!(
        output,
        "connect: EMFILE\ngetaddrinfo: -11 EMFILE\ngethostbyname: none, h_errno -1\n"
    );
}

#[test]
fn program_whose_sandbox_forbids_unix_sockets_gets_enetunreach() {
    let relay = Relay::start();
    for error in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EAFNOSUPPORT] {
        let output = run(
            &relay,
            "limits",
            &[TARGET, &connected(), "web", &error.to_string()],
        );
        assert_eq!(
            output,
            "connect: ENETUNREACH\ngetaddrinfo: -3\ngethostbyname: none, h_errno 2\n"
        );
    }
}

/// Flags with which valgrind fails at an error or a leak.
pub(crate) const VALGRIND: [&str; 4] = [
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
];

#[test]
fn hooks_have_no_valgrind_errors() {
    if !Path::new("/usr/bin/valgrind").exists() {
        return skip::not_run("the library under valgrind", "valgrind is not installed");
    }
    let relay = Relay::start();
    let connected = connected();
    let late = Script::ProgressThenConnect.port().to_string();
    for (program, args) in [
        ("connect_blocking", &[TARGET, &connected][..]),
        ("connect_blocking", &[TARGET, &late]),
        ("connect_nonblocking", &[TARGET, &late]),
        ("connect_blocking", &["fd00::7", &connected]),
        ("names", &["-s", "80", "db", "dual", "missing"]),
        ("host_entries", &["db", "six", "missing"]),
        ("datagrams", &["10.96.0.10", "53"]),
        ("dns_messages", &["web", "many/16", "missing", "broken"]),
        (
            "address_names",
            &["10.96.10.1", "10.244.0.5", "fd00::6", "10.96.10.99"],
        ),
        ("asynchronous_names", &["web", "missing", "127.0.0.1"]),
        ("receive_nothing", &[]),
    ] {
        let output = Program::injected(&relay, program, args)
            .under("/usr/bin/valgrind", &VALGRIND)
            .output();
        assert!(!output.is_empty(), "{program}");
    }
}
