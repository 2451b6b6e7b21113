//! From a target that the agent is to dial to a program's socket that is connected, or refused.
//!
//! The connect is put in progress while the far end is asked. A non-blocking one is answered at once. A blocking one
//! waits for the far end a moment first ([`QUICK`]): most answers are there by then, and save the program a second
//! call. After that moment it sleeps in the kernel's own connect(2), where signals and time-outs work as ever.

use crate::data::ports::{DataPorts, Pending};
use crate::data::program::ProgramSocket;
use crate::dialer::Dialer;
use crate::log;
use crate::registry::{Connected, Registry, Waiter};
use crate::socket_watch::connecting::ConnectingSockets;
use crate::words;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kinject_protocol::ConnectFailure;
use kinject_tunnel::TunnelStream;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the relay keeps a blocking connect waiting for the far end's answer. A signal that interrupts the program's
/// connect is answered by then.
const QUICK: Duration = Duration::from_millis(20);

/// The connects that wait for the agent, and what they need.
pub(super) struct Handshakes {
    dialer: Rc<Dialer>,
    registry: Rc<Registry>,
    /// Where programs' sockets are connected to.
    ports: DataPorts,
    /// The connects that programs may give up.
    connecting: ConnectingSockets,
}

/// What a program is told that waits for its call's answer.
pub(super) enum Started {
    /// The far end has answered, and the program's socket is connected.
    Connected(Established, ProgramSocket),
    /// The far end has not answered yet.
    InProgress(InProgress),
}

/// Both ends of a program's connection.
pub(super) struct Established {
    /// The relay's end of what the program has.
    pub(super) ours: TcpStream,
    /// The far end.
    pub(super) stream: TunnelStream,
    /// What is known of the program's socket meanwhile.
    pub(super) connected: Connected,
}

/// A connect whose program has its answer and waits in poll(2) or connect(2).
pub(super) struct InProgress {
    dial: LocalBoxFuture<'static, Result<TunnelStream, ConnectFailure>>,
    pending: Pending,
    program: ProgramSocket,
    target: SocketAddr,
    connected: Connected,
}

impl Handshakes {
    /// None yet.
    pub(super) fn new(dialer: Rc<Dialer>, registry: Rc<Registry>, ports: DataPorts) -> Self {
        Self {
            dialer,
            registry,
            ports,
            connecting: ConnectingSockets::default(),
        }
    }

    /// Looks for sockets that programs have closed meanwhile, for as long as the session lives.
    pub(super) async fn watch(&self) -> Infallible {
        self.connecting.run().await
    }

    /// Connects a program's socket that needs no far end; what this gives is the relay's end.
    pub(super) async fn connect_here(
        &self,
        program: &ProgramSocket,
        target: SocketAddr,
    ) -> Result<(TcpStream, Connected), ConnectFailure> {
        match self.ports.connect_now(program).await {
            Ok(ours) => Ok((ours, self.registry.connected(program.cookie, target))),
            Err(error) => Err(refusal(target, &error)),
        }
    }

    /// Has the agent dial, up to what the program may be told.
    pub(super) async fn start(
        &self,
        program: ProgramSocket,
        target: SocketAddr,
    ) -> Result<Started, ConnectFailure> {
        let dialer = Rc::clone(&self.dialer);
        // it goes on when the program has its answer
        let mut dial = async move { dialer.connect(target).await }.boxed_local();
        // the first poll sends the request on its way before the program's socket is looked after
        let mut early = std::future::poll_fn(|context| Poll::Ready(dial.as_mut().poll(context))).await;
        let mut pending = None;
        if early.is_pending() && (program.nonblocking || self.ports.begins_early(&program)) {
            // lets the request leave before the processor is put to other work
            tokio::task::yield_now().await;
            pending = Some(self.begin(&program, target)?);
        }
        if early.is_pending() && !program.nonblocking {
            early = tokio::select! {
                biased;
                outcome = &mut dial => Poll::Ready(outcome),
                () = tokio::time::sleep(QUICK) => Poll::Pending,
            };
        }
        if let Poll::Ready(outcome) = early {
            let established = self.finish_at_once(pending, &program, target, outcome).await?;
            return Ok(Started::Connected(established, program));
        }
        let pending = match pending {
            Some(pending) => pending,
            None => self.begin(&program, target)?,
        };
        // known before the program can ask for the socket's own address, which it has already
        let connected = self.registry.connected(program.cookie, target);
        Ok(Started::InProgress(InProgress {
            dial,
            pending,
            program,
            target,
            connected,
        }))
    }

