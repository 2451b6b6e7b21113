//! The command line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use kinject_sandbox::failure::CommandFailure;
use kinject_sandbox::serve::{Gate, Protocol, Samples};
use kinject_sandbox::{netns, up, world};
use tokio::signal::unix::{SignalKind, signal};

/// A place to connect to without any Kubernetes
#[derive(Parser)]
#[command(name = "kinject-sandbox", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring a sandbox up, with an agent in it, and stay until it is to end
    ///
    /// Prints one line of JSON when everything answers: where the agent listens, its key, and the names there are.
    /// The sandbox ends on Ctrl-C or SIGTERM, when a pipe on standard input is closed, when the parent process
    /// ends, or with the command.
    Up(Up),
    /// Run a command bare inside of a sandbox, as in a pod
    Enter(Enter),
    /// Serve the samples: HTTP, eight small TCP protocols and a UDP echo
    Serve(Serve),
}

#[derive(Args)]
struct Up {
    /// The agent's program [default: kinject-agent beside this one]
    #[arg(long, value_name = "FILE", conflicts_with = "no_agent")]
    agent: Option<PathBuf>,
    /// Without an agent, for programs that only enter
    #[arg(long)]
    no_agent: bool,
    /// Where the agent listens [default: in a private folder]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The agent's key; made for the time being if it does not exist [default: in a private folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A command to run, outside of the sandbox, while it is up; it finds KINJECT_SANDBOX_SOCKET,
    /// KINJECT_SANDBOX_KEY and KINJECT_SANDBOX_PID in its environment
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Args)]
struct Enter {
    /// The sandbox: `pid` of the line that `up` prints
    #[arg(long, env = "KINJECT_SANDBOX_PID")]
    pid: u32,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Args)]
struct Serve {
    /// Who to greet as
    #[arg(long)]
    name: String,
    /// The address to serve on; may be given several times [default: all]
    #[arg(long, value_name = "ADDRESS")]
    bind: Vec<IpAddr>,
    /// The port for HTTP, 0 for any
    #[arg(long, value_name = "PORT", default_value_t = world::POD_HTTP)]
    http_port: u16,
    /// The first of the ports for the TCP protocols, and the one of the UDP echo; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = world::FIRST_PROTOCOL)]
    tcp_port: u16,
}

impl Cli {
    /// Does what was asked for and returns the status to exit with.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.task {
            Task::Up(arguments) => arguments.run(),
            Task::Enter(arguments) => arguments.run(),
            Task::Serve(arguments) => arguments.run(),
        }
    }
}

impl Up {
    fn run(self) -> anyhow::Result<ExitCode> {
        let agent = match (self.agent, self.no_agent) {
            (_, true) => None,
            (Some(agent), false) => Some(agent),
            (None, false) => Some(env::current_exe()?.with_file_name("kinject-agent")),
        };
        up::run(up::Options {
            agent,
            socket: self.socket,
            key: self.key,
            command: self.command,
        })
    }
}

impl Enter {
    fn run(self) -> anyhow::Result<ExitCode> {
        netns::join(self.pid).with_context(|| format!("cannot enter the sandbox of process {}", self.pid))?;
        netns::confine().context("cannot drop privileges")?;
        let (program, arguments) = self.command.split_first().context("no command")?;
        let error = Command::new(program).args(arguments).exec();
        Err(CommandFailure::new(program.clone(), error).into())
    }
}

impl Serve {
    fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut samples = Samples::new(Gate::from_descriptor_limit()?);
        let mut bound = Vec::new();
        for address in self.addresses() {
            bound.push(
                self.bind_all(&mut samples, address)
                    .with_context(|| format!("cannot serve on {address}"))?,
            );
        }
        let mut line = serde_json::to_vec(&bound)?;
        line.push(b'\n');
        io::stdout()
            .write_all(&line)
            .and_then(|()| io::stdout().flush())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        if !self.bind.is_empty() {
            return self.bind.clone();
        }
        // An IPv6 socket for all addresses serves IPv4 as well, where the kernel knows IPv6.
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        match std::net::UdpSocket::bind((any, 0)) {
            Ok(_) => vec![any],
            Err(_) => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        }
    }

    /// Serves everything on one address and says where.
    fn bind_all(
        &self,
        samples: &mut Samples,
        address: IpAddr,
    ) -> io::Result<BTreeMap<&'static str, SocketAddr>> {
        let mut bound = BTreeMap::new();
        bound.insert(
            "http",
            samples.http(SocketAddr::new(address, self.http_port), &self.name)?,
        );
        for (offset, protocol) in (0..).zip(Protocol::ALL) {
            let port = if self.tcp_port == 0 {
                0
            } else {
                self.tcp_port.saturating_add(offset)
            };
            bound.insert(
                protocol.name(),
                samples.tcp(protocol, SocketAddr::new(address, port))?,
            );
        }
        bound.insert("echo-udp", samples.udp(SocketAddr::new(address, self.tcp_port))?);
        Ok(bound)
    }
}
