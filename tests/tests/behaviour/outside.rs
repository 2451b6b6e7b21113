//! `kinject outside`: a command in a session that runs as if there were no session.

use std::fs;
use std::process::Command;

use kinject_tests::apart;
use kinject_tests::binaries;
use kinject_tests::programs::{Program, c, folder, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

const ANSWER: &str = "10.96.10.1      web.default.svc.cluster.local\n";

/// A line of a shell in a session, where `outside` is `kinject outside --`.
fn in_session(line: &str) -> Outcome {
    in_session_with(&[], line)
}

fn in_session_with(flags: &[&str], line: &str) -> Outcome {
    let kinject = binaries::kinject();
    let line = format!(
        "outside() {{ '{}' outside -- \"$@\"; }}; {line}",
        kinject.display()
    );
    run(&mut kinject_run(shared_sandbox(), flags, &shell(&line)))
}

#[test]
fn cluster_name_resolves_in_the_session_and_not_outside() {
    in_session("outside getent hosts web; echo $?; getent hosts web")
        .succeeded()
        .prints(&format!("2\n{ANSWER}"));
}

#[test]
fn children_of_an_outside_command_are_outside() {
    for way in [
        "getent hosts web",
        "env -i getent hosts web",
        "sh -c 'getent hosts web'",
        "setsid -w getent hosts web",
    ] {
        in_session(&format!("outside sh -c \"{way}; echo \\$?\""))
            .succeeded()
            .prints("2\n");
    }
    let escapes = c("escapes");
    for way in ["execve-without", "posix_spawn", "system", "vfork"] {
        let line = format!(
            "outside {} {way} /usr/bin/getent hosts web",
            escapes.path.display()
        );
        in_session(&line).exited(2).prints("");
    }
}

#[test]
fn outside_command_has_the_environment_of_kinject_run() {
    let line = "env | sort";
    let bare = run(apart::command("sh").args(["-c", line]))
        .succeeded()
        .stdout
        .clone();
    // PWD and the like are the shells' own
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("_=") && !line.starts_with("SHLVL="));
        lines.map(str::to_owned).collect()
    };
    let outcome = in_session_with(&["--on-static", "ignore"], &format!("outside sh -c '{line}'"));
    assert_eq!(plain(&outcome.succeeded().stdout), plain(&bare));
}

#[test]
fn outside_command_loads_other_preloads_but_not_the_session_library() {
    let library = binaries::folder().join("test-programs/preloaded-outside.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &folder().join("preloaded.c")])
        .status();
    assert!(compiled.unwrap().success());
    let kinject = binaries::kinject();
    let line = format!(
        "'{}' outside -- sh -c 'echo $LD_PRELOAD; grep -c libkinject_preload /proc/self/maps'",
        kinject.display()
    );
    let injected = kinject_run::<&str>(shared_sandbox(), &[], &shell(&line));
    let mut command = Command::new("env");
    command
        .arg(format!("LD_PRELOAD={}", library.display()))
        .arg(injected.get_program())
        .args(injected.get_args());
    run(&mut command)
        .exited(1)
        .shows("the other library is here\n")
        .shows(&format!("{}\n", library.display()))
        .shows("\n0\n");
}

#[test]
fn kinject_outside_without_a_session_runs_the_command() {
    let kinject = |arguments: &[&str]| {
        let mut command = Command::new(binaries::kinject());
        command.arg("outside").args(arguments);
        run(&mut command)
    };
    kinject(&["echo", "--", "-n"]).succeeded().prints("-- -n\n");
    kinject(&["--", "sh", "-c", "exit 7"]).exited(7);
    kinject(&["no-such-program-anywhere"])
        .exited(127)
        .complains("kinject: error: no-such-program-anywhere: command not found\n\nhint: ");
    kinject(&["/etc/passwd"])
        .exited(126)
        .complains("permission denied");
    kinject(&[])
        .exited(125)
        .complains("kinject: error: no program given\n\nhint: ");
}

#[test]
fn kinject_outside_exits_with_the_statuses_of_env() {
    in_session("outside sh -c 'exit 7'; echo $?; outside no-such-program-anywhere; echo $?; outside /etc/passwd; echo $?")
        .succeeded()
        .prints("7\n127\n126\n");
    in_session("outside sh -c 'kill -TERM $$'; echo $?")
        .succeeded()
        .prints("143\n");
}

#[test]
fn static_program_outside_is_neither_named_nor_refused() {
    let program = kinject_tests::programs::static_c("quiet");
    let outcome = in_session_with(
        &["--on-static", "fail"],
        &format!("outside {}", program.path.display()),
    );
    outcome.exited(7).prints("linked statically\n");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn closed_standard_descriptor_stays_closed_outside() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let look = format!(
        "for fd in 0 1 2; do test -e /proc/$$/fd/$fd || closed=\"$closed$fd\"; done; echo \"$closed\" >{}",
        seen.display()
    );
    let script = folder.path().join("look");
    fs::write(&script, look).unwrap();
    in_session(&format!("outside sh {} <&- 2>&-", script.display())).succeeded();
    assert_eq!(fs::read_to_string(&seen).unwrap(), "02\n");
}

#[test]
fn exported_prompt_loses_the_session_mark_outside() {
    for (prompt, left) in [("$ ", ""), ("mine> ", "mine> \n")] {
        let line = format!("export PS1=\"[kinject $KINJECT_TARGET] {prompt}\"; outside printenv PS1; exit 0");
        in_session(&line).succeeded().prints(left);
    }
}

/// A nested session is started from outside of the outer one: neither kinject nor its relay are in it.
#[test]
fn inner_session_and_its_relay_are_outside_the_outer_session() {
    let look = "echo ${KINJECT_ON_STATIC-none}; echo $LD_PRELOAD | tr : '\\n' | wc -l; \
        for p in $PPID $(cat /proc/$PPID/task/*/children); do \
        case $(cat /proc/$p/comm) in kinject*) echo $(cat /proc/$p/comm) $(grep -c libkinject_preload /proc/$p/maps);; esac; done | sort";
    let inner = kinject_run::<&str>(shared_sandbox(), &[], &shell(look));
    let outer = Program::new(inner.get_program()).args(inner.get_args());
    let outcome = run(&mut kinject_run(
        shared_sandbox(),
        &["--on-static", "ignore"],
        &outer,
    ));
    let relay = if kinject_tests::ordinary::may_look_into_relays() {
        "kinject-relay 0\n"
    } else {
        "kinject-relay\n"
    };
    outcome
        .succeeded()
        .prints(&format!("none\n1\nkinject 0\n{relay}"));
}
