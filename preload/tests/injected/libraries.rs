//! Calls of the dynamic linker: dlopen(3), dlsym(3), dlerror(3).

use crate::program::{Program, compiled_with, library, run};
use crate::relay::Relay;
use crate::script::Script;
use std::path::Path;

/// The arguments of `looked_up_functions`.
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

/// The lines without that of the connect, which needs a relay.
fn lookups(output: &str) -> Vec<&str> {
    let lookups = output
        .lines()
        .filter(|line| !line.starts_with("connect by the handle"));
    lookups.collect()
}

#[test]
fn function_looked_up_by_librarys_handle_is_the_one_called_by_name() {
    let (relay, arguments) = (Relay::start(), arguments());
    let injected = Program::injected(&relay, "looked_up_functions", &words(&arguments)).output();
    let bare = Program::bare("looked_up_functions", &words(&arguments))
        .offline()
        .output();
    assert_eq!(lookups(&injected), lookups(&bare));
    assert!(injected.contains("libc connect: as called\n"), "{injected}");
    assert!(injected.contains("connect by the handle: 0\n"), "{injected}");
    let connected = format!("connect 10.96.10.3:{}", arguments[1]);
    assert!(relay.requests().contains(&connected), "{:?}", relay.requests());
}

#[test]
fn lookup_by_handle_outside_of_session_returns_librarys_own_function() {
    let arguments = arguments();
    let output = Program::bare("looked_up_functions", &words(&arguments))
        .env("LD_PRELOAD", library())
        .offline()
        .output();
    assert!(output.contains("libc connect: another one\n"), "{output}");
    assert!(output.contains("libc close: as called\n"), "{output}");
}

/// The error of the program's own dlopen(3) is returned by dlerror(3) after lookups that need libidn2.
#[test]
fn dlerror_is_kept_during_lookups_with_and_without_libidn2() {
    let relay = Relay::start();
    // the dynamic linker finds this file first, and cannot load it
    let without = tempfile::tempdir().unwrap();
    std::fs::write(without.path().join("libidn2.so.0"), "").unwrap();
    let error = "/nonexistent/library.so: cannot open shared object file: No such file or directory";
    for (folder, name, encoded) in [
        (Path::new(""), "b\u{fc}cher.test", -2),
        (without.path(), "xn--bcher-kva.test", -105),
    ] {
        let output = Program::injected(&relay, "pending_dlerror", &["10.96.10.90", "bookshop"])
            .env("LC_ALL", "C.UTF-8")
            .env("LD_LIBRARY_PATH", folder)
            .output();
        let expected = [error, "no error"].map(|error| {
            format!(
                "getnameinfo: 0 {name}, {error}\ncanonical: 0 {name}, {error}\nencoded: {encoded} , {error}\n"
            )
        });
        assert_eq!(output, expected.concat());
    }
}

/// The hooks look libc's functions up at their first calls.
#[test]
fn dlerror_is_kept_during_first_calls_of_hooks() {
    let (relay, arguments) = (Relay::start(), arguments());
    let output = Program::injected(&relay, "looked_up_functions", &words(&arguments)).output();
    let line = "after open, read and write: /nonexistent/library.so: cannot open shared object file";
    assert!(output.starts_with(line), "{output}");
}

/// A library in a namespace of its own calls libc's functions there, without hooks.
#[test]
fn library_opened_in_new_namespace_is_reported() {
    let relay = Relay::start();
    let network = compiled_with("network_library", &["-shared", "-fPIC"]);
    let local = compiled_with("own_connect", &["-shared", "-fPIC"]);
    for (library, is_reported) in [(&network, true), (&local, false)] {
        let path = library.to_str().expect("plain");
        for (namespace, is_new) in [("new", true), ("own", false)] {
            let before = relay.requests().len();
            let output = Program::injected(&relay, "namespace", &[namespace, path]).output();
            assert_eq!(output, "opened\n");
            let line = format!("outside Namespace {path}");
            let reported = relay.requests().split_off(before);
            assert_eq!(
                reported.contains(&line),
                is_reported && is_new,
                "{path} {namespace}: {reported:?}"
            );
        }
    }
    let ignored = Program::injected(&relay, "namespace", &["new", network.to_str().expect("plain")]);
    let before = relay.requests().len();
    assert_eq!(ignored.env("KINJECT_ON_STATIC", "ignore").output(), "opened\n");
    assert_eq!(relay.requests().len(), before);
}

