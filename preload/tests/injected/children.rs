//! The exec family, and what becomes of a session when a program changes its environment.

use crate::program::{Program, library, run};
use crate::relay::Relay;
use crate::script::Script;
use std::collections::BTreeMap;

const FUNCTIONS: [&str; 12] = [
    "execve",
    "execv",
    "execvp",
    "execvpe",
    "execl",
    "execlp",
    "execle",
    "fexecve",
    "execveat",
    "posix_spawn",
    "posix_spawnp",
    "vfork",
];

/// Those of them that take an environment.
const WITH_ENVIRONMENT: [&str; 8] = [
    "execve",
    "execvpe",
    "execle",
    "fexecve",
    "execveat",
    "posix_spawn",
    "posix_spawnp",
    "vfork",
];

/// What a child prints.
fn parse(said: &str) -> BTreeMap<&str, &str> {
    said.lines()
        .filter_map(|line| line.split_once('=').or_else(|| line.split_once(": ")))
        .collect()
}

fn assert_in_session(said: &str, relay: &Relay) {
    let child = parse(said);
    assert_eq!(child["arguments"], "one two three", "{said}");
    assert_eq!(
        child["KINJECT_SOCKET"],
        relay.socket().to_str().unwrap(),
        "{said}"
    );
    assert_eq!(child["KINJECT_CONTROL"], relay.control(), "{said}");
    assert_eq!(child["KINJECT_LIBRARY"], library().to_str().unwrap(), "{said}");
    assert_eq!(child["KINJECT_SESSION"], "0123abcd", "{said}");
    assert_eq!(child["KINJECT_TARGET"], "context/namespace", "{said}");
    assert!(
        child["LD_PRELOAD"].ends_with(library().to_str().unwrap()),
        "{said}"
    );
}

#[test]
fn a_child_with_its_parents_environment_is_in_the_session() {
    let relay = Relay::start();
    for function in FUNCTIONS {
        assert_in_session(&run(&relay, "exec_family", &[function, "own"]), &relay);
    }
}

#[test]
fn a_child_of_a_program_that_cleared_its_environment_is_in_the_session() {
    let relay = Relay::start();
    for function in FUNCTIONS {
        assert_in_session(&run(&relay, "exec_family", &[function, "cleared"]), &relay);
    }
}

/// The first variable of several that are long leaves little of the library's own room, and none suffices for the others.
#[test]
fn variables_of_any_length_are_kept() {
    let relay = Relay::start();
    for length in [400, 3_000, 20_000] {
        let (session, target) = ("s".repeat(length), "t".repeat(length));
        let said = Program::injected(&relay, "exec_family", &["execve", "cleared"])
            .env("KINJECT_SESSION", &session)
            .env("KINJECT_TARGET", &target)
            .output();
        let child = parse(&said);
        assert_eq!(child["KINJECT_SESSION"], session, "{said}");
        assert_eq!(child["KINJECT_TARGET"], target, "{said}");
        assert_eq!(
            child["KINJECT_SOCKET"],
            relay.socket().to_str().unwrap(),
            "{said}"
        );
    }
}

/// libc starts the shell by itself, with the environment that the program left.
#[test]
fn a_shell_that_libc_starts_for_a_program_that_cleared_its_environment_is_in_the_session() {
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
fn a_child_with_an_environment_of_its_own_keeps_it_and_is_in_the_session() {
    let relay = Relay::start();
    for function in WITH_ENVIRONMENT {
        for (environment, entries) in [
            ("empty", 6),
            ("null", 6),
            ("other", 7),
            ("preload", 7),
            ("large", 5006),
        ] {
            let said = run(&relay, "exec_family", &[function, environment]);
            assert_in_session(&said, &relay);
            let child = parse(&said);
            assert_eq!(
                child["entries"],
                entries.to_string(),
                "{function} {environment}: {said}"
            );
            assert_eq!(
                child.contains_key("OTHER"),
                matches!(environment, "other" | "preload"),
                "{said}"
            );
            if environment == "preload" {
                assert_eq!(
                    child["LD_PRELOAD"],
                    format!("libm.so.6:{}", library().display()),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn a_library_that_is_preloaded_already_stays_and_comes_first() {
    let relay = Relay::start();
    let both = format!("libm.so.6 {}", library().display());
    let said = Program::injected(&relay, "exec_family", &["execve", "own"])
        .env("LD_PRELOAD", &both)
        .output();
    assert_in_session(&said, &relay);
    assert_eq!(parse(&said)["LD_PRELOAD"], both);
    let longer = format!("libm.so.6:{}", "x".repeat(2000));
    let said = Program::injected(&relay, "exec_family", &["execve", "own"])
        .env("LD_PRELOAD", format!("{}:{longer}", library().display()))
        .output();
    assert!(parse(&said)["LD_PRELOAD"].ends_with(&longer), "{said}");
}

#[test]
fn an_empty_socket_variable_leaves_the_session() {
    let relay = Relay::start();
    for function in WITH_ENVIRONMENT {
        let said = run(&relay, "exec_family", &[function, "left"]);
        assert_eq!(parse(&said)["entries"], "1", "{function}: {said}");
        assert_eq!(parse(&said)["KINJECT_SOCKET"], "", "{function}: {said}");
    }
    for environment in ["empty", "other", "cleared"] {
        let program =
            Program::injected(&relay, "exec_family", &["execve", environment]).env("KINJECT_SOCKET", "");
        assert!(!program.output().contains("KINJECT_LIBRARY"), "{environment}");
    }
}

#[test]
fn children_of_programs_outside_of_a_session_are_left_alone() {
    for function in FUNCTIONS {
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
fn a_wild_environment_is_the_kernels_to_refuse() {
    let relay = Relay::start();
    for function in WITH_ENVIRONMENT {
        let args = [function, "wild"];
        assert_eq!(
            run(&relay, "exec_family", &args),
            Program::bare("exec_family", &args).output(),
            "{function}"
        );
    }
}

#[test]
fn a_shell_and_env_with_no_environment_stay_in_the_session() {
    let relay = Relay::start();
    let program = crate::program::compiled("connect_blocking");
    let line = format!("exec /usr/bin/env -i {} 10.96.10.3 2000", program.display());
    let said = Program::injected(&relay, "connect_blocking", &[])
        .under("/bin/sh", &["-c", &line])
        .output();
    assert!(said.starts_with("connect: 0\n"), "{said}");
}

#[test]
fn a_program_stays_in_its_session_whatever_it_does_to_its_environment() {
    let relay = Relay::start();
    let said = run(
        &relay,
        "environment",
        &["10.96.10.3", &Script::Connect.port().to_string()],
    );
    let expected = "as started: 0\nunset: 0\nset to another: 0\nset to nothing: 0\nset again: 0\ncleared: 0\nnull: 0\noverwritten: 0\ngone: 0\n";
    assert_eq!(said, expected);
}

/// A mapping that a child leaves behind is its parent's, and two that meet are shown as one: so what grows is memory.
#[test]
fn large_environments_of_vfork_children_leave_a_bounded_amount_of_memory() {
    let relay = Relay::start();
    for threads in ["1", "4"] {
        assert_eq!(run(&relay, "vfork_storm", &["100", threads]), "grew by 0 KiB\n");
    }
}
