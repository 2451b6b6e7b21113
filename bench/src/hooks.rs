//! Measures calls that a hook passes through, in nanoseconds each.
//!
//! The difference between a bare and a preloaded run is what the hooks add.

use std::ffi::CStr;
use std::mem;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

/// Warm-up calls, which are not measured.
const WARM_UP: usize = 1000;

/// Makes each call `count` times.
pub(crate) fn run(count: usize) -> Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening on loopback")?;
    let stream = TcpStream::connect(listener.local_addr()?).context("connecting to the own listener")?;
    let datagrams = UdpSocket::bind("127.0.0.1:0").context("binding a datagram socket")?;
    let (stream, datagrams) = (stream.as_raw_fd(), datagrams.as_raw_fd());
    let target = address("127.0.0.1:9".parse()?);
    let mut measured = Map::new();
    let mut measure = |name: &str, call: &mut dyn FnMut() -> isize| -> Result<()> {
        for _ in 0..WARM_UP {
            ensure!(call() >= 0, "{name}: {}", std::io::Error::last_os_error());
        }
        let begun = Instant::now();
        for _ in 0..count {
            call();
        }
        let each = begun.elapsed().as_secs_f64() * 1e9 / count as f64;
        measured.insert(name.to_owned(), json!(each));
        Ok(())
    };
    measure("getsockopt_ns", &mut || socket_type(stream))?;
    measure("getpeername_ns", &mut || peer(stream))?;
    // no program listens there; the socket is not connected, so the ICMP error is not reported
    measure("sendto_ns", &mut || send_to(datagrams, &target, 0))?;
    let elsewhere = Box::new(target);
    measure("sendto_heap_ns", &mut || {
        refused(send_to(datagrams, &elsewhere, libc::MSG_OOB))
    })?;
    measure("recvfrom_ns", &mut || receive_nothing(datagrams))?;
    measure("open_ns", &mut || open_and_close(c"/dev/null"))?;
    measure("stat_ns", &mut || status(c"/dev/null"))?;
    Ok(Value::Object(measured))
}

fn address(target: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: target.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*target.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// An option that no hook looks at.
fn socket_type(socket: i32) -> isize {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let buffer = (&raw mut value).cast();
    // SAFETY: the value is writable for its length, and the length itself is writable
    unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_TYPE, buffer, &raw mut length) as isize }
}

fn peer(socket: i32) -> isize {
    // SAFETY: zeros are an address
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address is writable for its length, and the length itself is writable
    unsafe { libc::getpeername(socket, (&raw mut address).cast(), &raw mut length) as isize }
}

fn send_to(socket: i32, target: &libc::sockaddr_in, flags: libc::c_int) -> isize {
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the datagram is empty, and the address is readable for its length
    unsafe { libc::sendto(socket, [].as_ptr(), 0, flags, (&raw const *target).cast(), length) }
}

/// UDP refuses urgent data before anything else, so that the cost of the hook dominates.
fn refused(sent: isize) -> isize {
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EOPNOTSUPP) if sent == -1 => 0,
        _ => -1,
    }
}

fn open_and_close(path: &CStr) -> isize {
    // SAFETY: the path is a C string
    let opened = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    // SAFETY: close takes no pointer, and nobody else knows the descriptor
    unsafe { libc::close(opened) as isize }
}

fn status(path: &CStr) -> isize {
    // SAFETY: zeros are a status
    let mut status: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: the path is a C string, and the status is writable
    unsafe { libc::stat(path.as_ptr(), &raw mut status) as isize }
}

/// Receives from an empty queue.
fn receive_nothing(socket: i32) -> isize {
    let mut byte = 0_u8;
    let buffer = (&raw mut byte).cast();
    // SAFETY: the byte is writable, and the sender's address is not asked for
    let received = unsafe {
        libc::recvfrom(
            socket,
            buffer,
            1,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    // EAGAIN is the expected result
    received.max(0)
}
