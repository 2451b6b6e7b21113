//! Measures the tunnel on loopback: program → relay → agent → service, each a process of its own.
//!
//! ```text
//! cargo run --release -p kinject-tunnel --example throughput [-- SECONDS [tls]]
//! ```
//!
//! It prints connections with one byte echoed, round trips of one byte, and bytes down and up, without the tunnel and
//! through it. Compare ratios of one run: the absolute figures are the machine's. On a busy machine the processor
//! time of relay and agent is more meaningful.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that fails has nothing to clean up"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{AgentIdentity, Endpoint, Listener, Security, SessionKeys, Tunnel, link, splice};

const ECHO: u8 = b'e';
const SOURCE: u8 = b's';
const DISCARD: u8 = b'd';
const IDENTITY: &str = "THROUGHPUT_IDENTITY";
const BLOCK: usize = 128 * 1024;

fn main() -> io::Result<()> {
    kinject_tunnel::allocator::tune();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["service"] => service(),
        ["agent", security] => on_one_thread(agent(security_of(security))),
        ["relay", target, security] => on_one_thread(relay(target.to_owned(), security_of(security))),
        [] => measure(Duration::from_secs(2), "proof"),
        [seconds] => measure(Duration::from_secs_f64(seconds.parse().unwrap()), "proof"),
        [seconds, security] => measure(Duration::from_secs_f64(seconds.parse().unwrap()), security),
        _ => panic!("unknown arguments: {words:?}"),
    }
}

fn measure(time: Duration, security: &str) -> io::Result<()> {
    let (_service, target) = start(&["service"])?;
    let (relay_process, relay) = start(&["relay", &target, security])?;
    let (relay, agent) = relay.split_once(' ').unwrap();
    let agent: u32 = agent.parse().unwrap();
    let address: SocketAddr = target.parse().unwrap();
    println!(
        "{:<28}{:>12}{:>12}{:>10}{:>14}{:>14}",
        "", "direct", "tunnel", "ratio", "relay cpu", "agent cpu"
    );
    let through: SocketAddr = relay.parse().unwrap();
    let row = |name: &str, unit: &str, figure: &dyn Fn(SocketAddr) -> (f64, f64), per: &str| {
        let (direct, _) = figure(address);
        let before = (cpu(relay_process.0.id()), cpu(agent));
        let (tunnel, amount) = figure(through);
        let spent = |process: u32, before: f64| (cpu(process) - before) / amount;
        println!(
            "{name:<28}{direct:>12.0}{tunnel:>12.0}{:>10.2}{:>14.1}{:>14.1}  {unit}, cpu in {per}",
            tunnel / direct,
            spent(relay_process.0.id(), before.0),
            spent(agent, before.1),
        );
    };
    row("connect and echo", "/s", &|to| connects(to, time), "µs each");
    row(
        "round trip of one byte",
        "µs",
        &|to| round_trip(to, time),
        "µs each",
    );
    for streams in [1, 8, 64] {
        row(
            &format!("down, streams: {streams}"),
            "MB/s",
            &|to| transfer(to, SOURCE, streams, time),
            "µs/MB",
        );
        row(
            &format!("up, streams: {streams}"),
            "MB/s",
            &|to| transfer(to, DISCARD, streams, time),
            "µs/MB",
        );
    }
    let beside_a_stalled_one = |to| {
        let _stalled = connect(to, SOURCE);
        transfer(to, SOURCE, 64, time)
    };
    row("down, 64 and one stalled", "MB/s", &beside_a_stalled_one, "µs/MB");
    Ok(())
}

/// Connections one after the other, each with one byte echoed: in a second, and in all.
fn connects(address: SocketAddr, time: Duration) -> (f64, f64) {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        let mut tcp = connect(address, ECHO);
        echo(&mut tcp);
        count += 1;
    }
    (f64::from(count) / start.elapsed().as_secs_f64(), f64::from(count))
}

/// The median round trip of one byte in microseconds, and how many there were.
fn round_trip(address: SocketAddr, time: Duration) -> (f64, f64) {
    let mut tcp = connect(address, ECHO);
    let (start, mut trips) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let before = Instant::now();
        echo(&mut tcp);
        trips.push(before.elapsed());
    }
    trips.sort();
    (trips[trips.len() / 2].as_secs_f64() * 1e6, trips.len() as f64)
}

