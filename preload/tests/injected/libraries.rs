//! What programs ask of the dynamic linker itself.

use crate::program::{Program, compiled_with, library};
use crate::relay::Relay;
use crate::script::Script;

/// The arguments of `asked_functions`.
fn arguments() -> [String; 3] {
    let own = compiled_with("own_connect", &["-shared", "-fPIC"]);
    let port = Script::Connect.port().to_string();
    [
        "10.96.10.3".to_owned(),
        port,
        own.to_str().expect("plain").to_owned(),
    ]
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// What stands before the connect, which only a relay carries.
fn answers(said: &str) -> Vec<&str> {
    let answers = said
        .lines()
        .filter(|line| !line.starts_with("connect by the handle"));
    answers.collect()
}

#[test]
fn functions_that_are_asked_for_by_a_librarys_handle_are_those_that_are_called_by_name() {
    let (relay, arguments) = (Relay::start(), arguments());
    let injected = Program::injected(&relay, "asked_functions", &words(&arguments)).output();
    let bare = Program::bare("asked_functions", &words(&arguments))
        .offline()
        .output();
    assert_eq!(answers(&injected), answers(&bare));
    assert!(injected.contains("libc connect: as called\n"), "{injected}");
    assert!(injected.contains("connect by the handle: 0\n"), "{injected}");
    let connected = format!("connect 10.96.10.3:{}", arguments[1]);
    assert!(relay.asked().contains(&connected), "{:?}", relay.asked());
}

#[test]
fn without_a_session_a_librarys_handle_gives_the_librarys_own_functions() {
    let arguments = arguments();
    let said = Program::bare("asked_functions", &words(&arguments))
        .env("LD_PRELOAD", library())
        .offline()
        .output();
    assert!(said.contains("libc connect: another one\n"), "{said}");
    assert!(said.contains("libc close: as called\n"), "{said}");
}

/// Looking up libc's functions for the first time leaves dlerror(3) alone.
#[test]
fn an_error_of_the_dynamic_linker_waits_for_its_program_whatever_is_called_meanwhile() {
    let (relay, arguments) = (Relay::start(), arguments());
    let said = Program::injected(&relay, "asked_functions", &words(&arguments)).output();
    let line = "after open, read and write: /nonexistent/library.so: cannot open shared object file";
    assert!(said.starts_with(line), "{said}");
}

/// What a namespace of its own has is libc's alone.
#[test]
fn a_library_that_is_opened_in_a_namespace_of_its_own_is_told_of() {
    let relay = Relay::start();
    let uses_network = compiled_with("speaking_library", &["-shared", "-fPIC"]);
    let quiet = compiled_with("own_connect", &["-shared", "-fPIC"]);
    for (library, is_told) in [(&uses_network, true), (&quiet, false)] {
        let path = library.to_str().expect("plain");
        for (namespace, is_new) in [("new", true), ("own", false)] {
            let before = relay.asked().len();
            let said = Program::injected(&relay, "namespace", &[namespace, path]).output();
            assert_eq!(said, "opened\n");
            let line = format!("outside Namespace {path}");
            let told = relay.asked().split_off(before);
            assert_eq!(
                told.contains(&line),
                is_told && is_new,
                "{path} {namespace}: {told:?}"
            );
        }
    }
    let ignored = Program::injected(
        &relay,
        "namespace",
        &["new", uses_network.to_str().expect("plain")],
    );
    let before = relay.asked().len();
    assert_eq!(ignored.env("KINJECT_ON_STATIC", "ignore").output(), "opened\n");
    assert_eq!(relay.asked().len(), before);
}
