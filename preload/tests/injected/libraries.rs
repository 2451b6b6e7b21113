//! What programs ask of the dynamic linker itself.

use crate::program::{Program, compiled_with, library, run};
use crate::relay::Relay;
use crate::script::Script;
use std::path::Path;

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

/// What dlerror(3) has to say, before and after lookups that need libidn2, is the program's own.
#[test]
fn an_error_of_the_dynamic_linker_waits_for_its_program_whether_libidn2_is_there_or_not() {
    let relay = Relay::start();
    // what the dynamic linker finds first, and cannot load
    let without = tempfile::tempdir().unwrap();
    std::fs::write(without.path().join("libidn2.so.0"), "").unwrap();
    let error = "/nonexistent/library.so: cannot open shared object file: No such file or directory";
    for (folder, name, encoded) in [
        (Path::new(""), "b\u{fc}cher.test", -2),
        (without.path(), "xn--bcher-kva.test", -105),
    ] {
        let said = Program::injected(&relay, "unread_error", &["10.96.10.90", "bookshop"])
            .env("LC_ALL", "C.UTF-8")
            .env("LD_LIBRARY_PATH", folder)
            .output();
        let expected = [error, "no error"].map(|error| {
            format!(
                "getnameinfo: 0 {name}, {error}\ncanonical: 0 {name}, {error}\nencoded: {encoded} , {error}\n"
            )
        });
        assert_eq!(said, expected.concat());
    }
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

/// What `by_handle` says of one name.
fn told(name: &str, dlsym: &str, dlvsym: &str, next: &str) -> String {
    format!(
        "dlsym {name}: {dlsym}\ndlvsym {name}: {dlvsym}\ndlvsym of no version {name}: none, with an error\nnext {name}: {next}\n"
    )
}

#[test]
fn dlsym_by_a_handle_of_libc_gives_the_hook() {
    let relay = Relay::start();
    let names = [
        "connect",
        "getaddrinfo",
        "gethostbyname",
        "execve",
        "sendto",
        "open64",
        "dlsym",
    ];
    for handle in ["libc.so.6", "-"] {
        let arguments: Vec<_> = [handle].into_iter().chain(names).collect();
        let expected: String = names.map(|name| told(name, "same", "same", "same")).concat();
        assert_eq!(run(&relay, "by_handle", &arguments), expected, "{handle}");
    }
}

#[test]
fn dlsym_by_a_handle_of_a_library_that_depends_on_libc_gives_the_hook() {
    let relay = Relay::start();
    for library in ["libresolv.so.2", "libm.so.6"] {
        let said = run(&relay, "by_handle", &[library, "connect"]);
        assert_eq!(said, told("connect", "same", "same", "same"), "{library}");
    }
}

#[test]
fn dlsym_gives_what_has_no_hook_and_what_does_not_exist_as_libc_does() {
    let relay = Relay::start();
    let arguments = ["libc.so.6", "strlen", "getpid", "no_such_function"];
    assert_eq!(
        run(&relay, "by_handle", &arguments),
        Program::bare("by_handle", &arguments).output()
    );
}

#[test]
fn dlsym_outside_of_a_session_gives_libcs_own_function() {
    let relay = Relay::start();
    let said = Program::injected(&relay, "by_handle", &["libc.so.6", "connect"])
        .env("KINJECT_SOCKET", "")
        .output();
    assert_eq!(said, told("connect", "other", "other", "same"));
}

#[test]
fn a_preloaded_library_behind_ours_that_asks_libc_for_its_own_function_gets_libcs() {
    let relay = Relay::start();
    for flags in [
        &["-shared", "-fPIC"][..],
        &["-shared", "-fPIC", "-DBY_SECOND_NAME"],
    ] {
        let behind = compiled_with("behind", flags);
        let preload = format!("{}:{}", library().display(), behind.display());
        let injected =
            Program::injected(&relay, "connect_local", &["10.9.9.9", "7005"]).env("LD_PRELOAD", preload);
        let bare = Program::bare("connect_local", &["10.9.9.9", "7005"]).env("LD_PRELOAD", &behind);
        let (injected, bare) = (injected.output(), bare.output());
        assert!(
            injected.contains("behind\n") && bare.contains("behind\n"),
            "{injected}"
        );
        // a hook may call what stands behind it more than once
        assert_eq!(injected.replace("behind\n", ""), bare.replace("behind\n", ""));
    }
}

/// libc has `__connect` for `connect`, `_IO_fopen` for `fopen`, and so on.
#[test]
fn functions_of_libc_that_are_called_by_their_second_names_are_in_the_session() {
    let relay = Relay::start();
    let text = "search default.svc.cluster.local\nnameserver 10.96.0.10\n";
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let [port, refusing] =
        [Script::Connect, Script::ProgressThenRefuse].map(|script| script.port().to_string());
    let said = run(&relay, "second_names", &["10.96.10.3", &port, &refusing]);
    let expected = format!(
        "__connect: 0\npeer: 10.96.10.3:{port}\n__read: welcome\n\
         __connect: EINPROGRESS, __read: ECONNREFUSED\n\
         __connect: EINPROGRESS, __write: ECONNREFUSED\n\
         __connect: EINPROGRESS, __send: ECONNREFUSED\n\
         __open: search default.svc.cluster.local\n__open64: search default.svc.cluster.local\n\
         _IO_fopen: search default.svc.cluster.local\n_IO_popen: 0123abcd\n"
    );
    assert_eq!(said, expected);
}
