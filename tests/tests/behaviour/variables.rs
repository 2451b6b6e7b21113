//! `-e` and `--unset`: the environment of a session's programs, and of those outside of it.

use std::process::Command;

use kinject_tests::binaries;
use kinject_tests::programs::shell;
use kinject_tests::running::run;
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

/// A line of a shell in a session of a machine with APP_A, APP_B and APP_C, where `kinject` is the program.
fn in_session(flags: &[&str], line: &str) -> Command {
    let kinject = binaries::kinject();
    let line = format!("kinject() {{ '{}' \"$@\"; }}; {line}", kinject.display());
    let mut command = kinject_run(shared_sandbox(), flags, &shell(&line));
    command
        .env("APP_A", "machine's")
        .env("APP_B", "two\nlines\\n")
        .env("APP_C", "c");
    command
}

const SHOW: &str = "printf '[%s]' \"${APP_A-none}\" \"${APP_B-none}\" \"${APP_C-none}\"";

#[test]
fn set_and_unset_variables_reach_the_program() {
    run(&mut in_session(
        &[
            "-e",
            "APP_A=first",
            "-e",
            "APP_A=a = b",
            "--unset",
            "APP_B",
            "-e",
            "APP_C",
        ],
        SHOW,
    ))
    .succeeded()
    .prints("[a = b][none][c]");
    let long = "x".repeat(100 << 10);
    run(&mut in_session(
        &["-e", &format!("APP_A={long}")],
        "printf %s \"${#APP_A}\"",
    ))
    .succeeded()
    .prints(&long.len().to_string());
}

#[test]
fn set_and_unset_variables_are_the_machines_outside() {
    let flags = ["-e", "APP_A=session's", "--unset", "APP_B", "-e", "APP_D=d"];
    let line = format!(
        "kinject outside -- sh -c '{}; echo \"${{APP_D-none}}\"'",
        SHOW.replace('\'', "'\\''")
    );
    run(&mut in_session(&flags, &line))
        .succeeded()
        .prints("[machine's][two\nlines\\n][c]none\n");
}

#[test]
fn variable_that_was_changed_in_the_session_stays_changed_outside() {
    let flags = ["-e", "APP_A=session's", "--unset", "APP_B"];
    let line = format!(
        "APP_A=mine APP_B=mine kinject outside -- sh -c '{}'",
        SHOW.replace('\'', "'\\''")
    );
    run(&mut in_session(&flags, &line))
        .succeeded()
        .prints("[mine][mine][c]");
}

#[test]
fn inner_session_has_the_machines_environment() {
    let flags: Vec<String> = shared_sandbox()
        .flags()
        .iter()
        .map(|flag| format!("'{}'", flag.display()))
        .collect();
    let line = format!(
        "kinject run {} -e APP_C=inner -- sh -c '{}'",
        flags.join(" "),
        SHOW.replace('\'', "'\\''")
    );
    run(&mut in_session(
        &["-e", "APP_A=outer", "--unset", "APP_B", "-e", "APP_C=outer"],
        &line,
    ))
    .succeeded()
    .prints("[machine's][two\nlines\\n][inner]");
}
