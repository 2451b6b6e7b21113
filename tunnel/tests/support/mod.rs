//! Both ends of a tunnel in one process, over a Unix socket pair.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

use std::io::ErrorKind;
use std::time::Duration;

use kinject_tunnel::http2::{ConnectRequest, Incoming, Server};
use kinject_tunnel::{
    AgentIdentity, CloseReason, DialError, RelayIdentity, Secret, Security, SpliceOutcome, Stream, Tunnel,
    link, splice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// Longest wait for anything in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for the future, up to the deadline.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("not within the deadline")
}

pub(crate) fn secret(byte: u8) -> Secret {
    Secret::try_from([byte; 32].as_slice()).unwrap()
}

/// A tunnel whose agent dials the requested targets and reports the outcomes of connections.
pub(crate) struct World {
    pub(crate) tunnel: Tunnel,
    pub(crate) driver: JoinHandle<CloseReason>,
    pub(crate) agent: AbortHandle,
    outcomes: UnboundedReceiver<SpliceOutcome>,
    buffers: Buffers,
}

/// The sizes of the sockets' buffers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Buffers {
    /// The kernel's own, which it adapts to how fast a socket is read.
    Grown,
    /// The same for all.
    Fixed,
    /// Small, so that most accepted bytes are in the tunnel's buffers.
    Small,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with_buffers(Buffers::Grown).await
    }

    pub(crate) async fn with_buffers(buffers: Buffers) -> World {
        let (ours, theirs) = UnixStream::pair().unwrap();
        World::made_of(Box::new(ours), Box::new(theirs), Security::Proof, buffers).await
    }

    pub(crate) async fn between(ours: Stream, theirs: Stream) -> World {
        World::secured(ours, theirs, Security::Proof).await
    }

    /// A tunnel with this authentication.
    pub(crate) async fn secured(ours: Stream, theirs: Stream, security: Security) -> World {
        World::made_of(ours, theirs, security, Buffers::Grown).await
    }

    async fn made_of(ours: Stream, theirs: Stream, security: Security, buffers: Buffers) -> World {
        let (report, outcomes) = unbounded_channel();
        let agent = tokio::spawn(agent(theirs, report, buffers)).abort_handle();
        let identity = RelayIdentity::from_secret(&secret(1)).unwrap();
        let (tunnel, driver) = soon(Tunnel::open(ours, &identity, security)).await.unwrap();
        World {
            tunnel,
            driver: tokio::spawn(driver),
            agent,
            outcomes,
            buffers,
        }
    }

    /// A connection through the tunnel: the program's socket, the service's, and the relay's splice.
    pub(crate) async fn connection(&self) -> (TcpStream, TcpStream, JoinHandle<SpliceOutcome>) {
        self.connection_with(Fin::HalfClose).await
    }

    /// The same with this meaning of the program's FIN.
    pub(crate) async fn connection_with(
        &self,
        fin: Fin,
    ) -> (TcpStream, TcpStream, JoinHandle<SpliceOutcome>) {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = soon(self.tunnel.connect(&service.local_addr().unwrap().to_string()))
            .await
            .unwrap();
        let (program, relay) = pair().await;
        self.buffers.apply(&relay);
        let relay = tokio::spawn(splice(relay, stream, move || fin == Fin::Close));
        let (service, _) = soon(service.accept()).await.unwrap();
        for end in [&program, &service] {
            self.buffers.apply(end);
        }
        (program, service, relay)
    }

    /// The outcome of the next connection that ends at the agent.
    pub(crate) async fn agent_outcome(&mut self) -> SpliceOutcome {
        soon(self.outcomes.recv()).await.unwrap()
    }

    /// The same without a deadline.
    pub(crate) async fn agent_outcome_without_deadline(&mut self) -> SpliceOutcome {
        self.outcomes.recv().await.unwrap()
    }
}

/// What the program's FIN means.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fin {
    /// The program has closed its socket.
    Close,
    /// The program may still read.
    HalfClose,
}

