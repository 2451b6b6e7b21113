//! Lookups in the sandbox: bare in the pod's network, and by a session's program.

use std::process::Command;

use anyhow::Result;

use super::Effort;
use super::figures::{Figure, Part, Results, Setup};
use super::helper::tied;
use super::load::LoadGenerator;
use super::programs::{Programs, text};

const PART: Part = Part::Names;
/// Names of pods by their addresses end in this; the dot keeps the search list out.
const PODS: &str = "default.pod.cluster.local.";
const NAME: &str = "web.default.svc.cluster.local.";

/// A session with the sandbox's agent.
const IN_SESSION: &str = r#"exec "$0" run --quiet --agent "unix:$KINJECT_SANDBOX_SOCKET" --agent-key "$KINJECT_SANDBOX_KEY" -- "$@""#;

/// Runs the part, which needs no privilege.
pub(crate) fn run(programs: &Programs, effort: &Effort, results: &mut Results) -> Result<()> {
    let (sandbox, agent, launcher) = (programs.samples(), programs.agent(), programs.launcher());
    let (sandbox, agent, launcher) = (text(&sandbox)?, text(&agent)?, text(&launcher)?);
    let up = || -> Command {
        let mut command = tied(sandbox);
        command.args(["up", "--agent", agent, "--"]);
        command
    };
    let bare = |program: &str| {
        let mut command = up();
        command.args([sandbox, "enter", "--", program]);
        command
    };
    let injected = |program: &str| {
        let mut command = up();
        command.args(["sh", "-c", IN_SESSION, launcher, program]);
        command
    };
    let load = programs.load();
    let setups = [
        (Setup::Direct, LoadGenerator::bare(&load, bare)),
        (Setup::Kinject, LoadGenerator::bare(&load, injected)),
    ];
    let count = effort.lookups.to_string();
    let fresh = ["lookup", PODS, "--fresh", "--count", &count];
    let again = ["lookup", NAME, "--count", &count];
    for round in 1..=effort.rounds {
        results.round(PART, round, effort.rounds)?;
        for (setup, generator) in &setups {
            results.measure((PART, Figure::FreshLookup, *setup), || {
                generator.number(&fresh, "median_us")
            })?;
            results.measure((PART, Figure::Lookup, *setup), || {
                generator.number(&again, "median_us")
            })?;
        }
    }
    Ok(())
}
