//! A SOCKS5 server (RFC 1928) for programs that can use a proxy: browsers, database clients, curl.
//!
//! The client names the target: a name, which is looked up as a program of the session would, or an address. There is
//! no password: who may connect is decided by the user of the client's socket, as for every forward.
//!
//! - [`message`]: the messages as bytes. [`associate`]: datagrams.

mod associate;
mod message;

use super::Shared;
use super::connector::Failed;
use super::failures::Failures;
use super::tcp::{self, Admitted};
use crate::cluster::endpoints::Endpoint;
use crate::log;
use kinject_protocol::{ConnectFailure, NameFailure};
use message::{Command, Destination, Rejection, ReplyCode};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How long a client may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The address in replies that have none to tell.
const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Serves one listener.
pub(super) async fn serve(shared: Rc<Shared>, listener: TcpListener, failures: Failures) -> Infallible {
    let failures = Rc::new(failures);
    tcp::accept(listener, |accepted| {
        let (shared, failures) = (Rc::clone(&shared), Rc::clone(&failures));
        async move {
            if let Some(client) = accepted.admit(&shared, &failures) {
                converse(&shared, client, &failures).await;
            }
        }
    })
    .await
}

async fn converse(shared: &Rc<Shared>, mut client: Admitted, failures: &Failures) {
    let request = timeout(REQUEST_TIMEOUT, message::request(&mut client.stream)).await;
    let request = match request {
        Ok(Ok(request)) => request,
        Ok(Err(Rejection::NotSocks5(first))) => {
            failures.failed(&format!(
                "a program speaks no SOCKS5 there: its first byte is {first:#04x}"
            ));
            return;
        }
        Ok(Err(rejection)) => return log::debug!("{}: {rejection}", client.peer),
        Err(_) => return log::debug!("{}: no request in time", client.peer),
    };
    match request.command {
        Command::Connect => connect(shared, client, request.destination).await,
        Command::Associate => associate::serve(shared, client, request.destination).await,
    }
}

/// What is dialled for a destination.
fn endpoint(destination: &Destination) -> Endpoint {
    Endpoint::Host {
        host: destination.host.to_string(),
        port: destination.port,
        takes_turns: false,
    }
}

async fn connect(shared: &Shared, mut client: Admitted, destination: Destination) {
    let endpoint = endpoint(&destination);
    let Some(outcome) = client.while_open(shared.connector.connect(&endpoint)).await else {
        return log::debug!("{}: reset by the program meanwhile", client.peer);
    };
    match outcome {
        Ok(connected) => {
            let reply = message::reply(ReplyCode::Succeeded, NO_ADDRESS);
            match client.stream.write_all(&reply).await {
                Ok(()) => client.join(shared, connected).await,
                Err(error) => log::debug!("{}: {error}", client.peer),
            }
        }
        Err(failed) => {
            log::debug!("{} to {destination}: {failed}", client.peer);
            refuse(client, code_of(&failed)).await;
        }
    }
}

/// Says no, and closes.
async fn refuse(mut client: Admitted, code: ReplyCode) {
    let reply = message::reply(code, NO_ADDRESS);
    if let Err(error) = client.stream.write_all(&reply).await {
        log::debug!("{}: {error}", client.peer);
    }
}

fn code_of(failed: &Failed) -> ReplyCode {
    match failed {
        Failed::ThisMachine => ReplyCode::NotAllowed,
        _ if failed.is_refusal() => ReplyCode::Refused,
        Failed::Connect(ConnectFailure::TimedOut) => ReplyCode::TtlExpired,
        Failed::Connect(ConnectFailure::NetworkUnreachable) => ReplyCode::NetworkUnreachable,
        Failed::Connect(ConnectFailure::PermissionDenied) => ReplyCode::NotAllowed,
        Failed::Connect(ConnectFailure::HostUnreachable)
        | Failed::Name(NameFailure::NotFound | NameFailure::NoData) => ReplyCode::HostUnreachable,
        _ => ReplyCode::Failed,
    }
}
