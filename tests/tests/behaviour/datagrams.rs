//! Clean-up after datagrams, and libraries that are opened with RTLD_DEEPBIND.

use std::time::{Duration, Instant};

use kinject_tests::cluster::wait_for;
use kinject_tests::process;
use kinject_tests::programs::{Program, c, shared_c};
use kinject_tests::running::{run, run_within};
use kinject_tests::session::{Session, kinject_run};
use kinject_tests::testbed::shared_sandbox;

/// Sends back what it gets, over TCP and UDP.
const ECHO: [&str; 2] = ["10.96.10.3", "7000"];

/// Longer than thousands of rounds take.
const LONG: Duration = Duration::from_secs(1800);

#[test]
fn session_that_carried_datagrams_ends_with_its_program() {
    let program = c("datagrams").arg("connected").args(ECHO);
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program))
        .succeeded()
        .within(Duration::from_secs(5));
}

#[test]
fn flows_end_when_their_sockets_are_closed() {
    if !kinject_tests::ordinary::may_look_into_relays() {
        return;
    }
    let session = Session::start::<&str>(shared_sandbox(), &[]);
    let crowd = |sockets: &str| {
        let program = c("crowded").arg(sockets).args(ECHO);
        let mut command = session.command(&program.path);
        run(command.args(&program.arguments))
            .succeeded()
            .prints(&format!("{sockets} answers\n"));
    };
    let quiet = process::sockets(session.relay());
    crowd("300");
    wait_for("the end of the flows", Duration::from_secs(15), || {
        Ok((process::sockets(session.relay()) <= quiet).then_some(()))
    })
    .unwrap();
}

#[test]
fn concurrent_first_datagrams_of_a_socket_all_arrive() {
    let program = c("first_datagrams").args(ECHO).arg("300");
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program))
        .succeeded()
        .prints("0 rounds lost a datagram\n");
}

/// Run by `cargo xtask rounds`.
#[test]
#[ignore = "it takes minutes"]
fn concurrent_first_datagrams_all_arrive_in_thousands_of_rounds() {
    let count = std::env::var("KINJECT_TEST_ROUNDS").unwrap_or_else(|_| "10000".to_owned());
    let program = c("first_datagrams").args(ECHO);
    let under_valgrind = Program::new("/usr/bin/valgrind")
        .args([
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ])
        .arg(&program.path)
        .args(&program.arguments)
        .arg("100");
    for program in [program.arg(count), under_valgrind] {
        let started = Instant::now();
        run_within(&mut kinject_run::<&str>(shared_sandbox(), &[], &program), LONG)
            .succeeded()
            .prints("0 rounds lost a datagram\n");
        println!("{}: {:.0?}", program.path.display(), started.elapsed());
    }
}

#[test]
fn library_opened_with_rtld_deepbind_stays_in_the_session() {
    let library = shared_c("speaker");
    let program = c("deep").arg(&library.path).args(ECHO);
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program))
        .succeeded()
        .shows("a library that is not there: /nonexistent/library.so: cannot open shared object file")
        .shows("\necho\necho\n");
}
