//! The open connections of the session's programs, and which of them the session's end waits for.
//!
//! The kernel delivers the bytes that a program wrote before it ended. For programs of a session such bytes are in the
//! relay's sockets and in the tunnel, and the session may end with the program, so the relay delivers them first.

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
    /// Notified when the session ends.
    session_end: Notify,
}

/// The addresses of one connection on loopback.
#[derive(Clone, Copy)]
struct Ends {
    program: SocketAddr,
    ours: SocketAddr,
}

/// The registration of an open connection, until it is dropped.
pub(crate) struct Open<'a> {
    connections: &'a OpenConnections,
    key: u64,
    ends: Ends,
}

impl OpenConnections {
    /// Registers a connection by the relay's end of it.
    pub(crate) fn register(&self, ours: &TcpStream) -> io::Result<Open<'_>> {
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

    /// Ready when the session ends, at which the connection has to be checked again for a closed program.
    pub(crate) async fn session_end(&self) {
        self.session_end.notified().await;
    }

    /// At the session's end: the connections that programs have closed. Of these, half-closed ones are made to end
    /// soon.
    pub(crate) fn closed_by_programs(&self, closed: &ClosedSockets) -> Vec<u64> {
        self.session_end.notify_waiters();
        let ends = self.ends.borrow();
        let mut keys: Vec<u64> = ends
            .iter()
            .filter(|(_, ends)| ends.are_closed_by_program(closed))
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Waits until these connections have ended.
    pub(crate) async fn wait_until_ended(&self, keys: &[u64]) {
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
    fn are_closed_by_program(&self, closed: &ClosedSockets) -> bool {
        closed.is_closed(self.program, self.ours)
    }
}

impl Open<'_> {
    /// Whether the program has closed it, as far as the kernel reports it.
    pub(crate) fn is_closed_by_program(&self, closed: &ClosedSockets) -> bool {
        self.ends.are_closed_by_program(closed)
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
            let open = connections.register(&ours).unwrap();
            opened.push((program, ours, open));
        }
        assert!(connections.closed_by_programs(&closed).is_empty());
        assert!(connections.wait_until_ended(&[]).now_or_never().is_some());
        let mut left = Vec::new();
        for (program, ours, open) in opened.drain(1..) {
            drop(program);
            left.push((ours, open));
        }
        let keys = connections.closed_by_programs(&closed);
        assert_eq!(keys, [1, 2]);
        let mut waiting = std::pin::pin!(connections.wait_until_ended(&keys));
        assert!(waiting.as_mut().now_or_never().is_none());
        left.pop();
        assert!(waiting.as_mut().now_or_never().is_none());
        left.pop();
        assert!(waiting.as_mut().now_or_never().is_some());
    }
}
