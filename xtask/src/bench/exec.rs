//! The overhead for programs in a session that do not use it: program start, and connects that stay local.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::Effort;
use super::agent::Agent;
use super::direct::missing;
use super::figures::{Figure, Part, Results, Setup};
use super::helper::tied;
use super::load::{LoadGenerator, Variables, number};
use super::programs::{Programs, text};
use super::ssh;

const PART: Part = Part::Exec;

/// Calls that hooks pass through, as the load generator names them.
const HOOKS: [(Figure, &str); 7] = [
    (Figure::GetSockOpt, "getsockopt_ns"),
    (Figure::GetPeerName, "getpeername_ns"),
    (Figure::SendTo, "sendto_ns"),
    (Figure::SendToHeap, "sendto_heap_ns"),
    (Figure::ReceiveFrom, "recvfrom_ns"),
    (Figure::Open, "open_ns"),
    (Figure::Status, "stat_ns"),
];

/// Runs the part. Its session is with an agent on this machine, so it needs no privilege.
pub(crate) fn run(programs: &Programs, effort: &Effort, results: &mut Results) -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let endpoint = format!("unix:{}", text(&folder.path().join("agent.sock"))?);
    let agent = Agent::start(programs, endpoint, folder.path(), tied)?;
    let session = agent.session(programs, tied)?;
    let mut setups = vec![(Setup::Direct, Variables::new())];
    match missing() {
        None => setups.push((Setup::Torsocks, ssh::torsocks(folder.path())?)),
        Some(packages) => results.skip("exec with torsocks", &format!("not installed: {packages}")),
    }
    setups.push((Setup::Kinject, session.variables().clone()));

    let environments = folder.path().join("environments");
    let named: BTreeMap<&str, &Variables> = setups
        .iter()
        .map(|(setup, variables)| (setup.name(), variables))
        .collect();
    fs::write(&environments, serde_json::to_vec(&named)?).context("writing the environments")?;
    let generators: Vec<(Setup, LoadGenerator)> = setups
        .iter()
        .map(|(setup, variables)| {
            let generator = LoadGenerator::preloaded(&programs.load(), tied, variables.clone());
            (*setup, generator)
        })
        .collect();
    let bare = LoadGenerator::bare(&programs.load(), tied);
    for round in 1..=effort.rounds {
        results.round(PART, round, effort.rounds)?;
        results.check_interrupt()?;
        let count = (effort.execs / effort.rounds).to_string();
        let taken = bare.run(&["exec", "--count", &count, "--environments", text(&environments)?])?;
        for (setup, _) in &generators {
            results.add(
                PART,
                Figure::Exec,
                *setup,
                number(&taken[setup.name()], "median_us")?,
            );
        }
        for (setup, generator) in &generators {
            results.check_interrupt()?;
            let taken = generator.run(&["local", "--count", &effort.connects.to_string()])?;
            results.add(
                PART,
                Figure::LoopbackConnect,
                *setup,
                number(&taken, "loopback_us")?,
            );
            results.add(PART, Figure::UnixConnect, *setup, number(&taken, "unix_us")?);
            // torsocks forbids datagram sockets, which are among them
            if *setup == Setup::Torsocks {
                continue;
            }
            results.check_interrupt()?;
            let taken = generator.run(&["hooks", "--count", &effort.hooks.to_string()])?;
            for (figure, key) in HOOKS {
                results.add(PART, figure, *setup, number(&taken, key)?);
            }
        }
    }
    session.finish()
}
