//! `kinject-load`: puts one kind of load on a service or on the machine, and prints what it measured as a line of JSON.
//!
//! It is an ordinary, dynamically linked program without any code for kinject: the library that is preloaded into it
//! decides what carries its connections. The services are the sandbox's samples.

mod connections;
mod datagrams;
mod environment;
mod exec;
mod hooks;
mod idle;
mod local;
mod lookup;
mod median;
mod stalled;
mod transfer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::Value;

/// Put load on a service and print what was measured
#[derive(Parser)]
#[command(name = "kinject-load", version)]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// One connection after the other: connect, send a byte, read it back, close
    Connect(Timed),
    /// One byte there and back on one connection
    RoundTrip(Timed),
    /// Read from sources
    Download {
        #[command(flatten)]
        timed: Timed,
        /// Connections at once
        #[arg(long, default_value_t = 1)]
        streams: usize,
    },
    /// Write to a service that reports how much it received
    Upload(Timed),
    /// Write to a service that reports nothing, once all buffers are full
    Send(Timed),
    /// Read from one source, without and with another that is not read
    Stalled(Timed),
    /// Hold many connections; a line on standard input has all of them used once more
    Idle {
        /// An echo service
        address: SocketAddr,
        /// Connections at once
        #[arg(long)]
        count: usize,
    },
    /// Start /bin/true over and over, in several environments by turns
    Exec {
        /// How often in each environment
        #[arg(long)]
        count: usize,
        /// JSON: the name of each environment and the variables in it
        #[arg(long, value_name = "FILE")]
        environments: PathBuf,
    },
    /// Connect to listeners of its own, on loopback and on a Unix socket
    Local {
        /// How often to each
        #[arg(long)]
        count: usize,
    },
    /// Look a name up over and over
    Lookup {
        /// The name, or a domain
        name: String,
        /// Look up names of pods in that domain, each of them once
        #[arg(long)]
        fresh: bool,
        /// How often
        #[arg(long)]
        count: usize,
    },
    /// Make calls that hooks pass through
    Hooks {
        /// How often each
        #[arg(long, default_value_t = 10_000_000)]
        count: usize,
    },
    /// One datagram there and back, over and over
    UdpEcho(Timed),
    /// Send datagrams to a counter at a steady pace
    UdpSend {
        #[command(flatten)]
        timed: Timed,
        /// Datagrams a second
        #[arg(long, default_value_t = 60_000)]
        rate: u32,
    },
    /// Count datagrams, and answer empty ones with the count, until standard input ends
    UdpCount {
        /// Where to listen
        port: u16,
    },
    /// Print the environment, and stay until standard input ends
    Hold,
}

/// A load that lasts for a while.
#[derive(clap::Args)]
struct Timed {
    /// The service
    address: SocketAddr,
    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

impl Timed {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().load) {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kinject-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(load: Load) -> anyhow::Result<Value> {
    match load {
        Load::Connect(timed) => connections::sequential(timed.address, timed.duration()),
        Load::RoundTrip(timed) => connections::round_trips(timed.address, timed.duration()),
        Load::Download { timed, streams: 1 } => transfer::download(timed.address, timed.duration()),
        Load::Download { timed, streams } => {
            transfer::download_many(timed.address, timed.duration(), streams)
        }
        Load::Upload(timed) => transfer::upload(timed.address, timed.duration()),
        Load::Send(timed) => transfer::send(timed.address, timed.duration()),
        Load::Stalled(timed) => stalled::run(timed.address, timed.duration()),
        Load::Idle { address, count } => idle::run(address, count),
        Load::Exec { count, environments } => exec::run(count, &environments),
        Load::Local { count } => local::run(count),
        Load::Lookup {
            name,
            fresh: true,
            count,
        } => lookup::fresh(&name, count),
        Load::Lookup { name, count, .. } => lookup::again(&name, count),
        Load::Hooks { count } => hooks::run(count),
        Load::UdpEcho(timed) => datagrams::echo(timed.address, timed.duration()),
        Load::UdpSend { timed, rate } => datagrams::send(timed.address, timed.duration(), rate),
        Load::UdpCount { port } => datagrams::count(port),
        Load::Hold => environment::hold(),
    }
}
