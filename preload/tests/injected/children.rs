//! The exec family, and the session of programs that change their environment.

use crate::exec_functions;
use crate::program::{Program, library, run};
use crate::relay::Relay;
use crate::script::Script;
use std::collections::BTreeMap;

/// The variables that a child prints.
fn parse(output: &str) -> BTreeMap<&str, &str> {
    output
        .lines()
        .filter_map(|line| line.split_once('=').or_else(|| line.split_once(": ")))
        .collect()
}

fn assert_in_session(output: &str, relay: &Relay) {
    let child = parse(output);
    assert_eq!(child["arguments"], "one two three", "{output}");
    assert_eq!(
        child["KINJECT_SOCKET"],
        relay.socket().to_str().unwrap(),
        "{output}"
    );
    assert_eq!(child["KINJECT_CONTROL"], relay.control(), "{output}");
    assert_eq!(child["KINJECT_LIBRARY"], library().to_str().unwrap(), "{output}");
    assert_eq!(child["KINJECT_SESSION"], "0123abcd", "{output}");
    assert_eq!(child["KINJECT_TARGET"], "context/namespace", "{output}");
    assert!(
        child["LD_PRELOAD"].ends_with(library().to_str().unwrap()),
        "{output}"
    );
}

#[test]
fn child_with_parents_environment_is_in_session() {
    let relay = Relay::start();
    for function in exec_functions::all() {
        assert_in_session(&run(&relay, "exec_family", &[function, "own"]), &relay);
    }
}

#[test]
fn child_of_program_with_cleared_environment_is_in_session() {
    let relay = Relay::start();
    for function in exec_functions::all() {
        assert_in_session(&run(&relay, "exec_family", &[function, "cleared"]), &relay);
    }
}

/// Variables that do not fit into the library's buffer get memory of their own.
#[test]
fn session_variables_of_any_length_are_passed_to_child() {
    let relay = Relay::start();
    for length in [400, 3_000, 20_000] {
        let (session, target) = ("s".repeat(length), "t".repeat(length));
        let output = Program::injected(&relay, "exec_family", &["execve", "cleared"])
            .env("KINJECT_SESSION", &session)
            .env("KINJECT_TARGET", &target)
            .output();
        let child = parse(&output);
        assert_eq!(child["KINJECT_SESSION"], session, "{output}");
        assert_eq!(child["KINJECT_TARGET"], target, "{output}");
        assert_eq!(
            child["KINJECT_SOCKET"],
            relay.socket().to_str().unwrap(),
            "{output}"
        );
    }
}

/// libc starts the shell without a hook, with the program's own environment.
#[test]
fn shell_of_system_or_popen_after_clearenv_is_in_session() {
    let relay = Relay::start();
    for function in ["system", "popen"] {
        for environment in ["own", "cleared"] {
            assert_in_session(&run(&relay, "exec_family", &[function, environment]), &relay);
        }
        let args = [function, "cleared"];
        let left = Program::injected(&relay, "exec_family", &args).env("KINJECT_SOCKET", "");
        assert!(!left.output().contains("KINJECT_LIBRARY"), "{function}");
        let outside = Program::bare("exec_family", &args).env("LD_PRELOAD", library());
        assert!(!outside.output().contains("LD_PRELOAD"), "{function}");
    }
}

#[test]
fn child_with_own_environment_keeps_it_and_is_in_session() {
    let relay = Relay::start();
    for function in exec_functions::that_take_environment() {
        for (environment, entries) in [
            ("empty", 6),
            ("null", 6),
            ("other", 7),
            ("preload", 7),
            ("large", 5006),
        ] {
            let output = run(&relay, "exec_family", &[function, environment]);
            assert_in_session(&output, &relay);
            let child = parse(&output);
            assert_eq!(
                child["entries"],
                entries.to_string(),
                "{function} {environment}: {output}"
            );
            assert_eq!(
                child.contains_key("OTHER"),
                matches!(environment, "other" | "preload"),
                "{output}"
            );
            if environment == "preload" {
                assert_eq!(
                    child["LD_PRELOAD"],
                    format!("libm.so.6:{}", library().display()),
                    "{output}"
                );
            }
        }
    }
}

