//! Many bytes in one direction.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use crate::connections::connect;

/// Bytes of one read or write.
pub(crate) const BLOCK: usize = 256 * 1024;
/// Warm-up before the measurement, in which flow-control windows open.
const WARM_UP: Duration = Duration::from_millis(300);

/// Reads from one source.
pub(crate) fn download(address: SocketAddr, duration: Duration) -> Result<Value> {
    let mut stream = connect(address)?;
    let mut block = vec![0; BLOCK];
    read_for(&mut stream, WARM_UP, &mut block)?;
    Ok(json!({ "mb_per_second": read_for(&mut stream, duration, &mut block)? }))
}

/// Reads for a while and returns the rate in MB/s.
pub(crate) fn read_for(stream: &mut TcpStream, duration: Duration, block: &mut [u8]) -> Result<f64> {
    let (start, mut total) = (Instant::now(), 0);
    while start.elapsed() < duration {
        let count = stream.read(block).context("reading from the source")?;
        ensure!(count > 0, "the source ended");
        total += count;
    }
    Ok(rate(total, start))
}

/// Reads from many sources at once.
pub(crate) fn download_many(address: SocketAddr, duration: Duration, streams: usize) -> Result<Value> {
    let mut sources = Vec::with_capacity(streams);
    for _ in 0..streams {
        let stream = connect(address)?;
        stream.set_nonblocking(true)?;
        sources.push(stream);
    }
    let mut block = vec![0; BLOCK];
    read_all_for(&mut sources, WARM_UP, &mut block)?;
    let start = Instant::now();
    let totals = read_all_for(&mut sources, duration, &mut block)?;
    let total = rate(totals.iter().sum(), start);
    let least = totals.iter().min().copied().unwrap_or_default();
    Ok(json!({ "mb_per_second": total, "slowest_mb_per_second": rate(least, start) }))
}

/// Reads for a while and returns how many bytes came from each source.
fn read_all_for(sources: &mut [TcpStream], duration: Duration, block: &mut [u8]) -> Result<Vec<usize>> {
    let (start, mut totals) = (Instant::now(), vec![0; sources.len()]);
    while start.elapsed() < duration {
        let ready: Vec<bool> = {
            let mut waiting: Vec<_> = sources
                .iter()
                .map(|source| PollFd::new(source, PollFlags::IN))
                .collect();
            poll(&mut waiting, None).context("waiting for the sources")?;
            waiting
                .iter()
                .map(|source| !source.revents().is_empty())
                .collect()
        };
        for ((source, total), _) in sources
            .iter_mut()
            .zip(&mut totals)
            .zip(ready)
            .filter(|(_, ready)| *ready)
        {
            match source.read(block) {
                Ok(0) => anyhow::bail!("a source ended"),
                Ok(count) => *total += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("reading from a source"),
            }
        }
    }
    Ok(totals)
}

/// Writes for a while. The measurement ends when the service has reported how many bytes it received.
pub(crate) fn upload(address: SocketAddr, duration: Duration) -> Result<Value> {
    let mut stream = connect(address)?;
    let block = vec![b'u'; BLOCK];
    let (start, mut total) = (Instant::now(), 0);
    while start.elapsed() < duration {
        stream.write_all(&block).context("writing")?;
        total += block.len();
    }
    stream.shutdown(Shutdown::Write).context("ending the upload")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the answer")?;
    let rate = rate(total, start);
    ensure!(
        answer == format!("{total} bytes\n"),
        "{total} bytes were sent, and the answer is {answer:?}"
    );
    Ok(json!({ "mb_per_second": rate }))
}

/// Writes to a service that reports nothing. Once all buffers are full, the rate of writes is the rate of delivery.
pub(crate) fn send(address: SocketAddr, duration: Duration) -> Result<Value> {
    let mut stream = connect(address)?;
    let block = vec![b'u'; BLOCK];
    write_for(&mut stream, WARM_UP, &block)?;
    Ok(json!({ "mb_per_second": write_for(&mut stream, duration, &block)? }))
}

fn write_for(stream: &mut TcpStream, duration: Duration, block: &[u8]) -> Result<f64> {
    let (start, mut total) = (Instant::now(), 0);
    while start.elapsed() < duration {
        total += stream.write(block).context("writing")?;
    }
    Ok(rate(total, start))
}

fn rate(bytes: usize, since: Instant) -> f64 {
    bytes as f64 / since.elapsed().as_secs_f64() / 1e6
}
