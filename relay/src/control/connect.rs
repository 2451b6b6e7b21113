//! connect(2) of a program's TCP socket, from the request to the end of its connection.
//!
//! The connect is put in progress while the far end is asked. A non-blocking one is answered at once. A blocking one
//! waits for the far end a moment first ([`QUICK`]): most answers are there by then, and save the program a second
//! call. After that moment it sleeps in the kernel's own connect(2), where signals and time-outs work as ever.

use super::conversation::Conversation;
use crate::data::ports::Pending;
use crate::data::program::ProgramSocket;
use crate::log;
use crate::names;
use crate::registry::{Connected, Waiter};
use crate::routes::{Cause, Transport};
use crate::session::Session;
use crate::socket_watch::sock_diag;
use crate::words;
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::Reply;
use kinject_protocol::rules::Egress;
use kinject_tunnel::TunnelStream;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a blocking connect waits for its answer at least; twice this time is the most. A signal that interrupts
/// the program's connect is answered by then.
pub(crate) const QUICK: Duration = Duration::from_millis(10);

/// Serves one connect until its connection has ended.
pub(crate) async fn serve(
    session: &Session,
    call: Conversation,
    socket: Option<OwnedFd>,
    target: SocketAddr,
) {
    if socket.as_ref().is_some_and(|socket| session.is_elsewhere(socket)) {
        log::debug!("connect to {target}: of another network namespace");
        return answer(&call, &Reply::Local);
    }
    let mut program = match socket
        .ok_or(io::ErrorKind::InvalidInput.into())
        .and_then(ProgramSocket::inspect)
    {
        Ok(program) => program,
        Err(error) => {
            log::warn!("connect to {target}: the attached socket is of no use: {error}");
            return answer(&call, &Reply::Failed(ConnectFailure::Exhausted));
        }
    };
    if let Some(failure) = session.registry.take_failure(program.cookie) {
        // as the kernel does when it tells the failure in connect(2)
        if failure != ConnectFailure::Invalid
            && let Err(error) = program.withdraw()
        {
            log::warn!("connect to {target}: the socket keeps a failure that was told: {error}");
        }
        return answer(&call, &Reply::Failed(failure));
    }
    program.needs_lift |= session.registry.is_shut_down(program.cookie);
    let decision = session.routes.decide(target, Transport::Tcp);
    if let Cause::Pod(stand_in) = decision.cause {
        return serve_ourselves(session, &call, &program, target, stand_in);
    }
    if decision.egress == Egress::Local {
        log::debug!("connect to {target}: left to this machine");
        session
            .trace
            .target(Transport::Tcp, target)
            .ended("left to this machine");
        return answer(&call, &Reply::Local);
    }
    if session.routes.is_name_server(target) {
        return serve_names(session, &call, &program, target).await;
    }
    if let Some((ours, stream, _connected)) = establish(session, call, program, target).await {
        // a socket without addresses is one that was reset, which the splice finds out
        let open = session.connections.note(&ours).ok();
        let is_closed = || open.as_ref().is_some_and(|open| open.is_left(&session.closed));
        let outcome = kinject_tunnel::splice_until(ours, stream, is_closed, session.connections.last()).await;
        log::debug!("{target} {}", words::connection_end(&outcome));
    }
}

/// Answers a program that connects to the pod's own address: it connects to what stands for that, from what stands for it.
///
/// A socket keeps an address that it was bound to for as long as it lives (`SOCK_BINDADDR_LOCK`), but one that the kernel has chosen
/// only until its connect fails. So it is bound only if there is a peer to see the address.
fn serve_ourselves(
    session: &Session,
    call: &Conversation,
    program: &ProgramSocket,
    target: SocketAddr,
    stand_in: SocketAddr,
) {
    log::debug!("connect to {target}: to the pod itself, {stand_in}");
    session
        .trace
        .target(Transport::Tcp, target)
        .ended("left to this machine");
    let is_refused = sock_diag::is_listened_at(stand_in).is_ok_and(|is_listened_at| !is_listened_at);
    let prepared = match is_refused {
        true => program.take_mapped_addresses(),
        false => program.bind_at(stand_in.ip()),
    };
    match prepared {
        Ok(()) => answer(call, &Reply::StandIn(stand_in)),
        Err(error) => refuse(call, target, &error),
    }
}

/// Answers a program that connects to the session's name server: the relay itself is that.
async fn serve_names(session: &Session, call: &Conversation, program: &ProgramSocket, target: SocketAddr) {
    match session.ports.connect_now(program).await {
        Ok(ours) => {
            let _connected = session.registry.connected(program.cookie, target);
            answer(call, &done(program));
            names::server::serve(&session.resolver, ours).await;
        }
        Err(error) => refuse(call, target, &error),
    }
}

/// What a program hears of a connect that is done. One that does not block learns it from poll(2), as ever.
fn done(program: &ProgramSocket) -> Reply {
    if program.nonblocking {
        Reply::InProgress
    } else {
        Reply::Connected
    }
}

