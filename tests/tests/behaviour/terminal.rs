//! Terminals: Ctrl-C, Ctrl-Z, fg, bg, and what a program sees of its terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use kinject_tests::process;
use kinject_tests::programs::{Program, python, shell};
use kinject_tests::session::{eventually, kinject_run};
use kinject_tests::terminal::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Terminal};
use kinject_tests::testbed::shared_sandbox;

/// `kinject run` at a terminal of its own, in which nothing else runs.
fn at_terminal(program: &Program) -> Terminal {
    Terminal::start(kinject_run::<&str>(shared_sandbox(), &[], program))
}

/// An interactive shell with job control, and a function `k` that is `kinject run` with its flags.
fn at_shell() -> Terminal {
    let program = Program::new("K");
    let command = kinject_run::<&str>(shared_sandbox(), &[], &program);
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "prompt> ")
        .env("HISTFILE", "");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let line = words.join(" ");
    let line = line.strip_suffix("'K'").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    std::fs::write(&functions, format!("k() {{ {line} \"$@\"; }}\n")).unwrap();
    let mut terminal = Terminal::start(shell);
    terminal.expect("prompt> ");
    terminal.enter(&format!(". {}", functions.display()));
    terminal.expect("prompt> ");
    terminal
}

#[test]
fn ctrl_c_ends_the_program_without_a_message() {
    let mut terminal = at_terminal(&shell("echo started; exec sleep 1000"));
    terminal.expect("started");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.ended().signal(), Some(2));
    let after = terminal.shown();
    assert!(
        !after.split("started").nth(1).unwrap().contains("kinject:"),
        "{after}"
    );
}

#[test]
fn program_can_handle_ctrl_c() {
    let mut terminal = at_terminal(&shell(
        "trap 'echo minded; exit 6' INT; echo started; while :; do sleep 0.05; done",
    ));
    terminal.expect("started");
    terminal.type_in(CTRL_C);
    terminal.expect("minded");
    assert_eq!(terminal.ended().code(), Some(6));
}

#[test]
fn ctrl_c_reaches_the_program_once() {
    let mut terminal = at_terminal(&python("signals.py"));
    terminal.expect("ready\r\n");
    terminal.type_in(CTRL_C);
    terminal.expect("SIGINT");
    terminal.type_in(CTRL_BACKSLASH);
    let between = terminal.expect("SIGQUIT");
    assert!(!between.contains("SIGINT"), "{between}");
    let pid = rustix::process::Pid::from_raw(terminal.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    terminal.expect("SIGTERM");
    assert_eq!(terminal.ended().code(), Some(9));
}

#[test]
fn ctrl_c_right_after_the_ready_message_ends_the_program() {
    for _ in 0..10 {
        let mut terminal = at_terminal(&Program::new("/bin/sleep").arg("1000"));
        terminal.expect(" ready in ");
        terminal.type_in(CTRL_C);
        assert_eq!(terminal.ended().signal(), Some(2));
    }
}

#[test]
fn ctrl_d_ends_a_programs_input() {
    let mut terminal = at_terminal(&Program::new("/bin/cat"));
    terminal.enter("typed");
    terminal.expect("typed");
    terminal.expect("typed");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn ctrl_z_and_fg_stop_and_continue() {
    let mut terminal = at_shell();
    terminal.enter("k sh -c 'echo started; read line; echo got $line; exit 3'");
    terminal.expect("started\r\n");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.expect("prompt> ");
    terminal.enter("fg");
    terminal.expect("\"$@\"\r\n");
    terminal.enter("words");
    terminal.expect("got words");
    terminal.expect("prompt> ");
    terminal.enter("echo status=$?");
    terminal.expect("status=3");
    terminal.enter("exit");
    terminal.ended();
}

#[test]
fn stopped_program_continues_in_the_background() {
    let mut terminal = at_shell();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go-on");
    let program = python("patient.py").arg(&file);
    terminal.enter(&format!(
        "k {} {} {}",
        program.path.display(),
        program.arguments[1].to_str().unwrap(),
        file.display()
    ));
    terminal.expect("started\r\n");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.expect("prompt> ");
    terminal.enter("bg");
    terminal.expect("prompt> ");
    terminal.enter(&format!("touch {}; wait; echo waited", file.display()));
    terminal.expect("finished");
    terminal.expect("waited");
    terminal.enter("exit");
    terminal.ended();
}

#[test]
fn pipeline_with_kinject_is_one_job() {
    let mut terminal = at_shell();
    terminal.enter("k cat | k sed s/a/b/");
    terminal.expect(" ready in ");
    terminal.expect(" ready in ");
    terminal.enter("banana");
    terminal.expect("banana\r\n");
    terminal.type_in(CTRL_D);
    terminal.expect("bbnana");
    terminal.expect("prompt> ");
    terminal.enter("k sleep 1000 | k sleep 1000");
    terminal.expect(" ready in ");
    terminal.expect(" ready in ");
    terminal.type_in(CTRL_C);
    terminal.expect("prompt> ");
    terminal.enter("echo statuses=${PIPESTATUS[*]}");
    terminal.expect("statuses=130 130");
    terminal.enter("exit");
    terminal.ended();
}

#[test]
fn program_has_the_terminal_as_its_standard_streams() {
    let mut terminal = at_terminal(&shell(
        "test -t 0 && test -t 1 && test -t 2 && stty size && echo done",
    ));
    terminal.expect("24 200\r\n");
    terminal.expect("done");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn ready_session_prints_one_line_and_quiet_prints_none() {
    let mut terminal = at_terminal(&shell("echo first words"));
    let before = terminal.expect("first words");
    assert!(
        before.contains("kinject: unix:") && before.contains(" s (direct)\r\n"),
        "{before:?}"
    );
    terminal.ended();
    let quiet = kinject_run(shared_sandbox(), &["--quiet"], &shell("echo first words"));
    let mut terminal = Terminal::start(quiet);
    assert_eq!(terminal.expect("first words"), "first words");
    terminal.ended();
}

#[test]
fn kinject_message_starts_its_own_line_in_cooked_and_raw_mode() {
    for mode in ["cooked", "raw"] {
        let ask = "printf half-typed; getent hosts nas; read -r answer; stty sane; exit 4";
        let mut terminal = at_terminal(&shell(&format!("stty {mode} -echo; {ask}")));
        terminal.expect("half-typed");
        let before = terminal.expect("kinject: warning: the cluster has no name nas, ");
        let line = before
            .strip_suffix("kinject: warning: the cluster has no name nas, ")
            .unwrap();
        assert!(line.ends_with("\r\n"), "{mode}: {before:?}");
        // in cooked mode the terminal adds a carriage return
        let message = terminal
            .expect("hint: add --local nas to look it up here\r")
            .replace("\r\r", "\r");
        assert!(message.contains("\r\n\r\nhint: "), "{mode}: {message:?}");
        terminal.type_in("go on\n");
        assert_eq!(terminal.ended().code(), Some(4), "{mode}");
    }
}

#[test]
fn terminal_hangup_ends_the_program_and_the_session() {
    let mut terminal = at_terminal(&shell("echo pid=$$.; exec sleep 1000"));
    terminal.expect("pid=");
    let pid: u32 = terminal.expect(".").trim_end_matches('.').parse().unwrap();
    let kinject = terminal.pid();
    let status = terminal.hang_up();
    assert_eq!(status.signal(), Some(1), "{status}");
    eventually("the program's end", Duration::from_secs(10), || {
        !process::is_alive(pid)
    });
    assert!(!process::is_alive(kinject));
}
