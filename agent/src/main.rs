//! `kinject-agent`: runs in the cluster; dials targets, forwards DNS queries and reports facts for a session.
//!
//! It is one small process with one thread. It serves only relays that have proven that they hold the session's key.
//! Each tunnel carries the requests of one relay: connections, DNS messages, facts, files.
//!
//! It runs in one of two modes: by hand, on sockets of the user's choice, with a key file that both ends read; or in a
//! pod that kinject created, with its session's keys in a file, where it exits a grace period after its relay is gone.

mod cli;
mod datagrams;
mod dial;
mod dns;
mod facts;
mod files;
mod kernel;
mod listen;
mod log;
mod resolv_conf;
mod routes;
mod tunnel;
mod tunnel_count;
mod unproven;
mod upgrade;

use std::ffi::OsString;
use std::future::poll_fn;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use kinject_tunnel::keys::SecretError;
use kinject_tunnel::{AgentIdentity, Listener, Secret};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use cli::{Command, Identity, Options};
use dns::Resolver;
use files::{Files, Withheld};
use listen::{Acceptor, ListenerKind};
use log::log;
use tunnel_count::TunnelCount;

/// How long a stopping agent may deliver the data of closed programs: somewhat less than its pod's grace period.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

fn main() -> ExitCode {
    // Processes of the same user, as in a workload's image, cannot read keys from its memory or environment.
    if let Err(error) = prctl::set_dumpable(false) {
        log(format_args!("cannot make this process non-dumpable: {error}"));
        return ExitCode::FAILURE;
    }
    kinject_tunnel::allocator::tune();
    // in memory: processes of the same user cannot read it there, unlike what the kernel shows of a dumpable one
    let environment = std::env::vars_os().collect();
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => options,
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            log::usage_error(&error);
            return ExitCode::from(2);
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(serve(options, environment)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("error: {error:#}"));
            if let Some(error) = error.downcast_ref::<SecretError>() {
                eprintln!("\nhint: {}", kinject_escape::line(error.hint()));
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options, environment: Vec<(OsString, OsString)>) -> Result<()> {
    raise_file_limit();
    let mut signals = Signals::new(&options.identity)?;
    let identity = match &options.identity {
        Identity::Key(path) => AgentIdentity::from_secret(&Secret::read(path)?)
            .with_context(|| format!("no certificate can be made of {}", path.display()))?,
        Identity::Session(path) => session_identity(path)?,
    };
    let withheld = match &options.identity {
        Identity::Key(path) | Identity::Session(path) => Withheld::at(path),
    };
    let files = Files::new(options.files, environment, withheld);
    let resolver = Resolver::new(resolv_conf::read(&options.resolv_conf));
    let (stop, stopping) = watch::channel(false);
    let (tunnels, draining) = (TunnelCount::default(), TunnelCount::default());
    let acceptor = Acceptor::new(
        identity,
        resolver,
        files,
        tunnels.clone(),
        draining.clone(),
        stopping,
    );
    let acceptor = Arc::new(acceptor);

    let mut listeners = tokio::task::JoinSet::new();
    for (kind, endpoint) in &options.listen {
        let listener = Listener::bind(endpoint).with_context(|| format!("cannot listen on {endpoint}"))?;
        let purpose = match kind {
            ListenerKind::Direct => "",
            ListenerKind::PortForward => " for port-forward",
            ListenerKind::Proxy => " for the API server's proxy",
        };
        log(format_args!("listening on {}{purpose}", listener.endpoint()?));
        listeners.spawn(Arc::clone(&acceptor).run(listener, *kind));
    }

    tokio::select! {
        name = signals.next() => log(format_args!("stopping: {name}")),
        grace = tunnels.idle_for(options.grace) => {
            log(format_args!("stopping: no relay has spoken for {} seconds", grace.as_secs()));
        }
    }
    listeners.shutdown().await;
    // Sending fails if no receiver is left because all tunnels have ended.
    let _ = stop.send(true);
    let delivered = async {
        tunnels.wait_for_zero().await;
        draining.wait_for_zero().await;
        // an agent by hand shares a network that outlives it
        if matches!(options.identity, Identity::Session(_)) {
            kernel::delivered().await;
        }
    };
    tokio::select! {
        ended = timeout(DRAIN_TIMEOUT, delivered) => {
            if ended.is_err() {
                log(format_args!("not all data was delivered within {} seconds", DRAIN_TIMEOUT.as_secs()));
            }
        }
        name = signals.next() => log(format_args!("not waiting any longer: {name}")),
    }
    Ok(())
}

/// The keys that kinject created for this agent.
fn session_identity(path: &Path) -> Result<AgentIdentity> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read --identity {}", path.display()))?;
    text.parse()
        .with_context(|| format!("cannot use --identity {}", path.display()))
}

/// The signals that end an agent.
struct Signals(Vec<(&'static str, Signal)>);

impl Signals {
    fn new(identity: &Identity) -> std::io::Result<Self> {
        let mut kinds = vec![
            ("SIGTERM", SignalKind::terminate()),
            ("SIGINT", SignalKind::interrupt()),
        ];
        // Which signal stops a pod is its image's choice (STOPSIGNAL), and an agent that a session carries runs in the
        // image of others: web servers have SIGQUIT, SIGWINCH or SIGUSR1, systemd SIGRTMIN+3,
        // and some SIGHUP.
        if let Identity::Session(_) = identity {
            kinds.extend([
                ("SIGHUP", SignalKind::hangup()),
                ("SIGQUIT", SignalKind::quit()),
                ("SIGWINCH", SignalKind::window_change()),
                ("SIGUSR1", SignalKind::user_defined1()),
                ("SIGUSR2", SignalKind::user_defined2()),
                ("SIGRTMIN+3", SignalKind::from_raw(nix::libc::SIGRTMIN() + 3)),
            ]);
        }
        let signals = kinds.into_iter().map(|(name, kind)| Ok((name, signal(kind)?)));
        signals.collect::<std::io::Result<_>>().map(Self)
    }

    /// The name of the next one. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        poll_fn(|context| {
            let mut arrived = self
                .0
                .iter_mut()
                .filter_map(|(name, signal)| signal.poll_recv(context).is_ready().then_some(*name));
            arrived.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Raises the soft limit of descriptors, usually 1024, since each connection takes one.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log(format_args!("cannot raise the limit of open files: {error}"));
    }
}
