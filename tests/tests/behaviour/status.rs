//! Exit statuses: the program's own, the shells' for programs that cannot be run, 125 for kinject's own failures.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use kinject_tests::programs::{Program, shell, static_c};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

fn kinject(program: &Program) -> Outcome {
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], program))
}

#[test]
fn kinject_exits_with_the_programs_status() {
    for code in [0, 1, 7, 125, 126, 127, 128, 255] {
        kinject(&shell(&format!("exit {code}"))).exited(code);
    }
}

#[test]
fn missing_program_exits_127() {
    let outcome = kinject(&Program::new("no-such-program-anywhere"));
    outcome
        .exited(127)
        .complains("kinject: error: no-such-program-anywhere: command not found\n\nhint: ");
    kinject(&Program::new("/no/such/program")).exited(127);
    kinject(&Program::new("/etc/passwd/program")).exited(127);
}

#[test]
fn unrunnable_program_exits_126() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    fs::write(&file, "neither a program nor a script\n").unwrap();
    kinject(&Program::new(&file))
        .exited(126)
        .complains("permission denied");
    kinject(&Program::new(folder.path())).exited(126);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    // as in a shell: a file without a known format is a script
    fs::write(&file, "exit 5\n").unwrap();
    kinject(&Program::new(&file)).exited(5);
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    assert!(matches!(kinject(&Program::new(&file)).code(), 126 | 127));
}

#[test]
fn closed_standard_descriptor_is_closed_for_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let look = format!(
        "for fd in 0 1 2; do test -e /proc/$$/fd/$fd || closed=\"$closed$fd\"; done; echo \"$closed\" >{}",
        seen.display()
    );
    for (redirection, closed) in [
        ("", ""),
        ("<&-", "0"),
        (">&-", "1"),
        ("2>&-", "2"),
        ("<&- >&- 2>&-", "012"),
    ] {
        let kinject = kinject_run::<&str>(shared_sandbox(), &[], &shell(&look));
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec \"$@\" {redirection}"), "sh"])
            .arg(kinject.get_program())
            .args(kinject.get_args());
        run(&mut command).succeeded();
        assert_eq!(
            fs::read_to_string(&seen).unwrap(),
            format!("{closed}\n"),
            "{redirection}"
        );
    }
}

#[test]
fn invalid_command_line_exits_125() {
    for arguments in [
        &["run", "--no-such-flag", "--", "true"][..],
        &["run"],
        &["run", "--transport", "pigeon", "--", "true"],
        &["run", "--agent", "unix:/x", "--", "true"],
        &["no-such-command"],
        &["rnu", "--", "true"],
        &["-n", "held"],
        &["version", "now"],
        &[],
    ] {
        let mut command = kinject_tests::apart::kinject();
        let outcome = run(command.args(arguments));
        outcome.exited(125);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(
            lines.len() == 3
                && lines[0].starts_with("kinject: ")
                && lines[1].is_empty()
                && lines[2].starts_with("hint: "),
            "{outcome}"
        );
    }
}

#[test]
fn help_and_version_exit_0() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["version"],
        &["run", "--help"],
        &["shell", "-h"],
    ] {
        let mut command = kinject_tests::apart::kinject();
        let outcome = run(command.args(arguments));
        outcome.succeeded();
        assert!(
            !outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{outcome}"
        );
    }
}

#[test]
fn options_before_the_subcommand_apply_to_it() {
    let testbed = shared_sandbox();
    let mut command = kinject_tests::apart::kinject();
    command
        .args(testbed.flags())
        .args(["-q", "--on-static=ignore", "run", "sh", "-c"])
        .arg("echo $KINJECT_ON_STATIC; getent hosts web");
    run(&mut command)
        .succeeded()
        .prints("ignore\n10.96.10.1      web.default.svc.cluster.local\n");
}

#[test]
fn script_is_run_by_its_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("a script");
    fs::write(&script, "#!/bin/sh\ngetent hosts web | cut -d' ' -f1\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    kinject(&Program::new(&script)).exited(3).prints("10.96.10.1\n");
}

#[test]
fn program_is_searched_in_path_as_a_shell_does() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tool"), "not this one, it is no program").unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("tool"), "#!/bin/sh\necho this one\n").unwrap();
    fs::set_permissions(tools.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = kinject_run::<&str>(shared_sandbox(), &[], &Program::new("tool"));
    let path = format!("{}:{}:/usr/bin:/bin", folder.path().display(), tools.display());
    run(command.env("PATH", path)).succeeded().prints("this one\n");
}

#[test]
fn static_program_runs_and_keeps_its_status() {
    kinject(&static_c("quiet"))
        .exited(7)
        .prints("linked statically\n");
}
