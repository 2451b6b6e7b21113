//! Programs into which the library is not loaded are told of before they start, by whatever function that is.

use crate::program::{Program, compiled_with, library};
use crate::relay::Relay;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// By which `start` starts a program.
pub(crate) const FUNCTIONS: [&str; 13] = [
    "execve",
    "execv",
    "execvp",
    "execvpe",
    "execl",
    "execlp",
    "execle",
    "fexecve",
    "execveat",
    "execveat-empty",
    "posix_spawn",
    "posix_spawnp",
    "vfork",
];

fn uninjectable() -> PathBuf {
    compiled_with("uninjectable", &["-static"])
}

/// How `start` is told of this file.
fn words<'a>(function: &'a str, file: &'a Path) -> [&'a str; 3] {
    let text =
        |text: Option<&'a std::ffi::OsStr>| text.and_then(std::ffi::OsStr::to_str).expect("plain names");
    [
        function,
        text(file.parent().map(Path::as_os_str)),
        text(file.file_name()),
    ]
}

fn start(relay: &Relay, function: &str, file: &Path) -> Program {
    Program::injected(relay, "start", &words(function, file))
}

#[test]
fn every_function_tells_of_a_static_program_and_starts_it() {
    let file = uninjectable();
    for function in FUNCTIONS {
        let relay = Relay::start();
        assert_eq!(start(&relay, function, &file).output(), "said\n", "{function}");
        let told = relay.asked();
        let [line] = &told[..] else {
            panic!("{function}: {told:?}")
        };
        assert!(line.starts_with("outside Static "), "{line}");
        assert!(line.ends_with("uninjectable-static"), "{line}");
    }
}

#[test]
fn every_function_refuses_a_static_program_where_that_is_asked_for() {
    let (relay, file) = (Relay::start(), uninjectable());
    for function in FUNCTIONS {
        let program = start(&relay, function, &file).env("KINJECT_ON_STATIC", "fail");
        let name = function.trim_end_matches("-empty");
        let said = program.output();
        assert_eq!(said.replace("-empty", ""), format!("{name}: ELIBACC\n"));
    }
    let told = relay.asked();
    assert_eq!(told.len(), FUNCTIONS.len());
    assert!(
        told.iter().all(|line| line.starts_with("refused Static ")),
        "{told:?}"
    );
}

#[test]
fn a_program_is_refused_also_when_there_is_nobody_to_tell() {
    let file = uninjectable();
    let program = Program::with_socket(Path::new("/nonexistent"), "start", &words("execve", &file));
    assert_eq!(
        program.env("KINJECT_ON_STATIC", "fail").output(),
        "execve: ELIBACC\n"
    );
}

#[test]
fn nobody_is_told_where_nobody_cares() {
    let (relay, file) = (Relay::start(), uninjectable());
    for function in FUNCTIONS {
        let ignored = start(&relay, function, &file).env("KINJECT_ON_STATIC", "ignore");
        assert_eq!(ignored.output(), "said\n", "{function}");
        let left = start(&relay, function, &file)
            .env("KINJECT_SOCKET", "")
            .env("KINJECT_ON_STATIC", "fail");
        assert_eq!(left.output(), "said\n", "{function}");
        let outside = Program::bare("start", &words(function, &file)).env("LD_PRELOAD", library());
        assert_eq!(outside.output(), "said\n", "{function}");
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn programs_that_the_session_reaches_into_are_not_told_of() {
    let (relay, file) = (Relay::start(), compiled_with("uninjectable", &[]));
    for function in FUNCTIONS {
        assert_eq!(start(&relay, function, &file).output(), "said\n", "{function}");
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

/// What a program that changes its root directory or its mounts makes of the library's path.
const NOT_SEEN: &str = "/nonexistent/libkinject_preload.so";

#[test]
fn a_program_that_will_not_find_the_library_is_told_of_and_started() {
    let file = compiled_with("uninjectable", &[]);
    for function in FUNCTIONS {
        let relay = Relay::start();
        let program = start(&relay, function, &file).env("KINJECT_LIBRARY", NOT_SEEN);
        assert_eq!(program.output(), "said\n", "{function}");
        let told = relay.asked();
        assert_eq!(told.len(), 1, "{function}: {told:?}");
        assert!(told[0].starts_with("outside Hidden "), "{told:?}");
    }
}

#[test]
fn a_program_that_will_not_find_the_library_is_refused_where_that_is_asked_for_and_it_has_the_sessions_network()
 {
    let (relay, file) = (Relay::start(), compiled_with("uninjectable", &[]));
    let program = || {
        start(&relay, "execve", &file)
            .env("KINJECT_LIBRARY", NOT_SEEN)
            .env("KINJECT_ON_STATIC", "fail")
    };
    assert_eq!(program().output(), "execve: ELIBACC\n");
    assert!(relay.forget_asked()[0].starts_with("refused Hidden "));
    // in another one no program is in the session, and none leaves it
    assert_eq!(program().offline().output(), "said\n");
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn a_script_is_followed_to_its_interpreter() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for (script, interpreter) in [(&second, uninjectable()), (&first, second.clone())] {
        fs::write(script, format!("#!{} by-script\n", interpreter.display())).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for function in ["execve", "execvp", "posix_spawn"] {
        let said = start(&relay, function, &first).output();
        assert!(said.starts_with("by-script\n"), "{said}");
    }
    let told = relay.asked();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().all(|line| line.ends_with("uninjectable-static")),
        "{told:?}"
    );
}

#[test]
fn wild_paths_are_the_kernels_to_refuse() {
    let relay = Relay::start();
    for function in ["execve", "execveat", "posix_spawn", "execv"] {
        let args = [function];
        let said = Program::injected(&relay, "wild_start", &args).output();
        assert_eq!(said, Program::bare("wild_start", &args).output(), "{function}");
    }
}
