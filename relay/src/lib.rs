//! `kinject-relay`: the policy, the names and the sockets of one session.
//!
//! The launcher starts it, never a user. Orders and reports pass over standard input, one end of a socket pair
//! (`kinject_protocol::session`). It outlives its launcher, however that ended, only to deliver the data of ended
//! programs and to remove what the session created. If a relay itself is killed, another is started to remove what that
//! one left.
//!
//! It is a library so that one executable can hold it and the launcher; [`main`] is its only public function.

mod cluster;
mod connects;
mod control;
mod data;
mod datagrams;
mod description;
mod dialer;
mod files;
mod forward;
mod image_push;
mod log;
mod names;
mod network_namespace;
mod reached;
mod readiness;
mod registry;
mod report;
mod routes;
mod session;
mod shutdown;
mod socket_watch;
mod stand_in;
#[cfg(test)]
mod test_agent;
mod trace;
mod uninjectable;
mod uplink;
mod words;

use anyhow::{Context, anyhow, bail};
use kinject_protocol::folder::SessionLock;
use kinject_protocol::session::{Event, Order, Report, SessionConfig, Target, from_line, to_line};
use shutdown::ShutdownRequests;
use std::ffi::{CStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

/// Time limit for removing everything; the launcher waits a little longer.
const TAKE_DOWN_TIMEOUT: Duration = Duration::from_secs(13);

/// Threads for the local resolver, credential plug-ins and files.
const BLOCKING_THREADS: usize = 32;

/// The process's name, whatever the file is called that it was started from.
const NAME: &CStr = c"kinject-relay";

/// The relay's process, from its arguments to its exit status. Without any it serves a session; with `describe` it
/// says what it is, with `push-image NAME` it pushes the agent's image, with `manifest TARGET` it shows what it would
/// make in a cluster. These answer with a line of JSON.
pub fn main() -> ExitCode {
    kinject_tunnel::allocator::tune();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.as_slice() {
        [] => run(),
        [word] if word == "describe" => description::print(),
        [word, target, rest @ ..] if word == "manifest" => description::manifest(target, !rest.is_empty()),
        [word, name] if word == "push-image" => image_push::answer(name, false),
        [word, name, option] if word == "push-image" && option == "--plain-http" => {
            image_push::answer(name, true)
        }
        [word, ..] => Err(anyhow!(
            "unknown argument {}: `kinject run` starts the relay",
            kinject_escape::bytes(word.as_bytes())
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line("kinject-relay", format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    rustix::thread::set_name(NAME).context("cannot name the process")?;
    keep_memory_private()?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let outcome = runtime.block_on(relay());
    // a hanging local lookup must not keep the process running
    runtime.shutdown_background();
    outcome
}

/// One thread: the data path is fastest without hand-overs, and nothing else here is busy.
fn runtime() -> anyhow::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build_local(LocalOptions::default())
        .context("cannot start the runtime")
}

async fn relay() -> anyhow::Result<()> {
    let (orders, reports) = launcher()?;
    let mut orders = BufReader::new(orders).lines();
    let config = match orders
        .next_line()
        .await
        .context("cannot read the launcher's order")?
    {
        Some(line) => match from_line(&line).context("cannot understand the launcher's order")? {
            Order::Start(config) => *config,
            Order::Finish => return Ok(()),
            Order::CleanUp(config) => return clean_up_after(*config, reports).await,
        },
        None => bail!("started without a launcher: `kinject run` starts it"),
    };
    log::set_level(config.log);
    let _in_use = lock(&config.folder);
    let (events, queue) = mpsc::channel(64);
    let writer = tokio::task::spawn_local(write_events(queue, reports));
    let clean_up = session::CleanUp::default();
    let mut shutdown = ShutdownRequests::new(orders)?;
    if let Err(failure) = session::run(&config, &events, &clean_up, &mut shutdown).await {
        send(&events, Event::Failed(failure.into())).await;
    }
    send(&events, Event::WoundUp).await;
    let ended = tokio::time::timeout(TAKE_DOWN_TIMEOUT, async {
        take_down(&config, &events, &clean_up).await;
        writer.await
    });
    match ended.await {
        Ok(written) => written.context("the writer of events failed"),
        Err(_) => bail!("removing what the session made took too long"),
    }
}

/// Removes what another relay of the session left in the cluster. The folder is kept: programs may still use it.
async fn clean_up_after(config: SessionConfig, reports: OwnedWriteHalf) -> anyhow::Result<()> {
    log::set_level(config.log);
    let _in_use = lock(&config.folder);
    let (events, queue) = mpsc::channel(4);
    let writer = tokio::task::spawn_local(write_events(queue, reports));
    if let Target::Kubernetes(target) = &config.target {
        let removed = cluster::gc::remove_all(target, &config.session);
        match tokio::time::timeout(TAKE_DOWN_TIMEOUT, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(report)) => send(&events, Event::Notice(report)).await,
            Err(_) => bail!("removing what the session made took too long"),
        }
    }
    send(&events, Event::Finished).await;
    drop(events);
    writer.await.context("the writer of events failed")
}

/// Keeps the next session of the user from removing the session's folder for as long as this process lives.
fn lock(folder: &Path) -> Option<SessionLock> {
    kinject_protocol::folder::lock(folder).unwrap_or_else(|error| {
        log::info!("cannot lock {}: {error}", kinject_escape::path(folder));
        None
    })
}

/// Removes everything that the session created.
async fn take_down(config: &SessionConfig, events: &mpsc::Sender<Event>, clean_up: &session::CleanUp) {
    if let Err(report) = clean_up.run().await {
        send(events, Event::Notice(report)).await;
    }
    if let Err(report) = remove_folder(&config.folder) {
        send(events, Event::Notice(report)).await;
    }
    send(events, Event::Finished).await;
}

fn remove_folder(folder: &Path) -> Result<(), Report> {
    let user = rustix::process::geteuid().as_raw();
    kinject_protocol::folder::remove(folder, user).map_err(|error| Report {
        message: format!(
            "cannot remove the session's folder {}: {error}",
            kinject_escape::path(folder)
        ),
        hint: Some("nothing uses it any more: remove it by hand".to_owned()),
    })
}

async fn send(events: &mpsc::Sender<Event>, event: Event) {
    // a launcher that is gone receives nothing
    let _launcher_gone = events.send(event).await.is_err();
}

/// The two directions of standard input, which is a socket.
fn launcher() -> anyhow::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let stdin = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot use standard input")?;
    let socket = std::os::unix::net::UnixStream::from(stdin);
    socket
        .set_nonblocking(true)
        .context("standard input is no socket: `kinject run` starts the relay")?;
    Ok(UnixStream::from_std(socket)
        .context("standard input is no socket: `kinject run` starts the relay")?
        .into_split())
}

async fn write_events(mut queue: mpsc::Receiver<Event>, mut reports: OwnedWriteHalf) {
    while let Some(event) = queue.recv().await {
        let is_last = event == Event::Finished;
        if let Err(error) = reports.write_all(to_line(&event).as_bytes()).await {
            log::info!("cannot write to the launcher: {error}");
            // keep receiving, so that no sender waits for room in the queue
            while queue.recv().await.is_some_and(|event| event != Event::Finished) {}
            return;
        }
        // events of programs that outlive the session are not waited for
        if is_last {
            return;
        }
    }
}

/// Makes the process non-dumpable (PR_SET_DUMPABLE, prctl(2)), since it holds the session's keys and the user's tokens:
/// other processes of the same user, which may be less trusted programs, cannot read its memory, environment and
/// descriptors or trace it, and it leaves no core dump. Credential plug-ins that it starts are dumpable again by their
/// exec.
fn keep_memory_private() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot keep the relay's memory private")
}

/// Raises the soft limit of descriptors, usually 1024 for select(2)'s sake: each connection of a program takes one
/// here.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::line(
            "kinject-relay",
            format_args!("cannot raise the limit of open files: {error}"),
        );
    }
}