impl Buffers {
    fn apply(self, socket: &TcpStream) {
        let bytes = match self {
            Buffers::Grown => return,
            Buffers::Fixed => 1024 * 1024,
            Buffers::Small => 128 * 1024,
        };
        let socket = socket2::SockRef::from(socket);
        socket.set_send_buffer_size(bytes).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
    }
}

async fn agent(stream: Stream, report: UnboundedSender<SpliceOutcome>, buffers: Buffers) {
    let identity = AgentIdentity::from_secret(&secret(1)).unwrap();
    let (stream, _) = link::accept(stream, &identity, Security::Proof).await.unwrap();
    let mut server = Server::start(stream).await.unwrap();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            incoming = server.next() => match incoming {
                Ok(Incoming::Connect(request)) => {
                    connections.spawn(serve(request, report.clone(), buffers));
                }
                Ok(other) => drop(other),
                Err(_) => break,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(server);
    while connections.join_next().await.is_some() {}
}

async fn serve(request: ConnectRequest, report: UnboundedSender<SpliceOutcome>, buffers: Buffers) {
    match TcpStream::connect(request.authority()).await {
        Ok(tcp) => {
            tcp.set_nodelay(true).unwrap();
            buffers.apply(&tcp);
            if let Some(stream) = request.accept() {
                let _ = report.send(splice(tcp, stream, || false).await);
            }
        }
        Err(error) => request.refuse(&DialError::from(&error)),
    }
}

/// Two ends of a loopback connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(connecting, listener.accept());
    let (ours, theirs) = (ours.unwrap(), accepted.unwrap().0);
    ours.set_nodelay(true).unwrap();
    theirs.set_nodelay(true).unwrap();
    (ours, theirs)
}

/// Makes the next close of the socket a reset.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    socket2::SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Writes until no more bytes are accepted, and returns how many were.
pub(crate) async fn fill(socket: &mut TcpStream) -> u64 {
    let (block, mut written) = (vec![b'x'; 64 * 1024], 0);
    while let Ok(count) = tokio::time::timeout(Duration::from_millis(300), socket.write(&block)).await {
        written += count.unwrap() as u64;
    }
    written
}

/// Writes to all sockets at once until none accepts more; returns how many bytes all did.
pub(crate) async fn fill_all(sockets: impl IntoIterator<Item = TcpStream>) -> (Vec<TcpStream>, u64) {
    let filling = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let written = fill(&mut socket).await;
            (socket, written)
        })
    });
    let (mut filled, mut all) = (Vec::new(), 0);
    for filling in filling.collect::<Vec<_>>() {
        let (socket, written) = filling.await.unwrap();
        filled.push(socket);
        all += written;
    }
    (filled, all)
}

/// Reads to the end; an error comes with the bytes that were read before it.
pub(crate) async fn read_all(socket: &mut TcpStream) -> Result<Vec<u8>, (Vec<u8>, ErrorKind)> {
    let mut bytes = Vec::new();
    match soon(socket.read_to_end(&mut bytes)).await {
        Ok(_) => Ok(bytes),
        Err(error) => Err((bytes, error.kind())),
    }
}

/// A transport whose direction to the agent can be blocked by the gate.
pub(crate) fn with_gate() -> (DuplexStream, DuplexStream, watch::Sender<bool>) {
    const BUFFER: usize = 64 * 1024;
    let ((ours, from_ours), (to_theirs, theirs)) = (duplex(BUFFER), duplex(BUFFER));
    let (gate, mut is_open) = watch::channel(true);
    let ((mut from, mut back), (mut answers, mut to)) = (split(from_ours), split(to_theirs));
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    tokio::spawn(async move {
        let mut block = vec![0; BUFFER];
        loop {
            is_open.wait_for(|open| *open).await.unwrap();
            let count = from.read(&mut block).await.unwrap();
            if count == 0 {
                break;
            }
            to.write_all(&block[..count]).await.unwrap();
        }
    });
    (ours, theirs, gate)
}
