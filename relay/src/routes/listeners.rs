//! Whether one of the session's programs receives what is sent to an address of this machine.
//!
//! Programs outside the session have sockets, too, and most of them are bound to all addresses. A program that connects
//! to the agent's host must not reach such a server of the user's own.

use super::Transport;
use crate::log;
use crate::socket_watch::proc_fd;
use crate::socket_watch::sock_diag::Inquiry;
use kinject_protocol::membership;
use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the owner of a socket is cached: to search all processes takes some milliseconds, which would add up over
/// many connects.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// Maximum number of cached sockets.
const MAX_CACHED: usize = 64;

/// The sockets of the session's programs.
pub(crate) struct SessionListeners {
    /// The session's `KINJECT_CONTROL`, which its programs have in their environment.
    control: String,
    library: PathBuf,
    inquiry: OnceCell<Inquiry>,
    known: parking_lot::Mutex<HashMap<u32, Known>>,
}

/// The cached owner of a socket.
#[derive(Clone, Copy)]
struct Known {
    is_ours: bool,
    since: Instant,
}

impl SessionListeners {
    /// The sockets of the session with this `KINJECT_CONTROL`, whose programs load this library.
    pub(crate) fn of(control: &str, library: &Path) -> Self {
        Self {
            control: control.to_owned(),
            library: library.to_owned(),
            inquiry: OnceCell::new(),
            known: parking_lot::Mutex::default(),
        }
    }

    /// Whether one of them receives what is sent to this address, as far as the kernel reports it. Programs outside the
    /// session have no reason to bind the address itself.
    pub(super) fn receive(&self, address: SocketAddr, transport: Transport) -> bool {
        let protocol = match transport {
            Transport::Tcp => IPPROTO_TCP,
            Transport::Udp => IPPROTO_UDP,
        };
        let found = self
            .inquiry()
            .and_then(|inquiry| inquiry.receiver(protocol, address));
        match found {
            Ok(None) => false,
            Ok(Some(found)) if found.socket_id.source_address.to_canonical() == address.ip() => true,
            Ok(Some(found)) => self.is_ours(found.inode),
            Err(error) => {
                log::info!("cannot query which socket listens at {address}: {error}");
                false
            }
        }
    }

    fn inquiry(&self) -> io::Result<&Inquiry> {
        match self.inquiry.get() {
            Some(inquiry) => Ok(inquiry),
            None => {
                let inquiry = Inquiry::open()?;
                Ok(self.inquiry.get_or_init(|| inquiry))
            }
        }
    }

    fn is_ours(&self, inode: u32) -> bool {
        let mut known = self.known.lock();
        if let Some(known) = known.get(&inode).filter(|known| known.is_fresh()) {
            return known.is_ours;
        }
        // without proc(5) no process is known to be in the session
        let is_ours = proc_fd::others().is_ok_and(|mut processes| {
            // the process's memory is read, which may block, only if it has the socket
            processes.any(|process| {
                proc_fd::sockets(&process).any(|open| open == u64::from(inode))
                    && membership::may_be_in_session(&process, &self.control, &self.library)
            })
        });
        if known.len() >= MAX_CACHED {
            known.retain(|_, known| known.is_fresh());
        }
        if known.len() < MAX_CACHED {
            let since = Instant::now();
            known.insert(inode, Known { is_ours, since });
        }
        is_ours
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < CACHE_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::environment;
    use std::io::{BufRead, BufReader};
    use std::net::Ipv4Addr;
    use std::process::{Child, Command, Stdio};

    const STAND_IN: Ipv4Addr = Ipv4Addr::new(127, 106, 3, 4);

    /// A process with this `KINJECT_CONTROL` that listens at all addresses, and its port. It runs until its standard
    /// input is closed.
    fn listener(control: &str, transport: Transport) -> (Child, u16) {
        let kind = match transport {
            Transport::Tcp => "SOCK_STREAM",
            Transport::Udp => "SOCK_DGRAM",
        };
        let program = format!(
            "import socket, sys
bound = socket.socket(socket.AF_INET, socket.{kind})
bound.bind(('', 0))
if bound.type == socket.SOCK_STREAM: bound.listen()
print(bound.getsockname()[1], flush=True)
sys.stdin.read()"
        );
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .env(environment::CONTROL, control)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        (child, line.trim_end().parse().unwrap())
    }

    #[test]
    fn wildcard_socket_counts_only_when_the_session_owns_it() {
        let sockets = SessionListeners::of("a:b:listeners-test", Path::new("/no/such/library"));
        for transport in [Transport::Tcp, Transport::Udp] {
            for (control, is_ours) in [("a:b:listeners-test", true), ("a:b:another", false)] {
                let (mut child, port) = listener(control, transport);
                let address = SocketAddr::new(STAND_IN.into(), port);
                // first from /proc, then from the cache
                for _ in 0..2 {
                    assert_eq!(
                        sockets.receive(address, transport),
                        is_ours,
                        "{transport:?} {control}"
                    );
                }
                drop(child.stdin.take());
                child.wait().unwrap();
                assert!(!sockets.receive(address, transport), "{transport:?} {control}");
            }
        }
    }

    #[test]
    fn socket_bound_to_the_sessions_address_counts() {
        let sockets = SessionListeners::of("a:b:listeners-test", Path::new("/no/such/library"));
        let listener = std::net::TcpListener::bind((STAND_IN, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(sockets.receive(address, Transport::Tcp));
        assert!(!sockets.receive(address, Transport::Udp));
        drop(listener);
        assert!(!sockets.receive(address, Transport::Tcp));
    }
}
