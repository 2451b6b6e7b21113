//! Measures what a stalled reader costs another reader.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::connections::connect;
use crate::median;
use crate::transfer::{BLOCK, read_for};

/// Turns without and with the stalled reader.
const TURNS: usize = 3;
/// No byte arrived for this long: every buffer between source and reader is full.
const QUIET: Duration = Duration::from_millis(200);
/// How long the buffers may take to fill up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Measures the rate of one reader, alternately alone and beside a reader that stalls.
pub(crate) fn run(address: SocketAddr, duration: Duration) -> Result<Value> {
    let mut reader = connect(address)?;
    let mut block = vec![0; BLOCK];
    read_for(&mut reader, duration, &mut block)?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.push(read_for(&mut reader, duration, &mut block)?);
        let stalled = connect(address)?;
        wait_until_full(&stalled, &mut reader, &mut block)?;
        beside.push(read_for(&mut reader, duration, &mut block)?);
    }
    let (alone, beside) = (median::of(alone), median::of(beside));
    Ok(json!({
        "alone_mb_per_second": alone,
        "beside_mb_per_second": beside,
        "cost_percent": (1.0 - beside / alone) * 100.0,
    }))
}

/// Waits until nothing arrives any more on `stalled`, while the other reader goes on.
fn wait_until_full(stalled: &TcpStream, reader: &mut TcpStream, block: &mut [u8]) -> Result<()> {
    let start = Instant::now();
    let (mut arrived, mut since) = (0, Instant::now());
    while arrived == 0 || since.elapsed() < QUIET {
        ensure!(
            start.elapsed() < TIMEOUT,
            "a connection that nobody reads never fills up"
        );
        read_for(reader, Duration::from_millis(20), block)?;
        let now = rustix::io::ioctl_fionread(stalled)?;
        if now != arrived {
            (arrived, since) = (now, Instant::now());
        }
        thread::yield_now();
    }
    Ok(())
}
