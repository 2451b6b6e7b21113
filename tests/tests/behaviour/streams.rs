//! Standard streams, descriptors and everything else that a program inherits.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use kinject_tests::binaries;
use kinject_tests::programs::{Program, python, shell};
use kinject_tests::running::{TIMEOUT, describe, finish, run, spawn};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

fn kinject(program: &Program) -> Command {
    kinject_run::<&str>(shared_sandbox(), &[], program)
}

#[test]
fn standard_input_is_read_by_the_program() {
    let input: Vec<u8> = (0..10_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut command = kinject(&Program::new("/usr/bin/cksum"));
    let mut child = spawn(command.stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let injected = finish(child, Instant::now(), &describe(&command), TIMEOUT);
    let mut bare = spawn(Command::new("cksum").stdin(Stdio::piped()));
    bare.stdin.take().unwrap().write_all(&input).unwrap();
    let bare = finish(bare, Instant::now(), "cksum", TIMEOUT);
    injected.succeeded().prints(&bare.stdout);
}

#[test]
fn stdout_and_stderr_are_separate_and_unchanged() {
    let outcome = run(&mut kinject(&shell(
        "echo out; echo err >&2; printf '\\000\\377' | od -An -tx1",
    )));
    outcome.succeeded().prints("out\n 00 ff\n");
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn closed_output_pipe_ends_the_program() {
    // /bin/sh, because of kinject's own SIGPIPE
    let line = format!("{} | head -c 3", words(&kinject(&Program::new("/usr/bin/yes"))));
    run(Command::new("sh").args(["-c", &line]))
        .succeeded()
        .prints("y\ny");
}

#[test]
fn program_with_closed_streams_runs() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let folder = tempfile::tempdir().unwrap();
        let answer = folder.path().join("answer");
        let ask = shell("getent hosts web >\"$0\"; exit 4").arg(&answer);
        let line = format!("{} {closed}", words(&kinject(&ask)));
        run(Command::new("sh").args(["-c", &line])).exited(4);
        let answer = std::fs::read_to_string(answer).unwrap();
        assert!(answer.starts_with("10.96.10.1 "), "with {closed}: {answer:?}");
    }
}

#[test]
fn program_inherits_what_env_passes_on() {
    let list = python("inheritance.py").args(["one argument", "", "--flag", "*"]);
    let setting = "umask 027; ulimit -n 777; ulimit -c 0; trap '' USR2 PIPE; cd /usr; exec 7</dev/null; nice -n 3 \"$@\"";
    let within = |command: &Command| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", setting, "setting"])
            .arg(command.get_program())
            .args(command.get_args());
        run(&mut shell).succeeded().stdout.clone()
    };
    let mut env = Command::new("env");
    env.arg(&list.path).args(&list.arguments);
    let (bare, injected) = (within(&env), within(&directly(&list)));
    assert_eq!(injected, bare);
    assert!(bare.contains("(7, 'device')") && bare.contains("777"), "{bare}");
}

#[test]
fn session_variables_are_in_the_programs_environment() {
    let variables = "echo $KINJECT_TARGET; echo ${#KINJECT_SESSION}; test -S \"$KINJECT_SOCKET\" && test -f \"$KINJECT_LIBRARY\"";
    let outcome = run(&mut kinject(&shell(variables)));
    outcome.succeeded().shows("unix:/").shows("\n8\n");
}

#[test]
fn output_file_is_the_same_open_file_description() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let mut command = kinject(&shell("echo inside"));
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    file.write_all(b"after\n").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "before\ninside\nafter\n");
}

/// Without the mount namespace of other tests, in which an ordinary user has capabilities.
fn directly(program: &Program) -> Command {
    let mut command = Command::new(binaries::kinject());
    command
        .arg("run")
        .args(shared_sandbox().flags())
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments);
    command
}

/// A command as a shell reads it.
fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect::<Vec<_>>()
        .join(" ")
}
