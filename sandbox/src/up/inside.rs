//! The inner process: it runs in the sandbox's namespaces, serves the samples and the DNS, and is the agent's parent.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::agent::{Agent, AgentFailure};
use super::plan::Plan;
use super::report::Report;
use crate::dns::{Records, Server};
use crate::netns::{self, Files, Forbidden};
use crate::serve::{Gate, Samples};
use crate::world::{self, Sample};

/// Lives until `outside` is closed at its other end. Returns the status to exit with.
pub(super) fn run(plan: &Plan, outside: UnixStream) -> i32 {
    let outcome = detach().context("cannot leave the terminal").and_then(|()| {
        // Namespaces are left with one thread, so before there is a runtime.
        netns::unshare()?;
        let files = Files::write(plan.folder()).context("cannot write the resolver files")?;
        files.show()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(live(plan, &files, &outside))
    });
    let status = match outcome {
        Ok(()) => 0,
        Err(error) => {
            report_failure(&outside, &error);
            1
        }
    };
    plan.remove();
    status
}

/// A session of its own, so that Ctrl-C reaches the outer process alone; standard output belongs to that, too.
fn detach() -> io::Result<()> {
    // SAFETY: takes no pointers; a forked child is no group leader, so it succeeds.
    unsafe { libc::setsid() };
    let null: File = OpenOptions::new().read(true).open("/dev/null")?;
    replace(null.as_raw_fd(), libc::STDIN_FILENO)?;
    replace(libc::STDERR_FILENO, libc::STDOUT_FILENO)
}

fn replace(with: RawFd, target: RawFd) -> io::Result<()> {
    // SAFETY: both are open descriptors of this process, and the target is a standard one.
    if unsafe { libc::dup2(with, target) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

async fn live(plan: &Plan, files: &Files, outside: &UnixStream) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let outside = outside.try_clone()?;
    outside.set_nonblocking(true)?;
    let mut outside = tokio::net::UnixStream::from_std(outside)?;
    // Borrowed halves: owned ones would shut the socket down before a failure is reported.
    let (mut commands, mut reports) = outside.split();

    netns::set_up().await?;
    let nameserver = SocketAddr::new(IpAddr::V4(world::NAMESERVER), 53);
    let dns = Server::start(Records::of_world()?, nameserver)
        .await
        .context("cannot start DNS")?;
    let samples = samples().context("cannot start the services")?;
    let mut agent = None;
    if let Some(program) = plan.agent.as_deref() {
        let started = Agent::start(plan, program, &files.resolv_conf);
        tokio::select! {
            started = started => agent = Some((started?, program)),
            _ = commands.read_u8() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }

    let agent_pid = agent.as_ref().and_then(|(agent, _)| agent.pid());
    let mut ready = serde_json::to_vec(&Report::Ready { agent_pid })?;
    ready.push(b'\n');
    reports.write_all(&ready).await?;

    let failure = tokio::select! {
        // The outer process never sends anything: a read returns when it ends.
        _ = commands.read_u8() => None,
        _ = terminate.recv() => None,
        failure = keep(agent.as_mut(), plan, files) => Some(failure),
    };
    let stopped = match agent {
        Some((agent, _)) => agent.stop().await,
        None => Ok(()),
    };
    drop((samples, dns));
    match failure {
        Some(failure) => Err(failure.into()),
        None => stopped.context("cannot end the agent"),
    }
}

async fn keep(agent: Option<&mut (Agent, &Path)>, plan: &Plan, files: &Files) -> AgentFailure {
    match agent {
        Some((agent, program)) => agent.keep(plan, program, &files.resolv_conf).await,
        None => std::future::pending().await,
    }
}

fn samples() -> io::Result<Samples> {
    let mut samples = Samples::new(Gate::from_descriptor_limit()?);
    for endpoint in world::endpoints() {
        match endpoint.sample {
            Sample::Http => samples.http(endpoint.address, endpoint.greeting).map(drop)?,
            Sample::Tcp(protocol) => samples.tcp(protocol, endpoint.address).map(drop)?,
            Sample::Udp => samples.udp(endpoint.address).map(drop)?,
            Sample::Dns | Sample::Nothing => {}
        }
    }
    Ok(samples)
}

fn report_failure(mut outside: &UnixStream, error: &anyhow::Error) {
    use std::io::Write;
    let hint = error
        .downcast_ref::<Forbidden>()
        .map(|forbidden| forbidden.hint().to_owned());
    let report = Report::Failed {
        message: format!("{error:#}"),
        hint,
    };
    let sent = outside
        .set_nonblocking(false)
        .and_then(|()| serde_json::to_vec(&report).map_err(io::Error::from))
        .and_then(|mut line| {
            line.push(b'\n');
            outside.write_all(&line)
        });
    if sent.is_err() {
        // The outer process is gone: no one reads the report.
        eprintln!("kinject-sandbox: {error:#}");
    }
}
