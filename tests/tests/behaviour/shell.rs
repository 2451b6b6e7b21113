//! `kinject shell`: the user's own interactive shell, with its start-up files, its job control, and the session's mark
//! in the prompt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use kinject_tests::programs::find;
use kinject_tests::running::run;
use kinject_tests::session::kinject_shell;
use kinject_tests::skip;
use kinject_tests::terminal::{CTRL_C, CTRL_Z, Terminal};
use kinject_tests::testbed::shared_sandbox;
use tempfile::TempDir;

const MARK: &str = "[kinject unix:";

/// A home with start-up files, and `kinject shell` of that user.
fn at_home(shell: &str, files: &[(&str, &str)]) -> Option<(TempDir, Terminal)> {
    let Some(shell) = find(shell) else {
        skip::not_run(&format!("tests with {shell}"), "it is not installed");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut command: Command = kinject_shell(shared_sandbox());
    command
        .env("SHELL", shell)
        .env("HOME", home.path())
        .env_remove("ZDOTDIR")
        .env_remove("ENV")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("PROMPT_COMMAND");
    Some((home, Terminal::start(command)))
}

#[test]
fn bash_reads_its_startup_file_and_prompt_has_the_session_mark() {
    let rc = "PS1='mine> '\nalias hello='echo from the alias'\nPROMPT_COMMAND='true;'\n";
    let Some((_home, mut terminal)) = at_home("bash", &[(".bashrc", rc)]) else {
        return;
    };
    terminal.expect(MARK);
    terminal.expect("] mine> ");
    terminal.enter("hello");
    terminal.expect("from the alias\r\n");
    terminal.expect("mine> ");
    terminal.enter("getent hosts web");
    terminal.expect("10.96.10.1");
    terminal.expect("mine> ");
    terminal.enter("PS1='other> '");
    let before = terminal.expect("other> ");
    assert!(!before.contains("mark is gone"), "{before}");
    terminal.enter("true");
    terminal.expect(MARK);
    terminal.expect("] other> ");
    terminal.enter("exit 5");
    assert_eq!(terminal.ended().code(), Some(5));
}

#[test]
fn shell_job_stops_and_continues() {
    let Some((_home, mut terminal)) = at_home("bash", &[(".bashrc", "PS1='mine> '\n")]) else {
        return;
    };
    terminal.expect("mine> ");
    terminal.enter("sh -c 'echo ready; exec cat'");
    terminal.expect("ready\r\n");
    terminal.enter("first");
    terminal.expect("first\r\nfirst\r\n");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.expect("mine> ");
    terminal.enter("jobs; fg");
    terminal.expect("exec cat'\r\n");
    terminal.expect("exec cat'\r\n");
    terminal.enter("second");
    terminal.expect("second\r\nsecond\r\n");
    terminal.type_in(CTRL_C);
    terminal.expect("mine> ");
    terminal.enter("echo status=$?");
    terminal.expect("status=130");
    terminal.enter("sleep 1000 & kill %1; wait; echo waited");
    terminal.expect("waited\r\n");
    terminal.expect("mine> ");
    terminal.enter("exit 0");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn ctrl_c_at_the_prompt_keeps_the_shell_running() {
    let Some((_home, mut terminal)) = at_home("bash", &[(".bashrc", "PS1='mine> '\n")]) else {
        return;
    };
    terminal.expect("mine> ");
    terminal.type_in("half a line");
    terminal.expect("half a line");
    terminal.type_in(CTRL_C);
    // bash itself may handle a Ctrl-C only at the next key
    terminal.enter("");
    terminal.enter("echo still here");
    terminal.expect("still here\r\n");
    terminal.enter("exit");
    terminal.ended();
}

/// bash handles Ctrl-C and exits with 130 by itself, which is no death by a signal; SIGHUP is.
#[test]
fn shell_exit_130_is_returned_and_shell_killed_by_a_signal_kills_kinject() {
    for (line, expected) in [
        ("exit 130", (Some(130), None)),
        ("kill -KILL $$", (None, Some(9))),
    ] {
        let Some((_home, mut terminal)) = at_home("bash", &[(".bashrc", "PS1='mine> '\n")]) else {
            return;
        };
        terminal.expect("mine> ");
        terminal.enter(line);
        let status = terminal.ended();
        assert_eq!((status.code(), status.signal()), expected, "{line}");
    }
}

#[test]
fn bash_without_a_startup_file_works() {
    let Some((_home, mut terminal)) = at_home("bash", &[]) else {
        return;
    };
    terminal.expect(MARK);
    terminal.enter("exit");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn posix_shell_has_the_session_mark_in_its_prompt() {
    let Some((_home, mut terminal)) = at_home("dash", &[]) else {
        return;
    };
    terminal.expect(MARK);
    terminal.expect("]");
    terminal.enter("getent hosts web");
    terminal.expect("10.96.10.1");
    terminal.enter("exit 3");
    assert_eq!(terminal.ended().code(), Some(3));
}

#[test]
fn zsh_reads_its_startup_files_and_prompt_has_the_session_mark() {
    let files = [
        (".zshenv", "FROM_ENV=yes\n"),
        (".zshrc", "PROMPT='mine> '\nunsetopt PROMPT_SP\n"),
    ];
    let Some((home, mut terminal)) = at_home("zsh", &files) else {
        return;
    };
    terminal.expect(MARK);
    terminal.expect("] mine> ");
    terminal.enter("echo $FROM_ENV ${ZDOTDIR:-none} ${KINJECT_ZDOTDIR:-none}");
    terminal.expect(&format!("yes {} none", home.path().display()));
    terminal.enter("getent hosts web");
    terminal.expect("10.96.10.1");
    terminal.enter("exit 4");
    assert_eq!(terminal.ended().code(), Some(4));
}

#[test]
fn fish_reads_its_startup_file_and_prompt_has_the_session_mark() {
    let files = [
        (
            ".config/fish/config.fish",
            "function fish_prompt; echo -n 'mine> '; end\n",
        ),
        // otherwise fish reads all manual pages in the background at its first start
        (".local/share/fish/generated_completions/none.fish", ""),
    ];
    let Some((_home, mut terminal)) = at_home("fish", &files) else {
        return;
    };
    terminal.expect(MARK);
    terminal.expect("mine> ");
    terminal.enter("getent hosts web");
    terminal.expect("10.96.10.1");
    terminal.enter("exit 4");
    assert_eq!(terminal.ended().code(), Some(4));
}

#[test]
fn missing_shell_is_reported() {
    let mut command = kinject_shell(shared_sandbox());
    let outcome = run(command.env("SHELL", "/no/such/shell"));
    outcome.exited(127).complains("/no/such/shell: command not found");
}

#[test]
fn commands_piped_into_the_shell_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "getent hosts web\nexit 6\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = kinject_shell(shared_sandbox());
    command.env("SHELL", "/bin/sh").env("HOME", folder.path());
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = all
        .map(|word| word.to_str().unwrap().replace('\'', r"'\''"))
        .collect();
    let line = format!("'{}' <'{}'", words.join("' '"), script.display());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &line])
        .env("SHELL", "/bin/sh")
        .env("HOME", folder.path());
    run(&mut shell)
        .exited(6)
        .prints("10.96.10.1      web.default.svc.cluster.local\n");
}
