//! What the relay knows of each socket it connected, by the socket's `SO_COOKIE`.

use kinject_protocol::ConnectFailure;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// How many failures are kept that no program has fetched yet; the oldest goes first.
const MAX_FAILURES: usize = 8192;

/// How many sockets are remembered that were shut down before they were connected; the oldest goes first.
const MAX_SHUT_DOWN: usize = 1024;

/// The sockets of the session's programs.
#[derive(Default)]
pub(crate) struct Registry(parking_lot::Mutex<Sockets>);

#[derive(Default)]
struct Sockets {
    peers: HashMap<u64, Peer>,
    failures: HashMap<u64, Failed>,
    failed_first: VecDeque<u64>,
    /// Shut down before they were connected, the latest last.
    shut_down: VecDeque<u64>,
}

struct Peer {
    target: SocketAddr,
    over: Arc<Notify>,
}

struct Failed {
    target: SocketAddr,
    failure: ConnectFailure,
    waiter: Waiter,
    /// `SO_ERROR` was read.
    reported: bool,
    /// It was shut down afterwards: no connect of it succeeds until it is dissolved.
    shut_down: bool,
}

impl Failed {
    /// What connect(2) says of it.
    fn told(&self) -> ConnectFailure {
        if self.reported {
            ConnectFailure::AlreadyReported
        } else {
            self.failure
        }
    }
}

/// How the program waits for its connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// In connect(2), which fetches the failure itself and leaves the socket as new.
    Connect,
    /// In poll(2): after `SO_ERROR` told the failure, one more connect(2) gives `ECONNABORTED`.
    Poll,
}

impl Registry {
    /// The socket is connected to `target`, or on the way there, for as long as what this gives lives.
    pub(crate) fn connected(self: &Rc<Self>, cookie: u64, target: SocketAddr) -> Connected {
        let mut sockets = self.0.lock();
        sockets.forget_peer(cookie);
        let over = Arc::new(Notify::new());
        let peer = Peer {
            target,
            over: Arc::clone(&over),
        };
        sockets.peers.insert(cookie, peer);
        Connected {
            registry: Rc::clone(self),
            cookie,
            over,
        }
    }

    /// What the program asked to be connected to.
    pub(crate) fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.0.lock().peers.get(&cookie).map(|peer| peer.target)
    }

    /// What the program asked for by a connect that failed, until connect(2) tells it so.
    pub(crate) fn failed_target(&self, cookie: u64) -> Option<SocketAddr> {
        self.0.lock().failures.get(&cookie).map(|failed| failed.target)
    }

    /// The program dissolves what the socket was, whose next connect is its first. Gives the failure that it was not told.
    pub(crate) fn disconnected(&self, cookie: u64) -> Option<ConnectFailure> {
        let mut sockets = self.0.lock();
        sockets.forget_peer(cookie);
        sockets.shut_down.retain(|other| *other != cookie);
        let failed = sockets.forget_failure(cookie)?;
        Some(failed.told())
    }

    /// The program shut down a socket that is not connected.
    pub(crate) fn shut_down(&self, cookie: u64) {
        let mut sockets = self.0.lock();
        if let Some(failed) = sockets.failures.get_mut(&cookie) {
            failed.shut_down = true;
        } else if !sockets.shut_down.contains(&cookie) {
            if sockets.shut_down.len() >= MAX_SHUT_DOWN {
                sockets.shut_down.pop_front();
            }
            sockets.shut_down.push_back(cookie);
        }
    }

    /// Whether the socket was shut down before it was connected.
    pub(crate) fn is_shut_down(&self, cookie: u64) -> bool {
        self.0.lock().shut_down.contains(&cookie)
    }

    /// A connect to `target` failed while the program was not waiting in it.
    pub(crate) fn failed(&self, cookie: u64, target: SocketAddr, failure: ConnectFailure, waiter: Waiter) {
        let mut sockets = self.0.lock();
        if sockets.failed_first.len() >= MAX_FAILURES
            && let Some(oldest) = sockets.failed_first.pop_front()
        {
            sockets.failures.remove(&oldest);
        }
        sockets.failures.insert(
            cookie,
            Failed {
                target,
                failure,
                waiter,
                reported: false,
                shut_down: false,
            },
        );
        sockets.failed_first.push_back(cookie);
    }

    /// `SO_ERROR`: the failure, once.
    pub(crate) fn report_failure(&self, cookie: u64) -> Option<ConnectFailure> {
        let mut sockets = self.0.lock();
        let failed = sockets
            .failures
            .get_mut(&cookie)
            .filter(|failed| !failed.reported)?;
        failed.reported = true;
        let (failure, waiter) = (failed.failure, failed.waiter);
        if waiter == Waiter::Connect {
            sockets.forget_failure(cookie);
        }
        Some(failure)
    }

    /// connect(2) on a socket whose earlier connect failed: the failure, then the socket is as new.
    pub(crate) fn take_failure(&self, cookie: u64) -> Option<ConnectFailure> {
        self.0.lock().take_failure(cookie)
    }
}

