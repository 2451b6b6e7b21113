//! What programs pay for being in a session without using it: the start of a program, and connects that stay local.

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
    let mut ways = vec![(Setup::Direct, Variables::new())];
    match missing() {
        None => ways.push((Setup::Torsocks, ssh::torsocks(folder.path())?)),
        Some(packages) => results.skip("exec with torsocks", &format!("not installed: {packages}")),
    }
    ways.push((Setup::Kinject, session.variables().clone()));

    let environments = folder.path().join("environments");
    let named: BTreeMap<&str, &Variables> = ways
        .iter()
        .map(|(way, variables)| (way.name(), variables))
        .collect();
    fs::write(&environments, serde_json::to_vec(&named)?).context("writing the environments")?;
    let places: Vec<(Setup, LoadGenerator)> = ways
        .iter()
        .map(|(way, variables)| {
            let place = LoadGenerator::preloaded(&programs.load(), tied, variables.clone());
            (*way, place)
        })
        .collect();
    let bare = LoadGenerator::bare(&programs.load(), tied);
    for round in 1..=effort.rounds {
        results.round(PART, round, effort.rounds)?;
        results.check_interrupt()?;
        let count = (effort.execs / effort.rounds).to_string();
        let taken = bare.run(&["exec", "--count", &count, "--environments", text(&environments)?])?;
        for (way, _) in &places {
            results.add(PART, Figure::Exec, *way, number(&taken[way.name()], "median_us")?);
        }
        for (way, place) in &places {
            results.check_interrupt()?;
            let taken = place.run(&["local", "--count", &effort.connects.to_string()])?;
            results.add(
                PART,
                Figure::LoopbackConnect,
                *way,
                number(&taken, "loopback_us")?,
            );
            results.add(PART, Figure::UnixConnect, *way, number(&taken, "unix_us")?);
            // torsocks forbids datagram sockets, which are among them
            if *way == Setup::Torsocks {
                continue;
            }
            results.check_interrupt()?;
            let taken = place.run(&["hooks", "--count", &effort.hooks.to_string()])?;
            for (figure, key) in HOOKS {
                results.add(PART, figure, *way, number(&taken, key)?);
            }
        }
    }
    session.finish()
}
