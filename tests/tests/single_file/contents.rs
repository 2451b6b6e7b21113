//! What the executable holds, and that it needs nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use kinject_tests::apart;
use kinject_tests::running::run;
use kinject_tests::testbed::shared_sandbox;
use serde_json::Value;

use crate::home::{ASK, Home, library};

#[test]
fn session_needs_no_other_file() {
    let Some(home) = Home::new() else { return };
    let outcome = run(&mut home.command());
    let library = library(&outcome);
    outcome.shows(" kinject-relay\n");
    assert!(outcome.stderr.is_empty(), "{outcome}");
    assert!(library.starts_with(home.path("cache/kinject")), "{outcome}");
    let beside: Vec<_> = fs::read_dir(home.path("bin")).unwrap().collect();
    assert_eq!(beside.len(), 1);
}

/// As where kinject is updated between the launcher's start and that of its relay.
#[test]
fn relay_is_the_launchers_own_file_after_that_was_replaced() {
    let Some(home) = Home::new() else { return };
    let replace =
        r#"exec 9<"$0" && rm "$0" && echo 'exit 99' >"$0" && chmod +x "$0" && exec /proc/self/fd/9 "$@""#;
    let mut command = apart::command("sh");
    command
        .args(["-c", replace])
        .arg(&home.kinject)
        .arg("run")
        .args(shared_sandbox().flags())
        .args(["--", "sh", "-c", ASK]);
    home.surround(&mut command);
    run(&mut command)
        .succeeded()
        .shows(" kinject-relay\n")
        .shows("hello from web\n");
}

#[test]
fn version_as_json_names_the_parts_in_the_file() {
    let Some(home) = Home::new() else { return };
    let unpacked = library(&run(&mut home.command()));
    let outcome = run(Command::new(&home.kinject).args(["version", "--output", "json"]));
    let version: Value = serde_json::from_str(&outcome.succeeded().stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["wire"], kinject_tunnel::WIRE_VERSION);
    assert_eq!(
        version["kinject"]["path"],
        home.path("bin/kinject").to_str().unwrap()
    );
    assert_eq!(
        version["kinject"]["size"],
        fs::metadata(&home.kinject).unwrap().len()
    );
    assert_eq!(version["relay"]["sha256"], version["kinject"]["sha256"]);
    assert_eq!(version["relay"]["version"], version["version"]);
    let libraries = version["libraries"].as_array().unwrap();
    let glibcs: Vec<_> = libraries.iter().map(|library| &library["glibc"]).collect();
    assert_eq!(glibcs, ["2.34", "2.17"]);
    let hash = unpacked
        .parent()
        .and_then(Path::file_name)
        .unwrap()
        .to_str()
        .unwrap();
    let used = libraries
        .iter()
        .find(|library| library["sha256"] == hash)
        .unwrap();
    assert_eq!(used["size"], fs::metadata(&unpacked).unwrap().len());
    assert!(used["path"].is_null());
    assert_ne!(libraries[0]["sha256"], libraries[1]["sha256"]);
    let agents = version["agents"].as_array().unwrap();
    let architectures: Vec<_> = agents.iter().map(|agent| &agent["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
}

#[test]
fn agents_in_the_file_can_be_saved_as_images_and_shown_as_manifest() {
    let Some(home) = Home::new() else { return };
    let kinject = |arguments: &[&str]| run(Command::new(&home.kinject).args(arguments));
    let outcome = kinject(&["version", "--output", "json"]);
    let version: Value = serde_json::from_str(&outcome.succeeded().stdout).unwrap();
    let image = home.path("agent.tar");
    for agent in version["agents"].as_array().unwrap() {
        let architecture = agent["architecture"].as_str().unwrap();
        let (file, name) = (image.to_str().unwrap(), ["--architecture", architecture]);
        kinject(&[&["agent", "image", "save", file][..], &name[..]].concat()).succeeded();
        let hash = r#"tar -xOf "$0" "$(tar -tf "$0" | grep '[.]tar$')" | tar -xO kinject-agent | sha256sum"#;
        let outcome = run(Command::new("sh").args(["-c", hash]).arg(&image));
        outcome.succeeded().shows(agent["sha256"].as_str().unwrap());
    }
    let manifest = kinject(&["agent", "manifest", "--host-image", "busybox:1"]);
    manifest
        .succeeded()
        .shows("kind: ConfigMap\n")
        .shows("image: busybox:1\n");
}
