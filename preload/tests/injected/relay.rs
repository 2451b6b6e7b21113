//! A relay that plays a script: the control conversation and the pending connect, without a cluster behind.

use crate::dns;
use crate::program::{TOKEN, control_address};
use crate::script::{self, Script};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{MAX_REQUEST, Reply, Request, TOKEN_LENGTH};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The address at which the program's data arrives.
const DATA: Ipv4Addr = Ipv4Addr::new(127, 107, 0, 1);

/// The pod's own addresses, and what stands for each of them.
const POD: [(IpAddr, Ipv4Addr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::new(10, 244, 0, 5)),
        Ipv4Addr::new(127, 106, 0, 1),
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5)),
        Ipv4Addr::new(127, 105, 0, 1),
    ),
];

/// A relay that listens.
pub(crate) struct Relay {
    folder: TempDir,
    control: String,
    world: Arc<World>,
}

struct World {
    /// Connects that end at a listener, by family.
    greeters: [SocketAddr; 2],
    /// Where connects hang, by family; the port's listener drops them.
    black_holes: [(SocketAddr, OwnedFd); 2],
    /// A named pipe that a program opens and closes when it has handled a signal.
    signals: PathBuf,
    sockets: Mutex<HashMap<u64, Known>>,
    asked: Mutex<Vec<String>>,
    called: Mutex<Vec<&'static str>>,
    resolv_conf: Mutex<Option<PathBuf>>,
}

/// A socket that went through the relay.
struct Known {
    target: SocketAddr,
    failure: Option<ConnectFailure>,
}

impl Relay {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        let path = folder.path().join("control");
        net::bind(&listener, &net::SocketAddrUnix::new(&path).expect("a short path")).expect("bind");
        net::listen(&listener, 128).expect("listen");
        let signals = folder.path().join("signals");
        let name = format!(
            "kinject-test-{}",
            folder.path().file_name().expect("a name").display()
        );
        let named = net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        let address = net::SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a short name");
        net::bind(&named, &address).expect("bind");
        net::listen(&named, 128).expect("listen");
        let control = control_address(&name, Some(network(&named)));
        mkfifoat(CWD, &signals, Mode::RUSR | Mode::WUSR).expect("a named pipe");
        let world = Arc::new(World {
            greeters: [greeter(DATA.into()), greeter(Ipv6Addr::LOCALHOST.into())],
            black_holes: [black_hole(DATA.into()), black_hole(Ipv6Addr::LOCALHOST.into())],
            signals,
            sockets: Mutex::default(),
            asked: Mutex::default(),
            called: Mutex::default(),
            resolv_conf: Mutex::default(),
        });
        for (listener, place) in [(listener, "path"), (named, "name")] {
            let for_thread = Arc::clone(&world);
            // ends with the process of the tests
            thread::spawn(move || {
                while let Ok(conversation) = net::accept_with(&listener, SocketFlags::CLOEXEC) {
                    let world = Arc::clone(&for_thread);
                    world.called.lock().expect("no panic holds it").push(place);
                    thread::spawn(move || world.converse(&conversation));
                }
            });
        }
        Self {
            folder,
            control,
            world,
        }
    }

    /// The value of `KINJECT_CONTROL`.
    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    /// The same, and begins anew.
    pub(crate) fn forget_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.world.asked.lock().expect("no panic holds it"))
    }

    /// At which of its two sockets it was called, one after the other: `path` or `name`.
    pub(crate) fn called(&self) -> Vec<&'static str> {
        self.world.called.lock().expect("no panic holds it").clone()
    }

    /// Gives programs this file where they ask for the pod's resolv.conf.
    pub(crate) fn hands_out(&self, file: &std::path::Path) {
        *self.world.resolv_conf.lock().expect("no panic holds it") = Some(file.to_owned());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// The named pipe that a program opens and closes when it has handled a signal.
    pub(crate) fn signals(&self) -> &str {
        self.world.signals.to_str().expect("a path of ours")
    }

    /// What was asked so far, a line each.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.world.asked.lock().expect("no panic holds it").clone()
    }
}

