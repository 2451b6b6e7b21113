//! `.ci/run` executes a download only if its checksum matches.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run");
    std::fs::read_to_string(path).unwrap()
}

/// The lines of the script's function `fetch`.
fn fetch() -> String {
    let script = script();
    let begin = script.find("\nfetch() {\n").unwrap();
    let length = script[begin..].find("\n}\n").unwrap();
    script[begin..begin + length + 3].to_owned()
}

/// Runs `fetch` with a download that is "hello" and this checksum; returns its output, the file's path, and its folder.
fn fetched(checksum: &str) -> (Output, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    // the last argument but one is the file
    let curl = r#"curl() { printf hello >"${@: -2:1}"; }"#;
    let line = format!(
        "set -euo pipefail\n{curl}\n{}\nfetch https://a.test/file \"$1\" \"$2\"\necho ran",
        fetch()
    );
    let output = Command::new("bash")
        .args(["-c", &line, "fetch", checksum])
        .arg(&file)
        .output();
    (output.unwrap(), file, folder)
}

#[test]
fn download_with_a_wrong_checksum_is_removed_and_stops_the_script() {
    let (output, file, _folder) = fetched("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert!(output.status.success() && file.exists(), "{output:?}");
    assert_eq!(output.stdout, b"ran\n");
    for wrong in [
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9825",
        "2cf2",
        "",
    ] {
        let (output, file, _folder) = fetched(wrong);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!file.exists() && output.stdout.is_empty(), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("https://a.test/file is not the file with the SHA-256 checksum"),
            "{stderr}"
        );
    }
}

#[test]
fn every_ci_download_is_checked_against_its_checksum() {
    let around = script().replace(&fetch(), "");
    for command in ["curl -", "wget -", "| sh", "| bash", "| tar"] {
        assert!(!around.contains(command), "{command}");
    }
    let versions = around.lines().filter(|line| line.contains("_sha256=")).count();
    assert_eq!(around.matches("\n    fetch ").count(), versions);
}
