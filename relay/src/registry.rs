//! What the relay knows of each socket it connected, by the socket's `SO_COOKIE`.

use kinject_protocol::ConnectFailure;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// How many failures are kept that no program has fetched yet; the oldest goes first.
const MAX_FAILURES: usize = 8192;

/// The sockets of the session's programs.
#[derive(Default)]
pub(crate) struct Registry(parking_lot::Mutex<Sockets>);

#[derive(Default)]
struct Sockets {
    peers: HashMap<u64, SocketAddr>,
    failures: HashMap<u64, Failed>,
    failed_first: VecDeque<u64>,
}

struct Failed {
    failure: ConnectFailure,
    waiter: Waiter,
    /// `SO_ERROR` was read.
    reported: bool,
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
    /// The socket is connected to `target`, or on the way there.
    pub(crate) fn connected(&self, cookie: u64, target: SocketAddr) {
        self.0.lock().peers.insert(cookie, target);
    }

    /// The socket's connection has ended.
    pub(crate) fn ended(&self, cookie: u64) {
        self.0.lock().peers.remove(&cookie);
    }

    /// What the program asked to be connected to.
    pub(crate) fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.0.lock().peers.get(&cookie).copied()
    }

    /// A connect failed while the program was not waiting in it.
    pub(crate) fn failed(&self, cookie: u64, failure: ConnectFailure, waiter: Waiter) {
        let mut sockets = self.0.lock();
        if sockets.failed_first.len() >= MAX_FAILURES
            && let Some(oldest) = sockets.failed_first.pop_front()
        {
            sockets.failures.remove(&oldest);
        }
        sockets.failures.insert(
            cookie,
            Failed {
                failure,
                waiter,
                reported: false,
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
        let mut sockets = self.0.lock();
        let failed = sockets.forget_failure(cookie)?;
        Some(if failed.reported {
            ConnectFailure::AlreadyReported
        } else {
            failed.failure
        })
    }
}

impl Sockets {
    fn forget_failure(&mut self, cookie: u64) -> Option<Failed> {
        let failed = self.failures.remove(&cookie)?;
        self.failed_first.retain(|other| *other != cookie);
        Some(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_and_then_connect_is_aborted_once() {
        let registry = Registry::default();
        registry.failed(1, ConnectFailure::Refused, Waiter::Poll);
        assert_eq!(registry.report_failure(1), Some(ConnectFailure::Refused));
        assert_eq!(registry.report_failure(1), None);
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::AlreadyReported));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn a_socket_that_waited_in_connect_is_as_new_once_it_knows() {
        let registry = Registry::default();
        registry.failed(1, ConnectFailure::Refused, Waiter::Connect);
        assert_eq!(registry.report_failure(1), Some(ConnectFailure::Refused));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn a_second_connect_gets_a_failure_that_was_not_reported() {
        let registry = Registry::default();
        registry.failed(1, ConnectFailure::TimedOut, Waiter::Poll);
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::TimedOut));
        assert_eq!(registry.take_failure(1), None);
    }

    #[test]
    fn failures_that_nobody_fetches_do_not_pile_up() {
        let registry = Registry::default();
        for cookie in 0..=MAX_FAILURES as u64 {
            registry.failed(cookie, ConnectFailure::Refused, Waiter::Poll);
        }
        assert_eq!(registry.take_failure(0), None);
        assert_eq!(registry.take_failure(1), Some(ConnectFailure::Refused));
        assert!(registry.0.lock().failures.len() <= MAX_FAILURES);
    }
}
