//! The listeners to which programs' sockets connect: one that accepts and sends "welcome", and one that drops every
//! packet, which leaves a socket in `SYN_SENT` until a simultaneous open.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

/// The address at which the program's data arrives.
const DATA: Ipv4Addr = Ipv4Addr::new(127, 107, 0, 1);

/// One of each kind for each family.
pub(super) struct Destinations {
    /// Listeners that send "welcome".
    greeters: [SocketAddr; 2],
    /// Listeners that drop every packet.
    black_holes: [(SocketAddr, OwnedFd); 2],
}

impl Destinations {
    pub(super) fn open() -> Self {
        Self {
            greeters: [greeter(DATA.into()), greeter(Ipv6Addr::LOCALHOST.into())],
            black_holes: [black_hole(DATA.into()), black_hole(Ipv6Addr::LOCALHOST.into())],
        }
    }

    /// Connects a socket to a greeter.
    pub(super) fn greet(&self, socket: &OwnedFd) {
        let address = for_socket(socket, self.greeters);
        match net::connect(socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                poll(&mut [PollFd::new(socket, PollFlags::OUT)], None).expect("poll");
            }
            Err(error) => panic!("connect to the greeter: {error}"),
        }
    }

    /// Leaves a socket in `SYN_SENT`; returns its target.
    pub(super) fn leave_connecting(&self, socket: &OwnedFd) -> SocketAddr {
        let black_holes = [self.black_holes[0].0, self.black_holes[1].0];
        let address = for_socket(socket, black_holes);
        let flags = fcntl_getfl(socket).expect("flags");
        fcntl_setfl(socket, flags | OFlags::NONBLOCK).expect("flags");
        assert_eq!(net::connect(socket, &address), Err(Errno::INPROGRESS));
        fcntl_setfl(socket, flags).expect("flags");
        if address.is_ipv6() && address.ip().to_canonical().is_ipv4() {
            black_holes[0]
        } else {
            address
        }
    }
}

/// The address in the socket's family, mapped for a dual-stack IPv6 socket.
fn for_socket(socket: &OwnedFd, [v4, v6]: [SocketAddr; 2]) -> SocketAddr {
    if sockopt::socket_domain(socket) != Ok(AddressFamily::INET6) {
        return v4;
    }
    if sockopt::ipv6_v6only(socket) == Ok(true) {
        return v6;
    }
    SocketAddr::new(IpAddr::V6(DATA.to_ipv6_mapped()), v4.port())
}

/// Completes a connect by a simultaneous open, and sends "welcome".
pub(super) fn establish(socket: &OwnedFd, black_hole: SocketAddr) {
    let program: SocketAddr = net::getsockname(socket)
        .expect("a name")
        .try_into()
        .expect("an internet address");
    let program = SocketAddr::new(program.ip().to_canonical(), program.port());
    let data = tcp_socket(black_hole);
    net::bind(&data, &black_hole).expect("bind");
    net::connect(&data, &program).expect("simultaneous open");
    TcpStream::from(data).write_all(b"welcome\n").expect("write");
}

fn tcp_socket(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("reuse");
    sockopt::set_socket_reuseport(&socket, true).expect("reuse");
    socket
}

/// A listener that drops every packet: it requires more hops left than local packets have.
fn black_hole(ip: IpAddr) -> (SocketAddr, OwnedFd) {
    let address = SocketAddr::new(ip, 0);
    let socket = tcp_socket(address);
    net::bind(&socket, &address).expect("bind");
    let (level, option) = match ip {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    let most: libc::c_int = 255;
    // SAFETY: the option is an int, and the kernel copies it
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const most).cast(),
            size_of_val(&most) as u32,
        )
    };
    assert_eq!(set, 0);
    net::listen(&socket, 1).expect("listen");
    let bound = net::getsockname(&socket)
        .expect("a name")
        .try_into()
        .expect("an internet address");
    (bound, socket)
}

/// A listener that sends "welcome" and shuts the connection down.
fn greeter(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("bind");
    let address = listener.local_addr().expect("a name");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // the program may be gone already
            let _sent = stream
                .write_all(b"welcome\n")
                .and_then(|()| stream.shutdown(Shutdown::Write));
            // the program's data is read, so that close does not send a reset
            thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    address
}