#[test]
fn library_of_the_users_ld_preload_stays_in_front_of_ours() {
    let relay = Relay::start();
    let both = format!("libm.so.6 {}", library().display());
    let output = Program::injected(&relay, "exec_family", &["execve", "own"])
        .env("LD_PRELOAD", &both)
        .output();
    assert_in_session(&output, &relay);
    assert_eq!(parse(&output)["LD_PRELOAD"], both);
    let longer = format!("libm.so.6:{}", "x".repeat(2000));
    let output = Program::injected(&relay, "exec_family", &["execve", "own"])
        .env("LD_PRELOAD", format!("{}:{longer}", library().display()))
        .output();
    assert!(parse(&output)["LD_PRELOAD"].ends_with(&longer), "{output}");
}

#[test]
fn empty_socket_variable_takes_child_out_of_session() {
    let relay = Relay::start();
    for function in exec_functions::that_take_environment() {
        let output = run(&relay, "exec_family", &[function, "left"]);
        assert_eq!(parse(&output)["entries"], "1", "{function}: {output}");
        assert_eq!(parse(&output)["KINJECT_SOCKET"], "", "{function}: {output}");
    }
    for environment in ["empty", "other", "cleared"] {
        let program =
            Program::injected(&relay, "exec_family", &["execve", environment]).env("KINJECT_SOCKET", "");
        assert!(!program.output().contains("KINJECT_LIBRARY"), "{environment}");
    }
}

#[test]
fn child_outside_of_session_gets_environment_unchanged() {
    for function in exec_functions::all() {
        for environment in ["own", "cleared", "empty", "null", "other", "preload", "large"] {
            let args = [function, environment];
            let injected = Program::bare("exec_family", &args)
                .env("LD_PRELOAD", library())
                .env("OTHER", "2")
                .output();
            let bare = Program::bare("exec_family", &args)
                .env("LD_PRELOAD", "libm.so.6")
                .env("OTHER", "2")
                .output();
            let library = library();
            let injected = injected.replace(&*library.to_string_lossy(), "libm.so.6");
            assert_eq!(injected, bare, "{args:?}");
        }
    }
}

#[test]
fn invalid_environment_pointer_fails_as_in_kernel() {
    let relay = Relay::start();
    for function in exec_functions::that_take_environment() {
        let args = [function, "wild"];
        assert_eq!(
            run(&relay, "exec_family", &args),
            Program::bare("exec_family", &args).output(),
            "{function}"
        );
    }
}

#[test]
fn env_without_environment_starts_program_in_session() {
    let relay = Relay::start();
    let program = crate::program::compiled("connect_blocking");
    let line = format!("exec /usr/bin/env -i {} 10.96.10.3 2000", program.display());
    let output = Program::injected(&relay, "connect_blocking", &[])
        .under("/bin/sh", &["-c", &line])
        .output();
    assert!(output.starts_with("connect: 0\n"), "{output}");
}

#[test]
fn program_that_changes_its_environment_stays_in_session() {
    let relay = Relay::start();
    let output = run(
        &relay,
        "environment",
        &["10.96.10.3", &Script::Connect.port().to_string()],
    );
    let expected = "as started: 0\nunset: 0\nset to another: 0\nset to nothing: 0\nset again: 0\ncleared: 0\n\
                    null: 0\noverwritten: 0\ngone: 0\n";
    assert_eq!(output, expected);
}

/// A mapping that a child leaks stays in its parent's memory; the sizes are compared, as the kernel merges adjacent
/// mappings.
#[test]
fn vfork_children_with_large_environments_leak_no_memory() {
    let relay = Relay::start();
    for threads in ["1", "4"] {
        assert_eq!(run(&relay, "vfork_storm", &["100", threads]), "grew by 0 KiB\n");
    }
}
