//! Connects a program's socket to a target that the agent dials, or reports why that failed.
//!
//! The program's socket is put into `SYN_SENT` while the agent dials. A non-blocking connect is answered at once. A
//! blocking one waits for the target for up to [`ANSWER_WAIT`] first: most targets answer within that time, which
//! saves the program a second call. After that the program sleeps in the kernel's own connect(2), where signals and
//! time-outs work as usual.

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

/// How long the relay delays the reply to a blocking connect to wait for the target's answer. A signal that interrupts
/// the program's connect takes effect by then.
const ANSWER_WAIT: Duration = Duration::from_millis(20);

/// The connects that wait for the agent.
pub(super) struct Handshakes {
    dialer: Rc<Dialer>,
    registry: Rc<Registry>,
    /// The loopback ports to which programs' sockets are connected.
    ports: DataPorts,
    /// The sockets of connects in progress, which programs may close.
    connecting: ConnectingSockets,
}

/// The state of a connect when its call is answered.
pub(super) enum Started {
    /// The target has answered, and the program's socket is connected.
    Connected(Established, ProgramSocket),
    /// The target has not answered yet.
    InProgress(InProgress),
}

/// Both ends of a program's connection.
pub(super) struct Established {
    /// The relay's end of the program's loopback connection.
    pub(super) ours: TcpStream,
    /// The stream to the target.
    pub(super) stream: TunnelStream,
    /// The registration of the program's socket.
    pub(super) connected: Connected,
}

/// A connect whose program has the reply "in progress" and waits in poll(2) or connect(2).
pub(super) struct InProgress {
    dial: LocalBoxFuture<'static, Result<TunnelStream, ConnectFailure>>,
    pending: Pending,
    program: ProgramSocket,
    target: SocketAddr,
    connected: Connected,
}

impl Handshakes {
    /// No connects yet.
    pub(super) fn new(dialer: Rc<Dialer>, registry: Rc<Registry>, ports: DataPorts) -> Self {
        Self {
            dialer,
            registry,
            ports,
            connecting: ConnectingSockets::default(),
        }
    }

    /// Detects sockets that programs close while their connect is in progress, for as long as the session lives.
    pub(super) async fn watch(&self) -> Infallible {
        self.connecting.run().await
    }

    /// Connects a program's socket to the relay itself; returns the relay's end.
    pub(super) async fn connect_here(
        &self,
        program: &ProgramSocket,
        target: SocketAddr,
    ) -> Result<(TcpStream, Connected), ConnectFailure> {
        match self.ports.connect_now(program).await {
            Ok(ours) => Ok((ours, self.registry.connected(program.cookie, target))),
            Err(error) => Err(socket_failure(target, &error)),
        }
    }

    /// Has the agent dial, until the program's call can be answered.
    pub(super) async fn start(
        &self,
        program: ProgramSocket,
        target: SocketAddr,
    ) -> Result<Started, ConnectFailure> {
        let dialer = Rc::clone(&self.dialer);
        // the dial continues after the program has its reply
        let mut dial = async move { dialer.connect(target).await }.boxed_local();
        // the first poll queues the request before the program's socket is connected
        let mut early = std::future::poll_fn(|context| Poll::Ready(dial.as_mut().poll(context))).await;
        let mut pending = None;
        if early.is_pending() && (program.nonblocking || self.ports.begins_early(&program)) {
            // lets the request be written before the connect takes processor time
            tokio::task::yield_now().await;
            pending = Some(self.begin(&program, target)?);
        }
        if early.is_pending() && !program.nonblocking {
            early = tokio::select! {
                biased;
                outcome = &mut dial => Poll::Ready(outcome),
                () = tokio::time::sleep(ANSWER_WAIT) => Poll::Pending,
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
        // registered before the program, whose socket is bound already, can call getsockname
        let connected = self.registry.connected(program.cookie, target);
        Ok(Started::InProgress(InProgress {
            dial,
            pending,
            program,
            target,
            connected,
        }))
    }

    /// Finishes a connect in progress: connects both ends, or reports the failure to the program.
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
            () = connected.ended() => {
                log::debug!("connect to {target}: the program has disconnected it meanwhile");
                None
            }
            finished = finished => finished,
            () = self.closed_by_program(&program) => {
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

    /// Puts the program's socket into `SYN_SENT`.
    fn begin(&self, program: &ProgramSocket, target: SocketAddr) -> Result<Pending, ConnectFailure> {
        self.ports
            .begin(program)
            .map_err(|error| socket_failure(target, &error))
    }

    /// Ends when the program has closed its socket.
    async fn closed_by_program(&self, program: &ProgramSocket) {
        match program.inode() {
            Ok(inode) => self.connecting.wait(inode).await,
            Err(error) => {
                log::warn!("cannot watch for the close of a program's socket: {error}");
                std::future::pending().await
            }
        }
    }

    /// Finishes a connect whose target answered while the program waits for the reply to its call.
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
                    log::warn!("connect to {target}: cannot undo it: {error}");
                }
                return Err(failure);
            }
        };
        let ours = match pending {
            Some(pending) => self.ports.finish(pending, program).await,
            None => self.ports.connect_now(program).await,
        };
        Ok(Established {
            ours: ours.map_err(|error| socket_failure(target, &error))?,
            stream,
            connected: self.registry.connected(program.cookie, target),
        })
    }

    /// Finishes a connect whose target answered while the program waits in poll(2) or connect(2).
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
                    log::debug!("connect to {target}: the program's socket is closed: {error}");
                    return None;
                }
            },
            Err(failure) => failure,
        };
        log::debug!("connect to {target}: {}", words::errno(failure));
        if let Pending::Established(ours) = pending {
            // too late for a refusal: the program's socket is connected already and is reset
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
            // connect(2) itself leaves the socket as new
            (cancelled, _) => cancelled,
        };
        if !matches!(cancelled, Ok(true)) {
            log::debug!("connect to {target}: the program's socket is closed or used otherwise");
            self.registry.take_failure(program.cookie);
        }
        None
    }
}

/// The failure that the program gets if the relay cannot connect its socket.
pub(super) fn socket_failure(target: SocketAddr, error: &io::Error) -> ConnectFailure {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => ConnectFailure::AddressNotAvailable,
        // errors of an earlier connect of the socket, which connect(2) reports before it connects again
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
