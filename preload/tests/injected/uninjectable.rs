//! Programs into which the library is not loaded: they are reported before they start, whatever function starts them.

use crate::exec_functions;
use crate::program::{Program, compiled_with, library};
use crate::relay::Relay;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The functions by which `start` starts a program.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    exec_functions::all().chain(["execveat-empty"])
}

fn uninjectable() -> PathBuf {
    compiled_with("uninjectable", &["-static"])
}

/// The arguments of `start` for this file.
fn arguments<'a>(function: &'a str, file: &'a Path) -> [&'a str; 3] {
    let text =
        |text: Option<&'a std::ffi::OsStr>| text.and_then(std::ffi::OsStr::to_str).expect("plain names");
    [
        function,
        text(file.parent().map(Path::as_os_str)),
        text(file.file_name()),
    ]
}

fn start(relay: &Relay, function: &str, file: &Path) -> Program {
    Program::injected(relay, "start", &arguments(function, file))
}

#[test]
fn static_program_started_by_any_function_is_reported_and_runs() {
    let file = uninjectable();
    for function in functions() {
        let relay = Relay::start();
        assert_eq!(start(&relay, function, &file).output(), "said\n", "{function}");
        let reported = relay.requests();
        let [line] = &reported[..] else {
            panic!("{function}: {reported:?}")
        };
        assert!(line.starts_with("outside Static "), "{line}");
        assert!(line.ends_with("uninjectable-static"), "{line}");
    }
}

#[test]
fn static_program_with_fail_policy_returns_elibacc() {
    let (relay, file) = (Relay::start(), uninjectable());
    for function in functions() {
        let program = start(&relay, function, &file).env("KINJECT_ON_STATIC", "fail");
        let name = function.trim_end_matches("-empty");
        let output = program.output();
        assert_eq!(output.replace("-empty", ""), format!("{name}: ELIBACC\n"));
    }
    let reported = relay.requests();
    assert_eq!(reported.len(), functions().count());
    assert!(
        reported.iter().all(|line| line.starts_with("refused Static ")),
        "{reported:?}"
    );
}

#[test]
fn static_program_with_fail_policy_and_no_relay_returns_elibacc() {
    let file = uninjectable();
    let program = Program::with_socket(Path::new("/nonexistent"), "start", &arguments("execve", &file));
    assert_eq!(
        program.env("KINJECT_ON_STATIC", "fail").output(),
        "execve: ELIBACC\n"
    );
}

#[test]
fn static_program_with_ignore_policy_or_outside_of_session_is_not_reported() {
    let (relay, file) = (Relay::start(), uninjectable());
    for function in functions() {
        let ignored = start(&relay, function, &file).env("KINJECT_ON_STATIC", "ignore");
        assert_eq!(ignored.output(), "said\n", "{function}");
        let left = start(&relay, function, &file)
            .env("KINJECT_SOCKET", "")
            .env("KINJECT_ON_STATIC", "fail");
        assert_eq!(left.output(), "said\n", "{function}");
        let outside = Program::bare("start", &arguments(function, &file)).env("LD_PRELOAD", library());
        assert_eq!(outside.output(), "said\n", "{function}");
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn injectable_program_is_not_reported() {
    let (relay, file) = (Relay::start(), compiled_with("uninjectable", &[]));
    for function in functions() {
        assert_eq!(start(&relay, function, &file).output(), "said\n", "{function}");
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}

/// The library's path in a program that has changed its root directory or its mounts.
const MISSING_LIBRARY: &str = "/nonexistent/libkinject_preload.so";

#[test]
fn program_that_will_not_find_the_library_is_reported_and_runs() {
    let file = compiled_with("uninjectable", &[]);
    for function in functions() {
        let relay = Relay::start();
        let program = start(&relay, function, &file).env("KINJECT_LIBRARY", MISSING_LIBRARY);
        assert_eq!(program.output(), "said\n", "{function}");
        let reported = relay.requests();
        assert_eq!(reported.len(), 1, "{function}: {reported:?}");
        assert!(reported[0].starts_with("outside Hidden "), "{reported:?}");
    }
}

#[test]
fn program_that_will_not_find_the_library_with_fail_policy_returns_elibacc() {
    let (relay, file) = (Relay::start(), compiled_with("uninjectable", &[]));
    let program = || {
        start(&relay, "execve", &file)
            .env("KINJECT_LIBRARY", MISSING_LIBRARY)
            .env("KINJECT_ON_STATIC", "fail")
    };
    assert_eq!(program().output(), "execve: ELIBACC\n");
    assert!(relay.take_requests()[0].starts_with("refused Hidden "));
    // in another network namespace no program is in the session, so none leaves it
    assert_eq!(program().offline().output(), "said\n");
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn script_with_static_interpreter_is_reported() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for (script, interpreter) in [(&second, uninjectable()), (&first, second.clone())] {
        fs::write(script, format!("#!{} by-script\n", interpreter.display())).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for function in ["execve", "execvp", "posix_spawn"] {
        let output = start(&relay, function, &first).output();
        assert!(output.starts_with("by-script\n"), "{output}");
    }
    let reported = relay.requests();
    assert_eq!(reported.len(), 3, "{reported:?}");
    assert!(
        reported.iter().all(|line| line.ends_with("uninjectable-static")),
        "{reported:?}"
    );
}

#[test]
fn invalid_path_pointer_fails_as_in_kernel() {
    let relay = Relay::start();
    for function in ["execve", "execveat", "posix_spawn", "execv"] {
        let args = [function];
        let output = Program::injected(&relay, "invalid_path", &args).output();
        assert_eq!(
            output,
            Program::bare("invalid_path", &args).output(),
            "{function}"
        );
    }
}
