//! Latency: short connections that carry one byte, and round trips of one byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::median;

/// Warm-up connections, which are not measured.
const WARM_UP: usize = 20;

/// Connects, sends a byte, reads it back and closes, over and over.
pub(crate) fn sequential(address: SocketAddr, duration: Duration) -> Result<Value> {
    let once = || -> Result<()> { exchange(&mut connect(address)?) };
    for _ in 0..WARM_UP {
        once()?;
    }
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < duration {
        once()?;
        count += 1;
    }
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    Ok(json!({ "per_second": per_second, "connections": count }))
}

/// Repeats round trips of one byte on one connection.
pub(crate) fn round_trips(address: SocketAddr, duration: Duration) -> Result<Value> {
    let mut stream = connect(address)?;
    stream.set_nodelay(true)?;
    for _ in 0..WARM_UP {
        exchange(&mut stream)?;
    }
    let (start, mut turns) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let turn = Instant::now();
        exchange(&mut stream)?;
        turns.push(turn.elapsed());
    }
    let spread = median::microseconds(turns).context("not one round trip in that time")?;
    Ok(json!({ "median_us": spread.median, "p99_us": spread.p99 }))
}

/// Connects; an error names the address.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).with_context(|| format!("connecting to {address}"))
}

/// Sends a byte and reads it back.
pub(crate) fn exchange(stream: &mut TcpStream) -> Result<()> {
    let mut byte = [0];
    stream.write_all(b"e").context("sending a byte")?;
    stream.read_exact(&mut byte).context("reading the byte's echo")?;
    ensure!(byte == *b"e", "the echo is another byte: {byte:?}");
    Ok(())
}