impl World {
    fn converse(&self, conversation: &OwnedFd) {
        let mut buffer = [0; TOKEN_LENGTH + MAX_REQUEST];
        let Some((length, passed)) = receive(conversation, &mut buffer) else {
            return;
        };
        let (token, request) = buffer[..length].split_at(TOKEN_LENGTH);
        assert_eq!(token, TOKEN);
        let request = Request::decode(request).expect("a request of ours");
        self.asked
            .lock()
            .expect("no panic holds it")
            .push(describe(&request));
        match request {
            Request::Connect { target } => {
                let socket = passed.expect("a connect comes with its socket");
                self.connect(conversation, target, socket);
            }
            Request::Peer { cookie } => {
                let sockets = self.sockets.lock().expect("no panic holds it");
                reply(
                    conversation,
                    &sockets
                        .get(&cookie)
                        .map_or(Reply::Unknown, |known| Reply::Peer(known.target)),
                );
            }
            Request::OwnAddress { cookie } => {
                let sockets = self.sockets.lock().expect("no panic holds it");
                let own = |known: &Known| SocketAddr::new(own_address(known.target), 0);
                reply(
                    conversation,
                    &sockets
                        .get(&cookie)
                        .map_or(Reply::Unknown, |known| Reply::Peer(own(known))),
                );
            }
            Request::Dissolve { cookie } => {
                let failure = self.take_failure(cookie);
                self.sockets.lock().expect("no panic holds it").remove(&cookie);
                reply(conversation, &failure.map_or(Reply::Noted, Reply::Failed));
            }
            Request::Failure { cookie } => {
                let failure = self.take_failure(cookie);
                reply(conversation, &failure.map_or(Reply::Unknown, Reply::Failed));
            }
            Request::Resolve { family, name, .. } => {
                let name = std::str::from_utf8(name).expect("a host name");
                if let Some(answer) = script::lookup(name, family) {
                    reply(conversation, &answer);
                }
            }
            Request::Query { search, message, .. } => {
                if let Some(answer) = dns::query(message, search) {
                    reply(conversation, &answer);
                }
            }
            Request::Flow { target, connect } => {
                let socket = passed.expect("a flow is asked for with its socket");
                if let Some(there) = stand_in(target) {
                    let place = if connect {
                        there.ip()
                    } else {
                        target_of_nobody(&socket)
                    };
                    bind_at(&socket, place);
                    return reply(conversation, &Reply::StandIn(form_of(there, &socket)));
                }
                let failure = Reply::Failed(ConnectFailure::NetworkUnreachable);
                match Script::of_port(target.port()) {
                    Script::Local => reply(conversation, &Reply::Local),
                    _ => reply(conversation, &failure),
                }
            }
            Request::Source { .. } => reply(conversation, &Reply::Unknown),
            Request::Reverse { address } => {
                if let Some(answer) = dns::reverse(address) {
                    reply(conversation, &answer);
                }
            }
            Request::Outsider { .. } | Request::ShutDown { .. } => reply(conversation, &Reply::Noted),
            Request::Bind { address } => {
                reply(
                    conversation,
                    &stand_in(address).map_or(Reply::Local, Reply::StandIn),
                );
            }
            Request::PodAddress { address } => {
                let known = POD
                    .iter()
                    .find(|(_, there)| IpAddr::V4(*there) == address.ip().to_canonical());
                let pods = known.map(|(pods, _)| SocketAddr::new(*pods, address.port()));
                reply(conversation, &pods.map_or(Reply::Unknown, Reply::Peer));
            }
            Request::ResolvConf => {
                let file = self.resolv_conf.lock().expect("no panic holds it").clone();
                match file {
                    Some(file) => reply_with(conversation, &File::open(file).expect("a file")),
                    None => reply(conversation, &Reply::Unknown),
                }
            }
        }
    }

