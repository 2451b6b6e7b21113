//! Every test that a document names exists.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The documents, below the workspace's folder.
const DOCUMENTS: [&str; 2] = ["docs/invariants.md", "docs/security.md"];

fn workspace() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names in backquotes that look like names of tests: lower-case words joined by two underscores or more.
fn named(document: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace().join(document)).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| {
            word.matches('_').count() >= 2 && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        })
        .filter(|word| word.chars().all(|c| !c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

/// All functions of the workspace's own Rust files.
fn functions() -> BTreeSet<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let files = String::from_utf8(listed.stdout).unwrap();
    let files = files
        .lines()
        .map(|file| workspace().join(file))
        .filter(|file| file.is_file());
    let texts = files.map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            text.split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = functions();
    for document in DOCUMENTS {
        let named = named(document);
        assert!(named.len() > 20, "{document} names no tests");
        let missing: Vec<_> = named.difference(&functions).collect();
        assert!(missing.is_empty(), "{document} names {missing:?}");
    }
}