/// What `dlsym_by_handle` prints of one name.
fn lines_for(name: &str, dlsym: &str, dlvsym: &str, next: &str) -> String {
    format!(
        "dlsym {name}: {dlsym}\ndlvsym {name}: {dlvsym}\ndlvsym of no version {name}: none, with an error\n\
         next {name}: {next}\n"
    )
}

#[test]
fn dlsym_by_handle_of_libc_returns_hook() {
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
        let expected: String = names.map(|name| lines_for(name, "same", "same", "same")).concat();
        assert_eq!(run(&relay, "dlsym_by_handle", &arguments), expected, "{handle}");
    }
}

#[test]
fn dlsym_by_handle_of_library_that_depends_on_libc_returns_hook() {
    let relay = Relay::start();
    for library in ["libresolv.so.2", "libm.so.6"] {
        let output = run(&relay, "dlsym_by_handle", &[library, "connect"]);
        assert_eq!(output, lines_for("connect", "same", "same", "same"), "{library}");
    }
}

#[test]
fn dlsym_of_name_without_hook_returns_libcs_result() {
    let relay = Relay::start();
    let arguments = ["libc.so.6", "strlen", "getpid", "no_such_function"];
    assert_eq!(
        run(&relay, "dlsym_by_handle", &arguments),
        Program::bare("dlsym_by_handle", &arguments).output()
    );
}

#[test]
fn dlsym_outside_of_session_returns_libcs_function() {
    let relay = Relay::start();
    let output = Program::injected(&relay, "dlsym_by_handle", &["libc.so.6", "connect"])
        .env("KINJECT_SOCKET", "")
        .output();
    assert_eq!(output, lines_for("connect", "other", "other", "same"));
}

#[test]
fn library_preloaded_after_ours_gets_libcs_function() {
    let relay = Relay::start();
    for flags in [
        &["-shared", "-fPIC"][..],
        &["-shared", "-fPIC", "-DBY_SECOND_NAME"],
    ] {
        let behind = compiled_with("preloaded_after", flags);
        let preload = format!("{}:{}", library().display(), behind.display());
        let injected =
            Program::injected(&relay, "connect_local", &["10.9.9.9", "7005"]).env("LD_PRELOAD", preload);
        let bare = Program::bare("connect_local", &["10.9.9.9", "7005"]).env("LD_PRELOAD", &behind);
        let (injected, bare) = (injected.output(), bare.output());
        assert!(
            injected.contains("behind\n") && bare.contains("behind\n"),
            "{injected}"
        );
        // a hook may call the next function more than once
        assert_eq!(injected.replace("behind\n", ""), bare.replace("behind\n", ""));
    }
}

/// libc exports `__connect` for `connect`, `_IO_fopen` for `fopen`, and others.
#[test]
fn functions_called_by_second_names_in_libc_are_in_session() {
    let relay = Relay::start();
    let text = "search default.svc.cluster.local\nnameserver 10.96.0.10\n";
    std::fs::write(relay.socket().with_file_name("resolv.conf"), text).unwrap();
    let [port, refusing] =
        [Script::Connect, Script::ProgressThenRefuse].map(|script| script.port().to_string());
    let output = run(&relay, "second_names", &["10.96.10.3", &port, &refusing]);
    let expected = format!(
        "__connect: 0\npeer: 10.96.10.3:{port}\n__read: welcome\n\
         __connect: EINPROGRESS, __read: ECONNREFUSED\n\
         __connect: EINPROGRESS, __write: ECONNREFUSED\n\
         __connect: EINPROGRESS, __send: ECONNREFUSED\n\
         __open: search default.svc.cluster.local\n__open64: search default.svc.cluster.local\n\
         _IO_fopen: search default.svc.cluster.local\n_IO_popen: 0123abcd\n"
    );
    assert_eq!(output, expected);
}