fn echo(tcp: &mut TcpStream) {
    let mut byte = [1];
    tcp.write_all(&byte).unwrap();
    tcp.read_exact(&mut byte).unwrap();
}

/// Megabytes in a second over so many connections, and megabytes in all.
fn transfer(address: SocketAddr, kind: u8, connections: usize, time: Duration) -> (f64, f64) {
    let bytes = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let (bytes, stop) = (Arc::clone(&bytes), Arc::clone(&stop));
            thread::spawn(move || {
                let mut tcp = connect(address, kind);
                let mut block = vec![0; BLOCK];
                while !stop.load(Ordering::Relaxed) {
                    let count = match kind {
                        SOURCE => tcp.read(&mut block),
                        _ => tcp.write(&block),
                    };
                    bytes.fetch_add(count.unwrap() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // The first part only fills buffers.
    thread::sleep(time / 4);
    let (start, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
    thread::sleep(time);
    let after = bytes.load(Ordering::Relaxed);
    let rate = (after - before) as f64 / 1e6 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    (rate, bytes.load(Ordering::Relaxed) as f64 / 1e6)
}

fn connect(address: SocketAddr, kind: u8) -> TcpStream {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.write_all(&[kind]).unwrap();
    tcp
}

/// A process that is killed with this one; it prints its address first.
struct Process(Child);

/// Microseconds of processor time of a process so far, of its first thread.
fn cpu(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e3
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> io::Result<(Process, String)> {
    run(Command::new(std::env::current_exe()?).args(arguments))
}

fn run(command: &mut Command) -> io::Result<(Process, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    io::BufRead::read_line(
        &mut io::BufReader::new(child.stdout.take().unwrap()),
        &mut address,
    )?;
    Ok((Process(child), address.trim().to_owned()))
}

/// Echoes, sends or discards, as the first byte of a connection says.
fn service() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    loop {
        let (mut tcp, _) = listener.accept()?;
        tcp.set_nodelay(true)?;
        thread::spawn(move || -> io::Result<()> {
            let mut block = vec![0; BLOCK];
            tcp.read_exact(&mut block[..1])?;
            match block[0] {
                ECHO => loop {
                    let count = tcp.read(&mut block)?;
                    if count == 0 {
                        return Ok(());
                    }
                    tcp.write_all(&block[..count])?;
                },
                SOURCE => loop {
                    tcp.write_all(&block)?;
                },
                _ => while tcp.read(&mut block)? > 0 {},
            }
            Ok(())
        });
    }
}

fn on_one_thread(task: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(task)
}

fn security_of(word: &str) -> Security {
    match word {
        "tls" => Security::Tls,
        _ => Security::Proof,
    }
}

/// Serves one tunnel and ends with it.
async fn agent(security: Security) -> io::Result<()> {
    let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap())?;
    println!("{}", listener.endpoint()?);
    let identity: AgentIdentity = std::env::var(IDENTITY).unwrap().parse().unwrap();
    let (stream, _) = listener.accept().await?;
    let (stream, _) = link::accept(stream, &identity, security).await.unwrap();
    let mut server = Server::start(stream).await.unwrap();
    while let Ok(Incoming::Connect(request)) = server.next().await {
        tokio::spawn(async move {
            let tcp = tokio::net::TcpStream::connect(request.authority()).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            if let Some(stream) = request.accept() {
                splice(tcp, stream, || false).await;
            }
        });
    }
    Ok(())
}

/// Starts an agent, and carries each connection through it to the target.
async fn relay(target: String, security: Security) -> io::Result<()> {
    let keys = SessionKeys::generate().unwrap();
    let word = if security == Security::Tls { "tls" } else { "proof" };
    let (agent, endpoint) = run(Command::new(std::env::current_exe()?)
        .args(["agent", word])
        .env(IDENTITY, &keys.agent))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{} {}", listener.local_addr()?, agent.0.id());
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let (tunnel, driver) = Tunnel::open(endpoint.connect().await?, &keys.relay, security)
        .await
        .unwrap();
    tokio::spawn(driver);
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (tunnel, target) = (tunnel.clone(), target.clone());
        tokio::spawn(async move {
            let stream = tunnel.connect(&target).await.unwrap();
            splice(tcp, stream, || false).await;
        });
    }
}
