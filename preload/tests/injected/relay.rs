//! The scripted relay: the control conversation and the pending connect, without a cluster.

mod conversation;
mod destinations;
mod files;
mod pod;

pub(crate) use files::RemoteFiles;

use crate::dns;
use crate::program::{TOKEN, control_address};
use crate::script::{self, Script};
use conversation::{describe, receive, reply, reply_with, send};
use destinations::{Destinations, establish};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{MAX_REQUEST, Reply, Request, TOKEN_LENGTH};
use pod::{bind_at, in_family_of, of_stand_in, own_address, stand_in, unspecified_address};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A relay that listens.
pub(crate) struct Relay {
    folder: TempDir,
    control: String,
    state: Arc<State>,
}

struct State {
    destinations: Destinations,
    /// A named pipe that a program opens and closes when it has handled a signal.
    signals: PathBuf,
    sockets: Mutex<HashMap<u64, Known>>,
    requests: Mutex<Vec<String>>,
    listeners: Mutex<Vec<&'static str>>,
    resolv_conf: Mutex<Option<PathBuf>>,
    remote_files: Mutex<Option<RemoteFiles>>,
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
        let state = Arc::new(State {
            destinations: Destinations::open(),
            signals,
            sockets: Mutex::default(),
            requests: Mutex::default(),
            listeners: Mutex::default(),
            resolv_conf: Mutex::default(),
            remote_files: Mutex::default(),
        });
        for (listener, kind) in [(listener, "path"), (named, "name")] {
            let for_thread = Arc::clone(&state);
            // ends with the process of the tests
            thread::spawn(move || {
                while let Ok(conversation) = net::accept_with(&listener, SocketFlags::CLOEXEC) {
                    let state = Arc::clone(&for_thread);
                    state.listeners.lock().expect("no panic holds it").push(kind);
                    thread::spawn(move || state.converse(&conversation));
                }
            });
        }
        Self {
            folder,
            control,
            state,
        }
    }

    /// The value of `KINJECT_CONTROL`.
    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    /// Removes and returns the requests so far, a line each.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().expect("no panic holds it"))
    }

    /// The listeners of the connections so far: `path` or `name`.
    pub(crate) fn listeners(&self) -> Vec<&'static str> {
        self.state.listeners.lock().expect("no panic holds it").clone()
    }

    /// Sets the file that programs get as the pod's resolv.conf.
    pub(crate) fn set_resolv_conf(&self, file: &std::path::Path) {
        *self.state.resolv_conf.lock().expect("no panic holds it") = Some(file.to_owned());
    }

    /// Sets the files that programs get of the container.
    pub(crate) fn set_remote_files(&self, files: RemoteFiles) {
        *self.state.remote_files.lock().expect("no panic holds it") = Some(files);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// The named pipe that a program opens and closes when it has handled a signal.
    pub(crate) fn signals(&self) -> &str {
        self.state.signals.to_str().expect("a path of ours")
    }

    /// The requests so far, a line each.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().expect("no panic holds it").clone()
    }
}

impl State {
    fn converse(&self, conversation: &OwnedFd) {
        let mut buffer = [0; TOKEN_LENGTH + MAX_REQUEST];
        let Some((length, passed)) = receive(conversation, &mut buffer) else {
            return;
        };
        let (token, request) = buffer[..length].split_at(TOKEN_LENGTH);
        assert_eq!(token, TOKEN);
        let request = Request::decode(request).expect("a request of ours");
        self.requests
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
            Request::Disconnect { cookie } => {
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
                if let Some(stand_in) = stand_in(target) {
                    let own = if connect {
                        stand_in.ip()
                    } else {
                        unspecified_address(&socket)
                    };
                    bind_at(&socket, own);
                    return reply(conversation, &Reply::StandIn(in_family_of(stand_in, &socket)));
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
            Request::Uninjectable { .. } | Request::ShutDown { .. } => reply(conversation, &Reply::Noted),
            Request::Bind { address } => {
                reply(
                    conversation,
                    &stand_in(address).map_or(Reply::Local, Reply::StandIn),
                );
            }
            Request::PodAddress { address } => {
                let pods = of_stand_in(address);
                reply(conversation, &pods.map_or(Reply::Unknown, Reply::Peer));
            }
            Request::Fetch { part, path } => {
                // one after the other
                let files = self.remote_files.lock().expect("no panic holds it");
                let answer = files.as_ref().map(|files| files.fetch(part, path));
                reply(conversation, &answer.unwrap_or(Reply::Unknown));
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
        if let Some(stand_in) = stand_in(target) {
            bind_at(&socket, stand_in.ip());
            return reply(conversation, &Reply::StandIn(stand_in));
        }
        let cookie = sockopt::socket_cookie(&socket).expect("a cookie");
        let note = |failure| {
            let known = Known { target, failure };
            self.sockets
                .lock()
                .expect("no panic holds it")
                .insert(cookie, known);
        };
        // a second connect returns the failure of the first
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
                self.destinations.greet(&socket);
                reply(conversation, &Reply::Connected);
            }
            Script::ProgressThenConnect => {
                let black_hole = self.destinations.leave_connecting(&socket);
                reply(conversation, &Reply::InProgress);
                establish(&socket, black_hole);
            }
            Script::ProgressForever => {
                self.destinations.leave_connecting(&socket);
                reply(conversation, &Reply::InProgress);
            }
            Script::ProgressThenRefuse => {
                self.destinations.leave_connecting(&socket);
                note(Some(ConnectFailure::Refused));
                reply(conversation, &Reply::InProgress);
                net::shutdown(&socket, net::Shutdown::Both).expect("shutdown");
            }
            Script::ProgressThenSignalThenRefuse => {
                self.destinations.leave_connecting(&socket);
                note(Some(ConnectFailure::Refused));
                reply(conversation, &Reply::InProgress);
                wait_for_signal();
                wait_until_program_connects(conversation);
                net::shutdown(&socket, net::Shutdown::Both).expect("shutdown");
            }
            Script::SignalThenProgress => {
                wait_for_signal();
                let black_hole = self.destinations.leave_connecting(&socket);
                reply(conversation, &Reply::InProgress);
                establish(&socket, black_hole);
            }
            Script::SignalThenConnected => {
                wait_for_signal();
                self.destinations.greet(&socket);
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
            Script::Close => {}
            Script::Garbage => send(conversation, b"HTTP/1.1 400 Bad Request\r\n"),
            Script::WrongReply => reply(conversation, &Reply::Unknown),
            Script::Local => reply(conversation, &Reply::Local),
        }
    }

    fn take_failure(&self, cookie: u64) -> Option<ConnectFailure> {
        let mut sockets = self.sockets.lock().expect("no panic holds it");
        sockets.get_mut(&cookie).and_then(|known| known.failure.take())
    }
}

/// Waits until the program sleeps in connect(2) (proc_pid_syscall(5)).
fn wait_until_program_connects(conversation: &OwnedFd) {
    let program = sockopt::socket_peercred(conversation).expect("a peer").pid;
    let call = format!("/proc/{}/syscall", program.as_raw_nonzero());
    let connect = format!("{} ", libc::SYS_connect);
    let end = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&call)
        .expect("a running program")
        .starts_with(&connect)
    {
        assert!(Instant::now() < end, "the program does not call connect again");
        std::thread::yield_now();
    }
}

/// The cookie of a socket's network namespace.
fn network(socket: &OwnedFd) -> u64 {
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as u32;
    // SAFETY: the option is a number of that length
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "Linux 5.14");
    cookie
}
