//! What the library exports and imports.

use crate::program::built_library;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn tool(name: &str, args: &[&str]) -> String {
    tool_for(name, args, &built_library())
}

fn tool_for(name: &str, args: &[&str], library: &Path) -> String {
    let output = Command::new(name)
        .args(args)
        .arg(library)
        .output()
        .expect("binutils");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("names are ASCII")
}

#[test]
fn library_exports_exactly_the_listed_hooks() {
    let symbols = tool("nm", &["-D", "--defined-only"]);
    let exported: BTreeSet<_> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let listed: BTreeSet<_> = include_str!("../../exports.txt").lines().collect();
    assert_eq!(exported, listed);
}

/// The libc that this process has loaded.
fn libc() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let found = paths.find(|path| path.ends_with("/libc.so.6"));
    PathBuf::from(found.expect("these tests are linked to libc"))
}

/// Programs can be linked with each of these names.
#[test]
fn function_with_hook_is_hooked_under_each_of_its_names_in_libc() {
    let symbols = tool_for("nm", &["-D", "--defined-only", "--with-symbol-versions"], &libc());
    let listed: BTreeSet<_> = include_str!("../../exports.txt").lines().collect();
    let mut names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in symbols.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        // a version that is not the default is for old programs, a private one for libc's own libraries
        if let [address, _, symbol] = words[..]
            && let Some((name, version)) = symbol.split_once("@@")
            && version != "GLIBC_PRIVATE"
        {
            names.entry(address).or_default().insert(name);
        }
    }
    let hooked = names.values().filter(|names| !names.is_disjoint(&listed));
    let hooked: BTreeSet<_> = hooked.flatten().copied().collect();
    assert!(hooked.contains("connect"), "{hooked:?}");
    let missing: Vec<_> = hooked.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn library_depends_on_libc_alone() {
    let dynamic = tool("readelf", &["-d"]);
    let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(
        matches!(needed[..], [only] if only.ends_with("[libc.so.6]")),
        "{needed:?}"
    );
}

#[test]
fn library_contains_no_panic_machinery() {
    assert!(!tool("nm", &["-C"]).contains("panicking"));
}

/// The variable of Go's threads has the initial-exec model, which needs no call.
#[test]
fn library_uses_no_dynamic_thread_local_storage() {
    assert!(!tool("nm", &["-D", "--undefined-only"]).contains("__tls_get_addr"));
    let segments = tool("readelf", &["-lW"]);
    let is_there = segments
        .lines()
        .any(|line| line.split_whitespace().next() == Some("TLS"));
    assert!(!is_there || tool("readelf", &["-dW"]).contains("STATIC_TLS"));
    assert!(!tool("readelf", &["-SW"]).contains(".tdata"));
}
