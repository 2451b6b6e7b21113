//! The state of each TCP socket that the relay has connected, by the socket's `SO_COOKIE`.

use kinject_protocol::ConnectFailure;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Maximum number of failures that no program has fetched; the oldest is dropped first.
const MAX_FAILURES: usize = 8192;

/// Maximum number of sockets that were shut down before they were connected; the oldest is dropped first.
const MAX_SHUT_DOWN: usize = 1024;

/// The sockets of the session's programs.
#[derive(Default)]
pub(crate) struct Registry(parking_lot::Mutex<Sockets>);

#[derive(Default)]
struct Sockets {
    peers: HashMap<u64, Peer>,
    failures: HashMap<u64, Failed>,
    failure_order: VecDeque<u64>,
    /// Sockets that were shut down before they were connected, the latest last.
    shut_down: VecDeque<u64>,
}

struct Peer {
    target: SocketAddr,
    ended: Arc<Notify>,
}

struct Failed {
    target: SocketAddr,
    failure: ConnectFailure,
    waiter: Waiter,
    /// Whether `SO_ERROR` was read.
    reported: bool,
    /// Whether it was shut down afterwards: no connect of it succeeds until it is disconnected (connect(2),
    /// `AF_UNSPEC`).
    shut_down: bool,
}

impl Failed {
    /// The failure that connect(2) returns for it.
    fn connect_failure(&self) -> ConnectFailure {
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
    /// In connect(2), which returns the failure itself and leaves the socket as new.
    Connect,
    /// In poll(2): after `SO_ERROR` has returned the failure, one more connect(2) fails with `ECONNABORTED`.
    Poll,
}

impl Registry {
    /// Registers the socket as connected or connecting to `target`, until the returned value is dropped.
    pub(crate) fn connected(self: &Rc<Self>, cookie: u64, target: SocketAddr) -> Connected {
        let mut sockets = self.0.lock();
        sockets.forget_peer(cookie);
        let ended = Arc::new(Notify::new());
        let peer = Peer {
            target,
            ended: Arc::clone(&ended),
        };
        sockets.peers.insert(cookie, peer);
        Connected {
            registry: Rc::clone(self),
            cookie,
            ended,
        }
    }

    /// The target to which the program connected the socket.
    pub(crate) fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.0.lock().peers.get(&cookie).map(|peer| peer.target)
    }

    /// The target of a failed connect, until connect(2) has returned the failure.
    pub(crate) fn failed_target(&self, cookie: u64) -> Option<SocketAddr> {
        self.0.lock().failures.get(&cookie).map(|failed| failed.target)
    }

    /// Records that the program disconnected the socket (connect(2), `AF_UNSPEC`): its next connect is as its first.
    /// Returns a failure that was not reported to the program.
    pub(crate) fn disconnected(&self, cookie: u64) -> Option<ConnectFailure> {
        let mut sockets = self.0.lock();
        sockets.forget_peer(cookie);
        sockets.shut_down.retain(|other| *other != cookie);
        let failed = sockets.forget_failure(cookie)?;
        Some(failed.connect_failure())
    }

    /// Records that the program shut down a socket that is not connected.
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

    /// Records that a connect to `target` failed after the program had got the reply "in progress".
    pub(crate) fn failed(&self, cookie: u64, target: SocketAddr, failure: ConnectFailure, waiter: Waiter) {
        let mut sockets = self.0.lock();
        if sockets.failure_order.len() >= MAX_FAILURES
            && let Some(oldest) = sockets.failure_order.pop_front()
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
        sockets.failure_order.push_back(cookie);
    }

    /// For `SO_ERROR`: returns the failure, once.
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

    /// For connect(2) on a socket whose earlier connect failed: returns the failure, after which the socket is as new.
    pub(crate) fn take_failure(&self, cookie: u64) -> Option<ConnectFailure> {
        self.0.lock().take_failure(cookie)
    }
}

/// The registration of one connect of a socket, which later connects replace.
pub(crate) struct Connected {
    registry: Rc<Registry>,
    cookie: u64,
    /// Notified when the registration is replaced or removed; its pointer identifies the registration.
    ended: Arc<Notify>,
}

impl Connected {
    /// Ends when the program has disconnected the socket, or connected it again.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut sockets = self.registry.0.lock();
        let peer = sockets.peers.get(&self.cookie);
        if peer.is_some_and(|peer| Arc::ptr_eq(&peer.ended, &self.ended)) {
            sockets.peers.remove(&self.cookie);
        }
    }
}

impl Sockets {
    fn forget_peer(&mut self, cookie: u64) {
        if let Some(peer) = self.peers.remove(&cookie) {
            peer.ended.notify_one();
        }
    }

    fn take_failure(&mut self, cookie: u64) -> Option<ConnectFailure> {
        if self.failures.get(&cookie)?.shut_down {
            return Some(ConnectFailure::Invalid);
        }
        let failed = self.forget_failure(cookie)?;
        Some(failed.connect_failure())
    }

    fn forget_failure(&mut self, cookie: u64) -> Option<Failed> {
        let failed = self.failures.remove(&cookie)?;
        self.failure_order.retain(|other| *other != cookie);
        Some(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> SocketAddr {
        "10.0.0.1:1".parse().unwrap()
    }

    fn has_ended(connected: &Connected) -> bool {
        use futures::FutureExt;
        connected.ended().now_or_never().is_some()
    }

    #[test]
    fn newer_connect_ends_the_older_one_and_stays_registered() {
        let registry = Rc::new(Registry::default());
        let [first, second] = ["10.0.0.1:1", "10.0.0.2:2"].map(|target| target.parse().unwrap());
        let old = registry.connected(1, first);
        assert!(!has_ended(&old));
        let new = registry.connected(1, second);
        assert!(has_ended(&old) && !has_ended(&new));
        drop(old);
        assert_eq!(registry.peer(1), Some(second));
        registry.disconnected(1);
        assert!(has_ended(&new));
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
