//! The outer process: it stays in the user's own namespaces, runs the command and decides when all of it ends.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::lifeline::{Lifelines, watch};
use super::plan::Plan;
use super::report::{Ready, Report, names};
use crate::failure::{CommandFailure, Hinted};
use crate::netns::pidfd;

/// How long the inner process may take to clear up.
const STOP: Duration = Duration::from_secs(5);

type Reports = Lines<BufReader<tokio::net::UnixStream>>;

/// Stays until the sandbox is to end, ends it, and returns the status to exit with.
pub(super) fn run(
    plan: &Plan,
    command: &[OsString],
    inner: libc::pid_t,
    reports: UnixStream,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        reports.set_nonblocking(true)?;
        let mut reports = BufReader::new(tokio::net::UnixStream::from_std(reports)?).lines();
        let outcome = live(plan, command, inner, &mut reports).await;
        // The inner process sees this as the end of file that it waits for.
        drop(reports);
        end(inner).await?;
        outcome
    });
    plan.remove();
    outcome
}

async fn live(
    plan: &Plan,
    command: &[OsString],
    inner: libc::pid_t,
    reports: &mut Reports,
) -> anyhow::Result<ExitCode> {
    let lifelines = Lifelines::new(command.is_empty())?;
    let mut signals = Signals::new()?;
    let agent_pid = tokio::select! {
        report = next(reports) => match report? {
            Report::Ready { agent_pid } => agent_pid,
            Report::Failed { message, hint } => return Err(Hinted::new(message, hint).into()),
        },
        cut = lifelines.cut() => return Ok(cut.map(|()| ExitCode::SUCCESS)?),
        signal = signals.any() => return Ok(status_of_signal(signal)),
    };
    let ready = Ready {
        socket: plan.socket.clone(),
        key: plan.key.clone(),
        pid: inner.unsigned_abs(),
        agent_pid,
        names: names(),
    };
    if !command.is_empty() {
        return accompany(spawn(command, &ready)?, reports, &lifelines, &mut signals).await;
    }
    let mut line = serde_json::to_vec(&ready)?;
    line.push(b'\n');
    io::stdout()
        .write_all(&line)
        .and_then(|()| io::stdout().flush())
        .context("cannot write to standard output")?;
    tokio::select! {
        report = next(reports) => Err(unexpected(report)),
        cut = lifelines.cut() => Ok(cut.map(|()| ExitCode::SUCCESS)?),
        _ = signals.any() => Ok(ExitCode::SUCCESS),
    }
}

fn spawn(command: &[OsString], ready: &Ready) -> anyhow::Result<Child> {
    let (program, arguments) = command.split_first().context("no command")?;
    let child = Command::new(program)
        .args(arguments)
        .env("KINJECT_SANDBOX_SOCKET", &ready.socket)
        .env("KINJECT_SANDBOX_KEY", &ready.key)
        .env("KINJECT_SANDBOX_PID", ready.pid.to_string())
        .spawn();
    child.map_err(|error| CommandFailure::new(program.clone(), error).into())
}

/// Waits for the command. The terminal's signals reach it directly; SIGTERM is passed on.
async fn accompany(
    mut child: Child,
    reports: &mut Reports,
    lifelines: &Lifelines,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let pid = child.id().context("the command has no process")?;
    let ask_to_end = |signal: SignalKind| {
        // SAFETY: the child has not been waited for, so this is still its process id.
        unsafe { libc::kill(pid as libc::pid_t, signal.as_raw_value()) };
    };
    let (mut sandbox_is_up, mut parent_lives) = (true, true);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status_of(status.context("cannot wait for the command")?)),
            report = next(reports), if sandbox_is_up => {
                sandbox_is_up = false;
                eprintln!("kinject-sandbox: {:#}", unexpected(report));
            }
            _ = lifelines.cut(), if parent_lives => {
                parent_lives = false;
                ask_to_end(SignalKind::terminate());
            }
            signal = signals.any() => if signal != SignalKind::interrupt() && signal != SignalKind::quit() {
                ask_to_end(signal);
            },
        }
    }
}

async fn next(reports: &mut Reports) -> anyhow::Result<Report> {
    let line = reports
        .next_line()
        .await
        .context("cannot read from the sandbox")?;
    let line = line.ok_or_else(|| anyhow!("the sandbox ended by itself"))?;
    serde_json::from_str(&line).context("cannot read a report of the sandbox")
}

/// Reads the inner process's report; any report after the ready one means that the sandbox has failed.
fn unexpected(report: anyhow::Result<Report>) -> anyhow::Error {
    match report {
        Ok(Report::Failed { message, hint }) => Hinted::new(message, hint).into(),
        Ok(Report::Ready { .. }) => anyhow!("the sandbox was ready twice"),
        Err(error) => error,
    }
}

/// Waits for the inner process, whose socket pair is closed, and reaps it.
async fn end(inner: libc::pid_t) -> anyhow::Result<()> {
    let process = watch(pidfd(inner.unsigned_abs())?)?;
    if tokio::time::timeout(STOP, process.readable()).await.is_err() {
        // SAFETY: the child has not been waited for, so this is still its process id.
        unsafe { libc::kill(inner, libc::SIGKILL) };
        process.readable().await.map(drop)?;
    }
    // SAFETY: the process is our child and has ended; a null status is allowed.
    unsafe { libc::waitpid(inner, std::ptr::null_mut(), 0) };
    Ok(())
}

/// The signals that ask this process to end.
struct Signals([(SignalKind, Signal); 4]);

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |kind| Ok::<_, io::Error>((kind, signal(kind)?));
        Ok(Self([
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::quit())?,
        ]))
    }

    /// The next one. Cancel-safe.
    async fn any(&mut self) -> SignalKind {
        let [terminate, hangup, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.1.recv() => terminate.0,
            _ = hangup.1.recv() => hangup.0,
            _ = interrupt.1.recv() => interrupt.0,
            _ = quit.1.recv() => quit.0,
        }
    }
}

fn status_of_signal(signal: SignalKind) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX))
}

/// A command's status as a shell reports it.
fn status_of(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
