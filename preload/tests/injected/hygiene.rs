//! What a library in a foreign program must not do: keep, lock, leak, crash.

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
fn a_program_that_closes_every_descriptor_still_connects() {
    let relay = Relay::start();
    let said = run(&relay, "closed_descriptors", &[TARGET, &connected()]);
    assert_eq!(said, "socket: 0\nconnect: 0\nopen: 2\n");
}

#[test]
fn threads_and_forks_at_once_all_connect() {
    let relay = Relay::start();
    let said = run(&relay, "fork_storm", &[TARGET, &connected(), "web"]);
    assert_eq!(
        said,
        "children that failed: 0\nthreads failed: 0\nthreads worked: yes\n"
    );
}

#[test]
fn signal_handlers_connect_in_the_middle_of_a_connect() {
    let relay = Relay::start();
    let said = run(&relay, "signal_handler", &[TARGET, &connected()]);
    assert_eq!(said, "failed: 0, in the handler: 0\n");
}

#[test]
fn a_thread_that_is_cancelled_in_a_connect_ends_alone() {
    let relay = Relay::start();
    let said = run(
        &relay,
        "cancel",
        &[TARGET, &Script::ProgressForEver.port().to_string()],
    );
    assert_eq!(said, "connecting: yes\ncancelled: yes\ncleaned: yes\nleaked: 0\n");
}

#[test]
fn without_a_session_every_hook_passes_through() {
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
        let nameless = Program::injected(&relay, program, args)
            .env_remove("KINJECT_SOCKET")
            .offline()
            .output();
        assert_eq!(nameless, injected, "{program}");
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn a_program_without_descriptors_to_spare_is_told_so() {
    let relay = Relay::start();
    let said = run(&relay, "limits", &[TARGET, &connected(), "web", "descriptors"]);
    assert_eq!(
        said,
        "connect: EMFILE\ngetaddrinfo: -11 EMFILE\ngethostbyname: none, h_errno -1\n"
    );
}

#[test]
fn a_program_whose_sandbox_forbids_unix_sockets_reaches_nothing() {
    let relay = Relay::start();
    for error in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EAFNOSUPPORT] {
        let said = run(
            &relay,
            "limits",
            &[TARGET, &connected(), "web", &error.to_string()],
        );
        assert_eq!(
            said,
            "connect: ENETUNREACH\ngetaddrinfo: -3\ngethostbyname: none, h_errno 2\n"
        );
    }
}

/// Valgrind's flags: what it finds is an error.
pub(crate) const VALGRIND: [&str; 4] = [
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
];

#[test]
fn valgrind_finds_nothing_to_say() {
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
        let said = Program::injected(&relay, program, args)
            .under("/usr/bin/valgrind", &VALGRIND)
            .output();
        assert!(!said.is_empty(), "{program}");
    }
}
