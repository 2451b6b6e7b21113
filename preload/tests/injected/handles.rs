//! Functions that a program looks up by the handle of a library (dlsym(3)).

use crate::program::{Program, compiled_with, library, run};
use crate::relay::Relay;

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
    let behind = compiled_with("behind", &["-shared", "-fPIC"]);
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
