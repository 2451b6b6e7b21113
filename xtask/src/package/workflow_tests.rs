//! The release workflow: what builds the packages, with code of all dependencies, must not be able to publish.

use std::collections::BTreeMap;
use std::fs;

use crate::workspace;

fn workflow() -> String {
    fs::read_to_string(workspace::root().join(".github/workflows/release.yml")).unwrap()
}

/// The jobs' texts by their names: jobs are the entries below `jobs:` that are indented by two spaces.
fn jobs(workflow: &str) -> BTreeMap<&str, String> {
    let (_, listed) = workflow.split_once("\njobs:\n").unwrap();
    let mut jobs: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = None;
    for line in listed.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(name) if !name.starts_with(' ') => current = Some(name),
            _ => {
                let text = jobs.entry(current.unwrap()).or_default();
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    jobs
}

#[test]
fn job_with_a_token_that_may_write_runs_nothing_of_the_repository() {
    let workflow = workflow();
    let (head, _) = workflow.split_once("\njobs:\n").unwrap();
    assert!(head.contains("\npermissions: {}\n"), "{head}");
    let jobs = jobs(&workflow);
    let may_write = |text: &&String| text.contains(": write");
    assert_eq!(jobs.values().filter(may_write).count(), 1);
    for (name, text) in &jobs {
        assert!(text.contains("    permissions:\n"), "{name}");
        if may_write(&text) {
            for word in ["actions/checkout", "cargo", "rustup", "sudo", "apt-get"] {
                assert!(!text.contains(word), "{name} has {word}");
            }
        } else {
            for word in ["github.token", "secrets."] {
                assert!(!text.contains(word), "{name} has {word}");
            }
            assert!(text.contains("persist-credentials: false"), "{name}");
        }
    }
}

#[test]
fn every_action_is_pinned_by_the_hash_of_its_commit() {
    let workflow = workflow();
    let actions: Vec<&str> = workflow
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("uses: "))
        .collect();
    assert!(actions.len() >= 3, "{actions:?}");
    for action in actions {
        let (_, commit) = action.split_once('@').unwrap();
        let (hash, version) = commit.split_once(" # v").unwrap();
        let is_hash = hash.len() == 40 && hash.chars().all(|digit| digit.is_ascii_hexdigit());
        assert!(is_hash && !version.is_empty(), "{action}");
    }
}
