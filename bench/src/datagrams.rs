//! Datagrams: round trips, and one direction at a constant rate.
//!
//! The receiver counts. The sender asks for the count with an empty datagram, which travels behind the datagrams that
//! were sent before it, so that the answer tells how many of them were lost.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::median;

/// What a datagram carries.
const SIZE: usize = 200;

/// Warm-up round trips, which are not measured.
const WARM_UP: usize = 20;

/// An answer that takes longer counts as lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How often the count is asked for, when no answer comes.
const QUESTIONS: usize = 3;

/// The receive buffer's size: what arrives while the counter is not scheduled.
static BUFFER: libc::c_int = 8 * 1024 * 1024;

/// The sender wakes at this interval and sends what is due: a busy loop would take processor time from relay and agent.
const TICK: Duration = Duration::from_millis(1);

/// Repeats round trips of one datagram.
pub(crate) fn echo(address: SocketAddr, duration: Duration) -> Result<Value> {
    let socket = connect(address)?;
    for _ in 0..WARM_UP {
        exchange(&socket)?;
    }
    let (start, mut turns) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let turn = Instant::now();
        exchange(&socket)?;
        turns.push(turn.elapsed());
    }
    let spread = median::microseconds(turns).context("not one round trip in that time")?;
    Ok(json!({ "median_us": spread.median, "p99_us": spread.p99 }))
}

/// Sends datagrams at a rate to a [`count`]er and reports how many were lost.
pub(crate) fn send(address: SocketAddr, duration: Duration, rate: u32) -> Result<Value> {
    let socket = connect(address)?;
    let sent = pace(&socket, duration, rate)?;
    ensure!(
        sent.per_second > f64::from(rate) * 0.98,
        "the sender cannot keep a pace of {rate} datagrams/s: {:.0}/s",
        sent.per_second
    );
    Ok(json!({ "lost": sent.lost, "sent": sent.count, "per_second": sent.per_second }))
}

struct Sent {
    count: u64,
    lost: u64,
    per_second: f64,
}

fn pace(socket: &UdpSocket, duration: Duration, rate: u32) -> Result<Sent> {
    let before = ask(socket)?;
    let (start, mut count) = (Instant::now(), 0_u64);
    let elapsed = loop {
        let elapsed = start.elapsed();
        let due = (elapsed.min(duration).as_secs_f64() * f64::from(rate)) as u64;
        while count < due {
            socket.send(&[b'd'; SIZE]).context("sending a datagram")?;
            count += 1;
        }
        if elapsed >= duration {
            break start.elapsed();
        }
        thread::sleep(TICK);
    };
    let received = ask(socket)?.saturating_sub(before);
    Ok(Sent {
        count,
        lost: count.saturating_sub(received),
        per_second: count as f64 / elapsed.as_secs_f64(),
    })
}

/// Counts the datagrams that arrive at a port until standard input ends; prints a line once it listens.
pub(crate) fn count(port: u16) -> Result<Value> {
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("taking port {port}"))?;
    widen(&socket)?;
    thread::spawn(move || {
        if let Err(error) = count_all(&socket) {
            eprintln!("kinject-load: counting: {error}");
        }
    });
    println!("{}", json!({ "counting": port }));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(json!({}))
}

/// Enlarges the receive buffer; with privilege, beyond the machine's limit (`SO_RCVBUFFORCE`).
fn widen(socket: &UdpSocket) -> io::Result<()> {
    let set = |option| {
        // SAFETY: the option reads a number that outlives the call
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const BUFFER).cast(),
                size_of_val(&BUFFER) as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    set(libc::SO_RCVBUFFORCE).or_else(|_| set(libc::SO_RCVBUF))
}

fn count_all(socket: &UdpSocket) -> io::Result<()> {
    let (mut received, mut buffer) = (0_u64, [0; SIZE]);
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        match length {
            0 => drop(socket.send_to(&received.to_be_bytes(), peer)?),
            _ => received += 1,
        }
    }
}

/// Asks the counter for its count with an empty datagram.
fn ask(socket: &UdpSocket) -> Result<u64> {
    for _ in 0..QUESTIONS {
        socket.send(&[]).context("asking for the count")?;
        let mut count = [0; 8];
        match socket.recv(&mut count) {
            Ok(8) => return Ok(u64::from_be_bytes(count)),
            Ok(length) => bail!("the count has {length} bytes"),
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(error).context("reading the count"),
        }
    }
    bail!("nobody answers with a count")
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn connect(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket
        .connect(address)
        .with_context(|| format!("connecting to {address}"))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket) -> Result<()> {
    let mut echo = [0; SIZE];
    socket.send(&[b'e'; SIZE]).context("sending a datagram")?;
    let length = socket.recv(&mut echo).context("reading a datagram's echo")?;
    ensure!(
        length == SIZE && echo == [b'e'; SIZE],
        "the echo is another datagram"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_counter_reports_lost_datagrams() {
        let counter = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = counter.local_addr().unwrap();
        thread::spawn(move || count_all(&counter));
        let socket = connect(address).unwrap();
        assert_eq!(ask(&socket).unwrap(), 0);
        socket.send(b"one").unwrap();
        assert_eq!(ask(&socket).unwrap(), 1);
        let sent = pace(&socket, Duration::from_millis(50), 1000).unwrap();
        assert_eq!((sent.count, sent.lost), (50, 0));
    }
}
