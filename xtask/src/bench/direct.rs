//! The direct transport between two network namespaces, beside the bare link and torsocks with `ssh -D`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Effort;
use super::agent::Agent;
use super::figures::{Figure, Part, Results, Setup};
use super::helper::Helper;
use super::load::{LoadGenerator, number};
use super::namespaces::{SERVER, Wire};
use super::programs::{Programs, installed, text};
use super::session::{Session, resident_kib};
use super::ssh::{self, Ssh};
use crate::process;

const PART: Part = Part::Direct;
const AGENT_PORT: u16 = 7800;
const COUNTER_PORT: u16 = 7801;
const IDLE: &str = "2000";
/// How long resident memory may take to become stable.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it has to be unchanged to count as stable.
const SETTLED: Duration = Duration::from_millis(1500);

/// Runs the part.
pub(crate) fn run(programs: &Programs, effort: &Effort, results: &mut Results) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        results.skip(PART.title(), "network namespaces need root");
        return Ok(());
    }
    let folder = tempfile::tempdir().context("making a folder")?;
    let wire = Wire::new()?;
    let _samples = samples(programs, &wire)?;
    let _counter = counter(programs, &wire)?;
    let endpoint = format!("tcp:{SERVER}:{AGENT_PORT}");
    let agent = Agent::start(programs, endpoint, folder.path(), |program| {
        wire.server.command(program)
    })?;
    let enter = |program: &str| wire.client.command(program);
    let session = agent.session(programs, enter)?;
    let mut setups = vec![(Setup::Direct, LoadGenerator::bare(&programs.load(), enter))];
    let _ssh = match missing() {
        None => {
            let mut ssh = Ssh::start(&wire, folder.path())?;
            let generator = LoadGenerator::preloaded(&programs.load(), enter, ssh.variables().clone());
            ssh.wait(&generator, &echo())?;
            setups.push((Setup::Torsocks, generator));
            Some(ssh)
        }
        Some(packages) => {
            results.skip(Setup::Torsocks.name(), &format!("not installed: {packages}"));
            None
        }
    };
    let variables = session.variables().clone();
    setups.push((
        Setup::Kinject,
        LoadGenerator::preloaded(&programs.load(), enter, variables),
    ));

    for round in 1..=effort.rounds {
        results.round(PART, round, effort.rounds)?;
        for (figure, arguments, key) in loads(effort) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            for (setup, generator) in &setups {
                results.measure((PART, figure, *setup), || generator.number(&arguments, key))?;
            }
        }
        for (figure, load, port, key) in DATAGRAMS {
            let address = format!("{SERVER}:{port}");
            let seconds = effort.seconds.to_string();
            // torsocks does not carry datagrams
            for (setup, generator) in setups.iter().filter(|(setup, _)| *setup != Setup::Torsocks) {
                results.measure((PART, figure, *setup), || {
                    generator.number(&[load, &address, "--seconds", &seconds], key)
                })?;
            }
        }
    }
    results.measure((PART, Figure::StreamsMemory, Setup::Kinject), || {
        let generator = setups.last().map(|(_, generator)| generator).context("no way")?;
        generator.run(&["download", &source(), "--streams", "64"])?;
        Ok(settled(session.relay())? * 1024.0 / 1e6)
    })?;
    session.finish()?;

    eprintln!("{}: idle connections", PART.title());
    results.check_interrupt()?;
    let session = agent.session(programs, enter)?;
    results.add(
        PART,
        Figure::Start,
        Setup::Kinject,
        session.started_in().as_secs_f64(),
    );
    let generator = LoadGenerator::preloaded(&programs.load(), enter, session.variables().clone());
    match idle(&session, &generator) {
        Ok(idle) => {
            results.add(PART, Figure::IdleErrors, Setup::Kinject, idle.errors);
            results.add(
                PART,
                Figure::RelayMemory,
                Setup::Kinject,
                idle.resident_kib * 1024.0 / 1e6,
            );
            results.add(PART, Figure::IdleMemory, Setup::Kinject, idle.each_kib);
        }
        Err(error) => {
            results.check_interrupt()?;
            results.fail(format!("{}: {error:#}", Figure::IdleErrors.name()));
        }
    }
    session.finish()
}

