//! The datagrams between one local peer and one target.
//!
//! ```text
//!   opening ──▶ open ──▶ ended: idle, refused, tunnel lost, or the peer's socket is closed
//! ```
//!
//! While a flow is being opened, its first datagrams are kept. After its end the next datagram opens another one.

use super::connector::{Connector, Failed, Opened};
use crate::cluster::endpoints::Endpoint;
use crate::dialer::failure_of;
use bytes::Bytes;
use kinject_protocol::ConnectFailure;
use kinject_tunnel::{DatagramReceiver, DatagramSender, DatagramsEnd};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

/// How long a flow may be idle; the same as at the agent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How many datagrams are kept while a flow is being opened.
const MAX_KEPT: usize = 32;

/// The longest datagram.
pub(super) const MAX_DATAGRAM: usize = 65_535;

/// One flow.
pub(super) struct Flow {
    outbound: RefCell<Outbound>,
    last: Cell<Instant>,
}

/// Where the peer's datagrams go.
enum Outbound {
    Opening(VecDeque<Bytes>),
    Remote(DatagramSender),
    Local(Rc<UdpSocket>),
    Ended,
}

impl Flow {
    /// A flow that is not open yet.
    pub(super) fn new() -> Self {
        Self {
            outbound: RefCell::new(Outbound::Opening(VecDeque::new())),
            last: Cell::new(Instant::now()),
        }
    }

    /// Sends a datagram of the peer's. What has no room is dropped, as an overloaded network does.
    pub(super) fn send(&self, datagram: &[u8]) {
        self.last.set(Instant::now());
        let mut outbound = self.outbound.borrow_mut();
        match &mut *outbound {
            Outbound::Opening(kept) if kept.len() < MAX_KEPT => {
                kept.push_back(Bytes::copy_from_slice(datagram));
            }
            Outbound::Remote(sender) => {
                let _dropped = !sender.send(datagram);
            }
            Outbound::Local(socket) => {
                let _dropped = socket.try_send(datagram).is_err();
            }
            Outbound::Opening(_) | Outbound::Ended => {}
        }
    }

    /// Opens it and delivers the target's datagrams, until it has ended; an error says why the target is not reached.
    pub(super) async fn run(
        &self,
        connector: &Connector,
        endpoint: &Endpoint,
        deliver: impl Fn(&[u8]),
    ) -> Result<(), Failed> {
        let ended = self.carry(connector, endpoint, deliver).await;
        if let Outbound::Remote(sender) = self.outbound.replace(Outbound::Ended) {
            sender.finish();
        }
        ended
    }

    async fn carry(
        &self,
        connector: &Connector,
        endpoint: &Endpoint,
        deliver: impl Fn(&[u8]),
    ) -> Result<(), Failed> {
        let opened = connector.open(endpoint).await?;
        let inbound = match opened {
            Opened::Remote(stream) => {
                let (mut sender, receiver) = stream.into_halves();
                if let Err(end) = sender.ready().await {
                    return ended(end);
                }
                self.start(Outbound::Remote(sender));
                Inbound::Remote(receiver)
            }
            Opened::Local(socket) => {
                let socket = Rc::new(socket);
                self.start(Outbound::Local(Rc::clone(&socket)));
                Inbound::Local(socket)
            }
        };
        tokio::select! {
            ended = self.receive(inbound, deliver) => ended,
            () = self.idle() => Ok(()),
        }
    }

    fn start(&self, outbound: Outbound) {
        let before = self.outbound.replace(outbound);
        if let Outbound::Opening(kept) = before {
            for datagram in kept {
                self.send(&datagram);
            }
        }
    }

    async fn receive(&self, inbound: Inbound, deliver: impl Fn(&[u8])) -> Result<(), Failed> {
        match inbound {
            Inbound::Remote(mut receiver) => loop {
                match receiver.next().await {
                    Ok(datagram) => deliver(&datagram),
                    Err(end) => return ended(end),
                }
                self.last.set(Instant::now());
            },
            Inbound::Local(socket) => {
                let mut buffer = vec![0; MAX_DATAGRAM];
                loop {
                    match socket.recv(&mut buffer).await {
                        Ok(length) => deliver(buffer.get(..length).unwrap_or_default()),
                        Err(_) => return Err(Failed::Connect(ConnectFailure::Refused)),
                    }
                    self.last.set(Instant::now());
                }
            }
        }
    }

    async fn idle(&self) {
        loop {
            let end = self.last.get() + IDLE_TIMEOUT;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// What the end of a flow at the agent means.
fn ended(end: DatagramsEnd) -> Result<(), Failed> {
    match end {
        DatagramsEnd::Refused(error) => Err(Failed::Connect(failure_of(&error))),
        // the agent's flow was idle, or the tunnel broke: the next datagram opens another one
        DatagramsEnd::Idle
        | DatagramsEnd::Finished
        | DatagramsEnd::SocketFailed(_)
        | DatagramsEnd::TunnelLost => Ok(()),
    }
}

/// Where the target's datagrams come from.
enum Inbound {
    Remote(DatagramReceiver),
    Local(Rc<UdpSocket>),
}
