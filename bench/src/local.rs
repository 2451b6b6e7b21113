//! Connections that never leave the machine.

use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::median;

/// Times connect alone: making the socket and closing it stay outside of a hook's reach.
pub(crate) fn run(count: usize) -> Result<Value> {
    let tcp = TcpListener::bind("127.0.0.1:0").context("listening on loopback")?;
    let tcp_address = tcp.local_addr()?;
    let name = format!("kinject-load-{}", std::process::id());
    let unix_address = SocketAddr::from_abstract_name(name)?;
    let unix = UnixListener::bind_addr(&unix_address).context("listening on a Unix socket")?;

    let (mut loopback, mut local) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let (stream, took) = timed(|| TcpStream::connect(tcp_address))?;
        loopback.push(took);
        drop((stream, tcp.accept()?));
        let (stream, took) = timed(|| UnixStream::connect_addr(&unix_address))?;
        local.push(took);
        drop((stream, unix.accept()?));
    }
    let median = |taken| median::microseconds(taken).map(|spread| spread.median);
    Ok(json!({ "loopback_us": median(loopback), "unix_us": median(local) }))
}

fn timed<T>(connect: impl FnOnce() -> std::io::Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let stream = connect().context("connecting to the own listener")?;
    Ok((stream, start.elapsed()))
}
