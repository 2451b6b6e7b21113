//! Describes the relay and its agents for `kinject version`, and writes the answers of a relay that serves no session.

use crate::cluster;
use anyhow::Context;
use kinject_bundle::CarriedAgent;
use kinject_protocol::description::{AgentDescription, RelayAnswer, RelayDescription};
use kinject_protocol::session::from_line;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// Writes the description to standard output, as one line of JSON.
pub(crate) fn print() -> anyhow::Result<()> {
    let agents = carried_agents()?;
    let description = RelayDescription {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wire: kinject_tunnel::WIRE_VERSION,
        agents: agents.iter().map(describe).collect(),
    };
    answer(&description)
}

/// The agents that this relay has, in its executable or beside it.
pub(crate) fn carried_agents() -> anyhow::Result<Vec<CarriedAgent>> {
    let executable = std::env::current_exe().context("cannot find the relay's own file")?;
    Ok(kinject_bundle::carried_agents(
        executable.parent().unwrap_or(Path::new("/")),
    )?)
}

/// Answers with the objects that a session with this target, which is JSON, makes; with all their bytes if asked to.
pub(crate) fn manifest(target: &OsStr, with_data: bool) -> anyhow::Result<()> {
    let target = target.to_str().context("the target is not UTF-8")?;
    let target = from_line(target).context("cannot understand the target")?;
    answer(&match cluster::preview::yaml(&target, with_data) {
        Ok(text) => RelayAnswer::Done(text),
        Err(failure) => RelayAnswer::Failed(failure.into()),
    })
}

/// Answers the launcher with one line of JSON.
pub(crate) fn answer(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value).context("cannot write the answer")?;
    line.push(b'\n');
    std::io::stdout()
        .write_all(&line)
        .context("cannot write to standard output")
}

fn describe(agent: &CarriedAgent) -> AgentDescription {
    AgentDescription {
        architecture: agent.architecture.kubernetes_name().to_owned(),
        sha256: kinject_bundle::hex(&agent.sha256),
        packed_size: agent.packed.len() as u64,
        loader_size: agent.loader.len() as u64,
    }
}
