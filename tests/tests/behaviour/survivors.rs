//! Programs that outlive the command: kinject names them when the session ends.

use std::process::Command;

use kinject_tests::programs::shell;
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

fn kinject(flags: &[&str], line: &str) -> Outcome {
    run(&mut kinject_run(shared_sandbox(), flags, &shell(line)))
}

/// Prints the PID of a background process without the standard streams, which would keep the outcome waiting.
const LEAVES_ONE: &str = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!";

/// Kills the background process whose PID the outcome printed.
fn end(outcome: &Outcome) {
    for pid in outcome.stdout.split_whitespace() {
        run(Command::new("kill").args(["-KILL", pid])).succeeded();
    }
}

#[test]
fn surviving_program_is_named_in_one_line_with_a_hint() {
    let outcome = kinject(&[], LEAVES_ONE);
    end(&outcome);
    let pid = outcome.succeeded().stdout.trim();
    assert_eq!(
        outcome.stderr,
        format!(
            "kinject: warning: 1 program of the session still runs and no longer has the cluster: sleep (pid {pid})\n\n\
             hint: let the command wait for what it starts in the background, or start that by `kinject run`\n"
        )
    );
}

#[test]
fn surviving_program_in_its_own_process_session_is_named() {
    let outcome = kinject(&[], &format!("setsid --fork sh -c '{LEAVES_ONE}' | cat"));
    end(&outcome);
    outcome
        .succeeded()
        .complains("1 program of the session still runs");
}

#[test]
fn many_surviving_programs_are_named_in_a_shortened_list() {
    let outcome = kinject(&[], &format!("for i in 1 2 3 4 5 6 7; do {LEAVES_ONE}; done"));
    end(&outcome);
    outcome
        .succeeded()
        .complains("7 programs of the session still run and no longer have the cluster: sleep (pid ");
    assert_eq!(outcome.stderr.matches("(pid ").count(), 5, "{outcome}");
}

#[test]
fn quiet_session_names_no_surviving_program() {
    let outcome = kinject(&["--quiet"], LEAVES_ONE);
    end(&outcome);
    outcome.succeeded();
    assert_eq!(outcome.stderr, "");
}

#[test]
fn surviving_program_outside_the_session_is_not_named() {
    let leaves = "env KINJECT_SOCKET= LD_PRELOAD= sleep 1000 </dev/null >/dev/null 2>&1 & echo $!";
    let outcome = kinject(&[], leaves);
    end(&outcome);
    outcome.succeeded();
    assert_eq!(outcome.stderr, "");
}