    fn connect(&self, conversation: &OwnedFd, target: SocketAddr, socket: OwnedFd) {
        if let Some(there) = stand_in(target) {
            bind_at(&socket, there.ip());
            return reply(conversation, &Reply::StandIn(there));
        }
        let cookie = sockopt::socket_cookie(&socket).expect("a cookie");
        let note = |failure| {
            let known = Known { target, failure };
            self.sockets
                .lock()
                .expect("no panic holds it")
                .insert(cookie, known);
        };
        // a second connect after a failure fetches the failure
        if let Some(failure) = self.take_failure(cookie) {
            reply(conversation, &Reply::Failed(failure));
            return;
        }
        note(None);
        // the program's handler opens the pipe for writing
        let wait_for_signal = || std::fs::read(&self.signals).expect("a named pipe");
        match Script::of_port(target.port()) {
            Script::Fail(failure) => reply(conversation, &Reply::Failed(failure)),
            Script::Connect => {
                self.greet(&socket);
                reply(conversation, &Reply::Connected);
            }
            Script::ProgressThenConnect => {
                let hole = self.hang(&socket);
                reply(conversation, &Reply::InProgress);
                establish(&socket, hole);
            }
            Script::ProgressForEver => {
                self.hang(&socket);
                reply(conversation, &Reply::InProgress);
            }
            Script::ProgressThenRefuse => {
                self.hang(&socket);
                note(Some(ConnectFailure::Refused));
                reply(conversation, &Reply::InProgress);
                net::shutdown(&socket, net::Shutdown::Both).expect("shutdown");
            }
            Script::ProgressThenSignalThenRefuse => {
                self.hang(&socket);
                note(Some(ConnectFailure::Refused));
                reply(conversation, &Reply::InProgress);
                wait_for_signal();
                wait_until_it_connects(conversation);
                net::shutdown(&socket, net::Shutdown::Both).expect("shutdown");
            }
            Script::SignalThenProgress => {
                wait_for_signal();
                let hole = self.hang(&socket);
                reply(conversation, &Reply::InProgress);
                establish(&socket, hole);
            }
            Script::SignalThenConnected => {
                wait_for_signal();
                self.greet(&socket);
                reply(conversation, &Reply::Connected);
            }
            Script::SignalThenRefused => {
                wait_for_signal();
                reply(conversation, &Reply::Failed(ConnectFailure::Refused));
            }
            Script::Silence => {
                // until the program gives up
                assert!(receive(conversation, &mut [0; MAX_REQUEST]).is_none());
            }
            Script::HangUp => {}
            Script::Garbage => send(conversation, b"HTTP/1.1 400 Bad Request\r\n"),
            Script::WrongReply => reply(conversation, &Reply::Unknown),
            Script::Local => reply(conversation, &Reply::Local),
        }
    }

    fn take_failure(&self, cookie: u64) -> Option<ConnectFailure> {
        let mut sockets = self.sockets.lock().expect("no panic holds it");
        sockets.get_mut(&cookie).and_then(|known| known.failure.take())
    }

    /// Connects a socket for good.
    fn greet(&self, socket: &OwnedFd) {
        let address = for_socket(socket, self.greeters);
        match net::connect(socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                poll(&mut [PollFd::new(socket, PollFlags::OUT)], None).expect("poll");
            }
            Err(error) => panic!("connect to the greeter: {error}"),
        }
    }

    /// Leaves a socket in `SYN_SENT`; gives where it hangs.
    fn hang(&self, socket: &OwnedFd) -> SocketAddr {
        let holes = [self.black_holes[0].0, self.black_holes[1].0];
        let address = for_socket(socket, holes);
        let flags = fcntl_getfl(socket).expect("flags");
        fcntl_setfl(socket, flags | OFlags::NONBLOCK).expect("flags");
        assert_eq!(net::connect(socket, &address), Err(Errno::INPROGRESS));
        fcntl_setfl(socket, flags).expect("flags");
        if address.is_ipv6() && address.ip().to_canonical().is_ipv4() {
            holes[0]
        } else {
            address
        }
    }
}

/// Until the program at the other end sleeps in connect(2) (proc_pid_syscall(5)).
fn wait_until_it_connects(conversation: &OwnedFd) {
    let program = sockopt::socket_peercred(conversation).expect("a peer").pid;
    let call = format!("/proc/{}/syscall", program.as_raw_nonzero());
    let connect = format!("{} ", libc::SYS_connect);
    let end = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&call)
        .expect("a program that lives")
        .starts_with(&connect)
    {
        assert!(Instant::now() < end, "it never came back to connect");
        std::thread::yield_now();
    }
}

/// What stands for an address of the pod's own.
fn stand_in(address: SocketAddr) -> Option<SocketAddr> {
    let known = POD
        .iter()
        .find(|(pods, _)| *pods == address.ip().to_canonical())?;
    Some(SocketAddr::new(known.1.into(), address.port()))
}

/// The unspecified address of the socket's family.
fn target_of_nobody(socket: &OwnedFd) -> IpAddr {
    match sockopt::socket_domain(socket) {
        Ok(AddressFamily::INET6) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// An IPv4 address as this socket takes it.
fn form_of(address: SocketAddr, socket: &OwnedFd) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) if sockopt::socket_domain(socket) == Ok(AddressFamily::INET6) => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}

