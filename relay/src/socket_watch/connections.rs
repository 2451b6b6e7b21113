//! The connections that are open, and the end of the session.
//!
//! A program that writes and ends leaves its last words to the kernel, which delivers them after it. For programs of a
//! session the relay has them, as bytes in its sockets and in the tunnel, and the session may end with the program.

use super::closed::ClosedSockets;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The connections of the session's programs.
#[derive(Default)]
pub(crate) struct OpenConnections {
    ends: RefCell<HashMap<u64, Ends>>,
    next: Cell<u64>,
    changed: Notify,
    /// The session ends.
    last: Notify,
}

/// The addresses of one connection on loopback.
#[derive(Clone, Copy)]
struct Ends {
    program: SocketAddr,
    ours: SocketAddr,
}

/// A connection that is open for as long as this lives.
pub(crate) struct Open<'a> {
    connections: &'a OpenConnections,
    key: u64,
    ends: Ends,
}

impl OpenConnections {
    /// Notes a connection by the relay's end of it.
    pub(crate) fn note(&self, ours: &TcpStream) -> io::Result<Open<'_>> {
        let ends = Ends {
            program: ours.peer_addr()?,
            ours: ours.local_addr()?,
        };
        let key = self.next.get();
        self.next.set(key.wrapping_add(1));
        self.ends.borrow_mut().insert(key, ends);
        Ok(Open {
            connections: self,
            key,
            ends,
        })
    }

    /// Ready when the session ends, and it is time to ask again whether a program has closed its connection.
    pub(crate) async fn last(&self) {
        self.last.notified().await;
    }

    /// The connections whose programs have closed them. Those of them that wait for their far end only are over soon.
    pub(crate) fn left_behind(&self, closed: &ClosedSockets) -> Vec<u64> {
        self.last.notify_waiters();
        let ends = self.ends.borrow();
        let mut left: Vec<u64> = ends
            .iter()
            .filter(|(_, ends)| ends.are_left(closed))
            .map(|(key, _)| *key)
            .collect();
        left.sort_unstable();
        left
    }

    /// Waits until none of these is open any more.
    pub(crate) async fn until_over(&self, keys: &[u64]) {
        loop {
            let changed = self.changed.notified();
            if !keys.iter().any(|key| self.ends.borrow().contains_key(key)) {
                return;
            }
            changed.await;
        }
    }
}

impl Ends {
    fn are_left(&self, closed: &ClosedSockets) -> bool {
        closed.is_closed(self.program, self.ours)
    }
}

impl Open<'_> {
    /// Whether the program has closed it, as far as the kernel tells.
    pub(crate) fn is_left(&self, closed: &ClosedSockets) -> bool {
        self.ends.are_left(closed)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.connections.ends.borrow_mut().remove(&self.key);
        self.connections.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn session_end_waits_only_for_connections_closed_by_programs() {
        let (connections, closed) = (OpenConnections::default(), ClosedSockets::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut opened = Vec::new();
        for _ in 0..3 {
            let program = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, _) = listener.accept().await.unwrap();
            let open = connections.note(&ours).unwrap();
            opened.push((program, ours, open));
        }
        assert!(connections.left_behind(&closed).is_empty());
        assert!(connections.until_over(&[]).now_or_never().is_some());
        let mut left = Vec::new();
        for (program, ours, open) in opened.drain(1..) {
            drop(program);
            left.push((ours, open));
        }
        let keys = connections.left_behind(&closed);
        assert_eq!(keys, [1, 2]);
        let mut waiting = std::pin::pin!(connections.until_over(&keys));
        assert!(waiting.as_mut().now_or_never().is_none());
        left.pop();
        assert!(waiting.as_mut().now_or_never().is_none());
        left.pop();
        assert!(waiting.as_mut().now_or_never().is_some());
    }
}