/// The datagram figures of a round: the load, the service's port, and the key of the result.
const DATAGRAMS: [(Figure, &str, u16, &str); 2] = [
    (Figure::DatagramEcho, "udp-echo", 7000, "median_us"),
    (Figure::DatagramsLost, "udp-send", COUNTER_PORT, "lost"),
];

/// The figures of a round: the load's arguments, and the key of the result.
fn loads(effort: &Effort) -> [(Figure, Vec<String>, &'static str); 6] {
    let address = |port: u16| format!("{SERVER}:{port}");
    let timed = |load: &str, port, more: &[&str]| {
        let mut arguments = vec![load.to_owned(), address(port), "--seconds".to_owned()];
        arguments.push(effort.seconds.to_string());
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    };
    const RATE: &str = "mb_per_second";
    [
        (Figure::Connect, timed("connect", 7000, &[]), "per_second"),
        (Figure::RoundTrip, timed("round-trip", 7000, &[]), "median_us"),
        (Figure::Download, timed("download", 7002, &[]), RATE),
        (Figure::Upload, timed("upload", 7003, &[]), RATE),
        (
            Figure::Streams,
            timed("download", 7002, &["--streams", "64"]),
            RATE,
        ),
        (Figure::StalledCost, timed("stalled", 7002, &[]), "cost_percent"),
    ]
}

/// The first missing package of the torsocks setup, if any.
pub(crate) fn missing() -> Option<String> {
    let mut packages: Vec<&str> = ssh::PROGRAMS
        .iter()
        .filter(|(program, _)| !installed(program))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    (!packages.is_empty()).then(|| packages.join(", "))
}

fn echo() -> String {
    format!("{SERVER}:7000")
}

fn source() -> String {
    format!("{SERVER}:7002")
}

/// The services, on the server's side.
fn samples(programs: &Programs, wire: &Wire) -> Result<Helper> {
    let program = programs.samples();
    let mut command = wire.server.command(text(&program)?);
    let mut samples = Helper::start("the sample services", command.args(["serve", "--name", "bench"]))?;
    // It prints its addresses once it listens.
    samples.line()?;
    Ok(samples)
}

/// The counter of datagrams, on the server's side.
fn counter(programs: &Programs, wire: &Wire) -> Result<Helper> {
    let program = programs.load();
    let mut command = wire.server.command(text(&program)?);
    let mut counter = Helper::start(
        "the counter of datagrams",
        command.args(["udp-count", &COUNTER_PORT.to_string()]),
    )?;
    counter.line()?;
    Ok(counter)
}

struct Idle {
    resident_kib: f64,
    each_kib: f64,
    errors: f64,
}

/// A relay's resident memory at first, and what many idle connections add.
fn idle(session: &Session, generator: &LoadGenerator) -> Result<Idle> {
    // The pages that the first connection touches belong to the relay's baseline.
    generator.run(&["connect", &echo(), "--seconds", "0.2"])?;
    let resident_kib = settled(session.relay())?;
    let mut load = generator.start("idle connections", &["idle", &echo(), "--count", IDLE])?;
    let open: Value = serde_json::from_str(&load.line()?)?;
    let full_kib = settled(session.relay())?;
    load.tell("use them\n")?;
    let used: Value = serde_json::from_str(&load.line()?)?;
    load.finish()?;
    if let Some(error) = used["first_error"].as_str() {
        eprintln!("  the first error: {error}");
    }
    Ok(Idle {
        resident_kib,
        each_kib: (full_kib - resident_kib) / number(&open, "open")?,
        errors: number(&used, "errors")?,
    })
}

/// Resident memory, once it is stable.
fn settled(pid: u32) -> Result<f64> {
    let (mut before, mut since) = (0.0, Instant::now());
    process::wait_for("memory that stays the same", SETTLE, || {
        let now = resident_kib(pid)?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
        Ok((since.elapsed() >= SETTLED).then_some(now))
    })
}
