//! Agents that are not what `cargo xtask agent` has packed: changed on the way, or for other machines.

use std::fs;
use std::path::Path;

use kinject_tests::carried::{agent, architecture, install};
use kinject_tests::running::{Outcome, run_within};
use tempfile::TempDir;

use crate::namespace::{PAUSE_IMAGE, SECONDS, TestNamespace};

/// kinject with one agent beside it, which is a test's own.
pub(crate) struct Agents {
    pub(crate) architecture: &'static str,
    installation: TempDir,
    _agents: TempDir,
}

impl Agents {
    /// A copy of the packed agent after a change to the files in its folder.
    pub(crate) fn of_this_machine(change: impl FnOnce(&Path)) -> Self {
        Self::new(architecture(), change)
    }

    /// The packed agent, as if it were one for other machines.
    pub(crate) fn of_another_architecture() -> Self {
        let other = match architecture() {
            "amd64" => "arm64",
            _ => "amd64",
        };
        Self::new(other, |_| {})
    }

    fn new(architecture: &'static str, change: impl FnOnce(&Path)) -> Self {
        let packed = agent().unwrap();
        let agents = tempfile::tempdir().unwrap();
        let folder = agents.path().join(architecture);
        fs::create_dir(&folder).unwrap();
        for name in ["loader", "agent.xz", "agent.sha256"] {
            fs::copy(packed.join(name), folder.join(name)).unwrap();
        }
        change(&folder);
        Self {
            architecture,
            installation: install(agents.path()),
            _agents: agents,
        }
    }

    /// The kinject that carries it.
    pub(crate) fn kinject(&self) -> std::path::PathBuf {
        self.installation.path().join("kinject")
    }

    /// `kinject run` of what asks a service, to its end.
    pub(crate) fn ask(&self, namespace: &TestNamespace, flags: &[&str]) -> Outcome {
        run_within(&mut namespace.command_by(&self.kinject(), flags), SECONDS)
    }
}

#[test]
fn altered_or_truncated_part_in_the_cluster_is_not_started() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 2] = [
        ("it is not started", |packed| {
            let middle = packed.len() / 2;
            packed[middle] ^= 1;
        }),
        ("damaged or not complete", |packed| {
            packed.truncate(packed.len() - 100)
        }),
    ];
    for (words, damage) in damage {
        let agents = Agents::of_this_machine(|agent| {
            let mut packed = fs::read(agent.join("agent.xz")).unwrap();
            damage(&mut packed);
            fs::write(agent.join("agent.xz"), packed).unwrap();
        });
        let outcome = agents.ask(&namespace, &["--host-image", PAUSE_IMAGE]);
        outcome
            .exited(125)
            .complains("kinject-loader: error: the ")
            .complains(words);
        namespace.is_clean();
    }
}