/// Brings both ends together, or tells the program why not.
async fn establish(
    session: &Session,
    call: Conversation,
    program: ProgramSocket,
    target: SocketAddr,
) -> Option<(TcpStream, TunnelStream, Connected<'_>)> {
    let dial = session.dialer.connect(target);
    tokio::pin!(dial);
    // the first poll sends the request on its way before the program's socket is looked after
    let mut early = std::future::poll_fn(|context| Poll::Ready(dial.as_mut().poll(context))).await;
    let mut pending = None;
    if early.is_pending() && (program.nonblocking || session.ports.begins_early(&program)) {
        // lets the request leave before the processor is put to other work
        tokio::task::yield_now().await;
        pending = Some(begin(session, &call, &program, target)?);
    }
    if early.is_pending() && !program.nonblocking {
        early = tokio::select! {
            biased;
            outcome = &mut dial => Poll::Ready(outcome),
            () = session.ticker.wait() => Poll::Pending,
        };
    }
    if let Poll::Ready(outcome) = early {
        return finish_at_once(session, &call, pending, &program, target, outcome).await;
    }
    let pending = match pending {
        Some(pending) => pending,
        None => begin(session, &call, &program, target)?,
    };
    // known before the program can ask for the socket's own address, which it has already
    let connected = session.registry.connected(program.cookie, target);
    answer(&call, &Reply::InProgress);
    drop(call);
    let finished = async {
        let outcome = dial.await;
        finish_pending(session, pending, &program, target, outcome).await
    };
    let (ours, stream) = tokio::select! {
        biased;
        () = connected.over() => {
            log::debug!("connect to {target}: the program has dissolved it meanwhile");
            None
        }
        finished = finished => finished,
        () = given_up(session, &program) => {
            log::debug!("connect to {target}: the program closed its socket meanwhile");
            None
        }
    }?;
    Some((ours, stream, connected))
}

/// Puts the connect in progress, or tells the program why not.
fn begin(
    session: &Session,
    call: &Conversation,
    program: &ProgramSocket,
    target: SocketAddr,
) -> Option<Pending> {
    session
        .ports
        .begin(program)
        .inspect_err(|error| refuse(call, target, error))
        .ok()
}

/// Ends when the program has closed its socket.
async fn given_up(session: &Session, program: &ProgramSocket) {
    match program.inode() {
        Ok(inode) => session.connecting.wait(inode).await,
        Err(error) => {
            log::warn!("cannot watch for the end of a program's socket: {error}");
            std::future::pending().await
        }
    }
}

/// The far end answered while the program waits for its call's answer.
async fn finish_at_once<'a>(
    session: &'a Session,
    call: &Conversation,
    pending: Option<Pending>,
    program: &ProgramSocket,
    target: SocketAddr,
    outcome: Result<TunnelStream, ConnectFailure>,
) -> Option<(TcpStream, TunnelStream, Connected<'a>)> {
    let stream = match outcome {
        Ok(stream) => stream,
        Err(failure) => {
            log::debug!("connect to {target}: {}", words::errno(failure));
            if pending.is_some()
                && let Err(error) = program.withdraw()
            {
                log::warn!("connect to {target}: cannot take it back: {error}");
            }
            answer(call, &Reply::Failed(failure));
            return None;
        }
    };
    let connected = match pending {
        Some(pending) => session.ports.finish(pending, program).await,
        None => session.ports.connect_now(program).await,
    };
    match connected {
        Ok(ours) => {
            let connected = session.registry.connected(program.cookie, target);
            answer(call, &done(program));
            Some((ours, stream, connected))
        }
        Err(error) => {
            refuse(call, target, &error);
            None
        }
    }
}

/// The far end answered while the program waits in poll(2) or connect(2).
async fn finish_pending(
    session: &Session,
    pending: Pending,
    program: &ProgramSocket,
    target: SocketAddr,
    outcome: Result<TunnelStream, ConnectFailure>,
) -> Option<(TcpStream, TunnelStream)> {
    let failure = match outcome {
        Ok(stream) => match session.ports.finish(pending, program).await {
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
    session.registry.failed(program.cookie, target, failure, waiter);
    let cancelled = match (program.cancel(), waiter) {
        (Ok(true), Waiter::Poll) => program.seal().map(|()| true),
        // in connect(2) it leaves the socket as new
        (cancelled, _) => cancelled,
    };
    if !matches!(cancelled, Ok(true)) {
        log::debug!("connect to {target}: the program's socket is gone or at something else");
        session.registry.take_failure(program.cookie);
    }
    None
}

/// The relay cannot connect the program's socket.
fn refuse(call: &Conversation, target: SocketAddr, error: &io::Error) {
    let failure = match error.raw_os_error() {
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
    };
    answer(call, &Reply::Failed(failure));
}

/// Replies; a caller that is gone needs no answer.
pub(crate) fn answer(call: &Conversation, reply: &Reply) {
    note(call.reply(reply));
}

/// Notes how it went.
pub(crate) fn note(answered: io::Result<()>) {
    match answered {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => log::warn!("cannot answer a call: {error}"),
    }
}
