//! UDP ASSOCIATE (RFC 1928, 7): datagrams of a SOCKS5 client, for as long as its connection is open.
//!
//! The client sends to a socket that the server opens for it. Only the first socket of the client's address that sends
//! there is served, and only if it is of the same user.

use super::message::{self, Destination, Host, ReplyCode};
use super::{Shared, endpoint, refuse};
use crate::forward::flow::{Flow, MAX_DATAGRAM};
use crate::forward::peer::Verdict;
use crate::forward::tcp::Admitted;
use crate::log;
use kinject_protocol::forward::PortProtocol;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The most targets of one client at once.
const MAX_TARGETS: usize = 256;

/// One client's datagrams.
struct Association {
    shared: Rc<Shared>,
    socket: Rc<UdpSocket>,
    ours: SocketAddr,
    /// The client's socket: its address, and its port once that is known.
    client: SocketAddr,
    flows: HashMap<Destination, Rc<Flow>>,
    tasks: JoinSet<(Destination, Rc<Flow>)>,
}

/// Serves a client until its connection ends. It may have named the port that it sends from.
pub(super) async fn serve(shared: &Rc<Shared>, mut client: Admitted, from: Destination) {
    let (socket, ours) = match open(&client).await {
        Ok(opened) => opened,
        Err(error) => {
            log::warn!("cannot open a socket for datagrams of a SOCKS5 client: {error}");
            return refuse(client, ReplyCode::Failed).await;
        }
    };
    let reply = message::reply(ReplyCode::Succeeded, ours);
    if let Err(error) = client.stream.write_all(&reply).await {
        return log::debug!("{}: {error}", client.peer);
    }
    let named_port = match from.host {
        Host::Address(_) => from.port,
        Host::Name(_) => 0,
    };
    let mut association = Association {
        shared: Rc::clone(shared),
        socket: Rc::new(socket),
        ours,
        client: SocketAddr::new(client.peer.ip(), named_port),
        flows: HashMap::new(),
        tasks: JoinSet::new(),
    };
    tokio::select! {
        () = association.run() => {}
        () = end(&mut client) => {}
    }
}

/// A socket at the address at which the client has reached the server.
async fn open(client: &Admitted) -> io::Result<(UdpSocket, SocketAddr)> {
    let ip = client.stream.local_addr()?.ip();
    let socket = UdpSocket::bind((ip, 0)).await?;
    let ours = socket.local_addr()?;
    Ok((socket, ours))
}

/// Ready when the client closes its connection. Nothing else comes by it.
async fn end(client: &mut Admitted) {
    let mut byte = [0];
    while client.stream.read(&mut byte).await.is_ok_and(|length| length > 0) {}
}

impl Association {
    async fn run(&mut self) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            // cancel-safe: a datagram that is not received stays queued
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok((destination, flow)) = ended
                        && self.flows.get(&destination).is_some_and(|known| Rc::ptr_eq(known, &flow))
                    {
                        self.flows.remove(&destination);
                    }
                }
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, peer)) => {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        if self.is_client(peer) && let Some((destination, payload)) = message::datagram(bytes) {
                            self.send(destination, payload);
                        }
                    }
                    Err(error) => return log::debug!("datagrams of a SOCKS5 client: {error}"),
                },
            }
        }
    }

    /// Whether a datagram comes from the client; its first one tells its port.
    fn is_client(&mut self, peer: SocketAddr) -> bool {
        if peer == self.client {
            // the port may be another user's by now
            return self.is_served(peer);
        }
        let is_first = self.client.port() == 0 && peer.ip() == self.client.ip();
        if is_first && self.is_served(peer) {
            self.client = peer;
            return true;
        }
        false
    }

    fn is_served(&self, peer: SocketAddr) -> bool {
        let verdict = self.shared.peers.verdict(PortProtocol::Udp, peer, self.ours);
        matches!(verdict, Verdict::Own(_) | Verdict::Elsewhere)
    }

    fn send(&mut self, destination: Destination, payload: &[u8]) {
        if let Some(flow) = self.flows.get(&destination) {
            return flow.send(payload);
        }
        if self.flows.len() >= MAX_TARGETS || destination.port == 0 {
            return log::debug!("a SOCKS5 client's datagram to {destination} is dropped");
        }
        let flow = Rc::new(Flow::new());
        flow.send(payload);
        self.flows.insert(destination.clone(), Rc::clone(&flow));
        self.tasks.spawn_local(run(
            Rc::clone(&self.shared),
            Rc::clone(&self.socket),
            self.client,
            destination,
            flow,
        ));
    }
}

async fn run(
    shared: Rc<Shared>,
    socket: Rc<UdpSocket>,
    client: SocketAddr,
    destination: Destination,
    flow: Rc<Flow>,
) -> (Destination, Rc<Flow>) {
    let deliver = |payload: &[u8]| {
        let datagram = message::datagram_from(&destination, payload);
        // what the client's buffer cannot hold is dropped, as the kernel does
        let _dropped = socket.try_send_to(&datagram, client).is_err();
    };
    if let Err(failed) = flow
        .run(&shared.connector, &endpoint(&destination), deliver)
        .await
    {
        log::debug!("datagrams of a SOCKS5 client to {destination}: {failed}");
    }
    (destination, flow)
}