    /// Brings both ends together of a program that was told that its connect is in progress, or lets it know why not.
    pub(super) async fn finish(&self, in_progress: InProgress) -> Option<Established> {
        let InProgress {
            dial,
            pending,
            program,
            target,
            connected,
        } = in_progress;
        let finished = async {
            let outcome = dial.await;
            self.finish_pending(pending, &program, target, outcome).await
        };
        let (ours, stream) = tokio::select! {
            biased;
            () = connected.over() => {
                log::debug!("connect to {target}: the program has dissolved it meanwhile");
                None
            }
            finished = finished => finished,
            () = self.given_up(&program) => {
                log::debug!("connect to {target}: the program closed its socket meanwhile");
                None
            }
        }?;
        Some(Established {
            ours,
            stream,
            connected,
        })
    }

    /// Puts the connect in progress.
    fn begin(&self, program: &ProgramSocket, target: SocketAddr) -> Result<Pending, ConnectFailure> {
        self.ports.begin(program).map_err(|error| refusal(target, &error))
    }

    /// Ends when the program has closed its socket.
    async fn given_up(&self, program: &ProgramSocket) {
        match program.inode() {
            Ok(inode) => self.connecting.wait(inode).await,
            Err(error) => {
                log::warn!("cannot watch for the end of a program's socket: {error}");
                std::future::pending().await
            }
        }
    }

    /// The far end answered while the program waits for its call's answer.
    async fn finish_at_once(
        &self,
        pending: Option<Pending>,
        program: &ProgramSocket,
        target: SocketAddr,
        outcome: Result<TunnelStream, ConnectFailure>,
    ) -> Result<Established, ConnectFailure> {
        let stream = match outcome {
            Ok(stream) => stream,
            Err(failure) => {
                log::debug!("connect to {target}: {}", words::errno(failure));
                if pending.is_some()
                    && let Err(error) = program.withdraw()
                {
                    log::warn!("connect to {target}: cannot take it back: {error}");
                }
                return Err(failure);
            }
        };
        let ours = match pending {
            Some(pending) => self.ports.finish(pending, program).await,
            None => self.ports.connect_now(program).await,
        };
        Ok(Established {
            ours: ours.map_err(|error| refusal(target, &error))?,
            stream,
            connected: self.registry.connected(program.cookie, target),
        })
    }

    /// The far end answered while the program waits in poll(2) or connect(2).
    async fn finish_pending(
        &self,
        pending: Pending,
        program: &ProgramSocket,
        target: SocketAddr,
        outcome: Result<TunnelStream, ConnectFailure>,
    ) -> Option<(TcpStream, TunnelStream)> {
        let failure = match outcome {
            Ok(stream) => match self.ports.finish(pending, program).await {
                Ok(ours) => return Some((ours, stream)),
                Err(error) => {
                    log::debug!("connect to {target}: the program's socket is gone: {error}");
                    return None;
                }
            },
            Err(failure) => failure,
        };
        log::debug!("connect to {target}: {}", words::errno(failure));
        if let Pending::Established(ours) = pending {
            // too late for a refusal: the program believes to be connected and gets a reset
            if let Err(error) = ours.set_zero_linger() {
                log::warn!("connect to {target}: cannot reset: {error}");
            }
            return None;
        }
        let waiter = if program.nonblocking {
            Waiter::Poll
        } else {
            Waiter::Connect
        };
        self.registry.failed(program.cookie, target, failure, waiter);
        let cancelled = match (program.cancel(), waiter) {
            (Ok(true), Waiter::Poll) => program.seal().map(|()| true),
            // in connect(2) it leaves the socket as new
            (cancelled, _) => cancelled,
        };
        if !matches!(cancelled, Ok(true)) {
            log::debug!("connect to {target}: the program's socket is gone or at something else");
            self.registry.take_failure(program.cookie);
        }
        None
    }
}

/// What the program is told where the relay cannot connect its socket.
pub(super) fn refusal(target: SocketAddr, error: &io::Error) -> ConnectFailure {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => ConnectFailure::AddressNotAvailable,
        // what an earlier connect of the socket left behind, which connect(2) reports before it dials anew
        Some(libc::ETIMEDOUT) => ConnectFailure::TimedOut,
        Some(libc::ECONNRESET) => ConnectFailure::Reset,
        Some(libc::ECONNABORTED) => ConnectFailure::AlreadyReported,
        Some(libc::ECONNREFUSED) => ConnectFailure::Refused,
        Some(libc::EINVAL) => ConnectFailure::Invalid,
        Some(libc::EISCONN | libc::EALREADY) => ConnectFailure::NotAtRest,
        _ => {
            log::warn!("connect to {target}: cannot connect the program's socket: {error}");
            ConnectFailure::Exhausted
        }
    }
}
