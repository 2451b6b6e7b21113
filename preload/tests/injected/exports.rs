//! What the library shows to the dynamic linker.

use crate::program::built_library;
use std::collections::BTreeSet;
use std::process::Command;

fn tool(name: &str, args: &[&str]) -> String {
    let output = Command::new(name)
        .args(args)
        .arg(built_library())
        .output()
        .expect("binutils");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("names are ASCII")
}

#[test]
fn the_library_exports_the_hooks_that_are_listed_and_nothing_else() {
    let symbols = tool("nm", &["-D", "--defined-only"]);
    let exported: BTreeSet<_> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let listed: BTreeSet<_> = include_str!("../../exports.txt").lines().collect();
    assert_eq!(exported, listed);
}

#[test]
fn the_library_needs_libc_alone() {
    let dynamic = tool("readelf", &["-d"]);
    let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(
        matches!(needed[..], [only] if only.ends_with("[libc.so.6]")),
        "{needed:?}"
    );
}

#[test]
fn the_library_holds_no_panic_machinery() {
    assert!(!tool("nm", &["-C"]).contains("panicking"));
}

/// The variable of Go's threads, which is found without a call.
#[test]
fn the_library_has_no_thread_local_that_libc_would_make_room_for_later() {
    assert!(!tool("nm", &["-D", "--undefined-only"]).contains("__tls_get_addr"));
    let segments = tool("readelf", &["-lW"]);
    let is_there = segments
        .lines()
        .any(|line| line.split_whitespace().next() == Some("TLS"));
    assert!(!is_there || tool("readelf", &["-dW"]).contains("STATIC_TLS"));
    assert!(!tool("readelf", &["-SW"]).contains(".tdata"));
}
