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
fn the_library_holds_no_panic_machinery_and_no_thread_local() {
    assert!(!tool("nm", &["-C"]).contains("panicking"));
    let sections = tool("readelf", &["-SW"]);
    assert!(
        !sections.contains(".tdata") && !sections.contains(".tbss"),
        "there is thread-local data"
    );
}