/// One connect of a socket, which may see others after it.
pub(crate) struct Connected {
    registry: Rc<Registry>,
    cookie: u64,
    /// Told when another took its place, which also tells them apart.
    over: Arc<Notify>,
}

impl Connected {
    /// Ends when the program has dissolved this connect, or connected the socket anew.
    pub(crate) async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut sockets = self.registry.0.lock();
        let peer = sockets.peers.get(&self.cookie);
        if peer.is_some_and(|peer| Arc::ptr_eq(&peer.over, &self.over)) {
            sockets.peers.remove(&self.cookie);
        }
    }
}

impl Sockets {
    fn forget_peer(&mut self, cookie: u64) {
        if let Some(peer) = self.peers.remove(&cookie) {
            peer.over.notify_one();
        }
    }

    fn take_failure(&mut self, cookie: u64) -> Option<ConnectFailure> {
        if self.failures.get(&cookie)?.shut_down {
            return Some(ConnectFailure::Invalid);
        }
        let failed = self.forget_failure(cookie)?;
        Some(failed.told())
    }

    fn forget_failure(&mut self, cookie: u64) -> Option<Failed> {
        let failed = self.failures.remove(&cookie)?;
        self.failed_first.retain(|other| *other != cookie);
        Some(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> SocketAddr {
        "10.0.0.1:1".parse().unwrap()
    }

    fn is_over(connected: &Connected) -> bool {
        use futures::FutureExt;
        connected.over().now_or_never().is_some()
    }

    #[test]
    fn newer_connect_ends_the_older_one_and_stays_registered() {
        let registry = Rc::new(Registry::default());
        let [first, second] = ["10.0.0.1:1", "10.0.0.2:2"].map(|target| target.parse().unwrap());
        let old = registry.connected(1, first);
        assert!(!is_over(&old));
        let new = registry.connected(1, second);
        assert!(is_over(&old) && !is_over(&new));
        drop(old);
        assert_eq!(registry.peer(1), Some(second));
        registry.disconnected(1);
        assert!(is_over(&new));
        assert_eq!(registry.peer(1), None);
        let last = registry.connected(1, first);
        drop(new);
        assert_eq!(registry.peer(1), Some(first));
        drop(last);
        assert_eq!(registry.peer(1), None);
    }

    #[test]
    fn failed_socket_after_shutdown_returns_einval_until_disconnected() {
        let registry = Registry::default();
        registry.failed(1, target(), ConnectFailure::Refused, Waiter::Poll);
        registry.shut_down(1);
        assert_eq!(registry.report_failure(1), Some(ConnectFailure::Refused));
        for _ in 0..2 {
            assert_eq!(registry.take_failure(1), Some(ConnectFailure::Invalid));
        }
        assert_eq!(registry.disconnected(1), Some(ConnectFailure::AlreadyReported));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn shutdown_before_connect_is_remembered_until_disconnected() {
        let registry = Registry::default();
        assert!(!registry.is_shut_down(1));
        registry.shut_down(1);
        registry.shut_down(1);
        assert!(registry.is_shut_down(1));
        registry.disconnected(1);
        assert!(!registry.is_shut_down(1));
        for cookie in 0..=MAX_SHUT_DOWN as u64 {
            registry.shut_down(cookie);
        }
        assert!(!registry.is_shut_down(0) && registry.is_shut_down(1));
    }

    #[test]
    fn disconnect_returns_an_unreported_failure_once() {
        let registry = Registry::default();
        registry.failed(1, target(), ConnectFailure::Refused, Waiter::Poll);
        assert_eq!(registry.disconnected(1), Some(ConnectFailure::Refused));
        assert_eq!(registry.disconnected(1), None);
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn reported_failure_makes_the_next_connect_return_econnaborted_once() {
        let registry = Registry::default();
        registry.failed(1, target(), ConnectFailure::Refused, Waiter::Poll);
        assert_eq!(registry.report_failure(1), Some(ConnectFailure::Refused));
        assert_eq!(registry.report_failure(1), None);
        assert_eq!(registry.failed_target(1), Some(target()));
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::AlreadyReported));
        assert_eq!(registry.take_failure(1), None);
        assert_eq!(registry.failed_target(1), None);
    }

    #[test]
    fn failure_reported_to_a_blocking_connect_is_forgotten() {
        let registry = Registry::default();
        registry.failed(1, target(), ConnectFailure::Refused, Waiter::Connect);
        assert_eq!(registry.report_failure(1), Some(ConnectFailure::Refused));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn second_connect_returns_an_unreported_failure() {
        let registry = Registry::default();
        registry.failed(1, target(), ConnectFailure::TimedOut, Waiter::Poll);
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::TimedOut));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn number_of_unfetched_failures_is_bounded() {
        let registry = Registry::default();
        for cookie in 0..=MAX_FAILURES as u64 {
            registry.failed(cookie, target(), ConnectFailure::Refused, Waiter::Poll);
        }
        assert_eq!(registry.take_failure(0), None);
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::Refused));
        assert!(registry.0.lock().failures.len() <= MAX_FAILURES);
    }
}