/// Binds a socket that has no port yet.
fn bind_at(socket: &OwnedFd, ip: IpAddr) {
    let own: SocketAddr = net::getsockname(socket)
        .expect("a name")
        .try_into()
        .expect("an internet address");
    if own.port() == 0 {
        if sockopt::socket_domain(socket) == Ok(AddressFamily::INET6) {
            sockopt::set_ipv6_v6only(socket, false).expect("no address yet");
        }
        net::bind(socket, &form_of(SocketAddr::new(ip, 0), socket)).expect("bind");
    }
}

/// The pod's address of that family.
fn own_address(target: SocketAddr) -> IpAddr {
    let [(v4, _), (v6, _)] = POD;
    match target.ip().to_canonical() {
        IpAddr::V4(_) => v4,
        IpAddr::V6(_) => v6,
    }
}

/// The address of the socket's own family, mapped where an IPv6 socket speaks both.
fn for_socket(socket: &OwnedFd, [v4, v6]: [SocketAddr; 2]) -> SocketAddr {
    if sockopt::socket_domain(socket) != Ok(AddressFamily::INET6) {
        return v4;
    }
    if sockopt::ipv6_v6only(socket) == Ok(true) {
        return v6;
    }
    SocketAddr::new(IpAddr::V6(DATA.to_ipv6_mapped()), v4.port())
}

/// Completes a connect by opening one from the other side at the same time, and greets.
fn establish(socket: &OwnedFd, hole: SocketAddr) {
    let program: SocketAddr = net::getsockname(socket)
        .expect("a name")
        .try_into()
        .expect("an internet address");
    let program = SocketAddr::new(program.ip().to_canonical(), program.port());
    let data = tcp_socket(hole);
    net::bind(&data, &hole).expect("bind");
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

/// A listener that drops what comes: every packet has fewer hops left than it wants.
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

/// A listener that says "welcome" and hangs up.
fn greeter(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("bind");
    let address = listener.local_addr().expect("a name");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // the program may be gone already
            let _sent = stream
                .write_all(b"welcome\n")
                .and_then(|()| stream.shutdown(Shutdown::Write));
            // what it sends is read, so that it is not answered with a reset
            thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    address
}

/// One message with the descriptor that came with it; none at the end.
fn receive(conversation: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = net::recvmsg(conversation, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    let passed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (received.bytes > 0).then_some((received.bytes, passed))
}

fn reply(conversation: &OwnedFd, reply: &Reply) {
    let mut buffer = Vec::new();
    reply.encode(&mut buffer);
    send(conversation, &buffer);
}

/// [`Reply::File`] with a file.
fn reply_with(conversation: &OwnedFd, file: &File) {
    let mut buffer = Vec::new();
    Reply::File.encode(&mut buffer);
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    let parts = [IoSlice::new(&buffer)];
    net::sendmsg(conversation, &parts, &mut ancillary, SendFlags::NOSIGNAL).expect("a caller");
}

/// The number of a socket's network namespace.
fn network(socket: &OwnedFd) -> u64 {
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as u32;
    // SAFETY: the option is a number of that length
    let told = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(told, 0, "Linux 5.14");
    cookie
}

fn send(conversation: &OwnedFd, message: &[u8]) {
    // the program may be gone already
    let _sent = net::send(conversation.as_fd(), message, SendFlags::NOSIGNAL);
}

fn describe(request: &Request<'_>) -> String {
    match request {
        Request::Connect { target } => format!("connect {target}"),
        Request::Peer { .. } => "peer".into(),
        Request::OwnAddress { .. } => "own address".into(),
        Request::Dissolve { .. } => "dissolve".into(),
        Request::Failure { .. } => "failure".into(),
        Request::ShutDown { .. } => "shut down".into(),
        Request::Bind { address } => format!("bind {address}"),
        Request::PodAddress { address } => format!("pod address {address}"),
        Request::Resolve {
            family,
            purpose,
            name,
        } => {
            format!("resolve {family:?} {purpose:?} {}", String::from_utf8_lossy(name))
        }
        Request::Query { way, search, message } => {
            format!("query {way:?} {} {search:?}", dns::question(message))
        }
        Request::Flow { target, .. } => format!("flow {target}"),
        Request::Source { address, .. } => format!("source {address}"),
        Request::ResolvConf => "resolv.conf".into(),
        Request::Reverse { address } => format!("reverse {address}"),
        Request::Outsider {
            obstacle,
            is_refused,
            program,
        } => {
            let fate = if *is_refused { "refused" } else { "outside" };
            format!("{fate} {obstacle:?} {}", String::from_utf8_lossy(program))
        }
    }
}
