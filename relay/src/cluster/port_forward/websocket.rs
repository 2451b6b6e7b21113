//! The upgrade of a request to a WebSocket (RFC 6455, 4.1), with subprotocols that kube's own upgrade does not offer.

use crate::cluster::access::Access;
use crate::cluster::nodelay;
use crate::cluster::proxy::error_message;
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, Request, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::Error;
use kube::client::{Body, UpgradeConnectionError as Refusal};
use kube::core::Status;
use std::io;
use tokio::io::ReadBuf;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tungstenite::handshake::{client::generate_key, derive_accept_key};
use tungstenite::protocol::Role;

/// The WebSocket on the connection to the API server.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Requests a WebSocket with this subprotocol.
pub(super) async fn upgrade(access: &Access, path: &str, protocol: &str) -> Result<Socket, Error> {
    let key = generate_key();
    let request = Request::get(path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(Body::empty())
        .map_err(Error::HttpError)?;
    let response = access.client.send(request).await?;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let message = error_message(response).await;
        let reason = status.canonical_reason().unwrap_or_default();
        return Err(Error::Api(
            Status::failure(&message, reason)
                .with_code(status.as_u16())
                .boxed(),
        ));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::UpgradeConnection(Refusal::ProtocolSwitch(status)));
    }
    check(response.headers(), &key, protocol).map_err(Error::UpgradeConnection)?;
    nodelay::set(&response);
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| Error::UpgradeConnection(Refusal::GetPendingUpgrade(error)))?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

/// Checks that the answer is to this request, and that the server accepts the subprotocol.
fn check(answer: &HeaderMap, key: &str, protocol: &str) -> Result<(), Refusal> {
    let has_value = |name, expected: &str| {
        let value = answer.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.eq_ignore_ascii_case(expected))
    };
    if !has_value(UPGRADE, "websocket") {
        return Err(Refusal::MissingUpgradeWebSocketHeader);
    }
    if !has_value(CONNECTION, "Upgrade") {
        return Err(Refusal::MissingConnectionUpgradeHeader);
    }
    let accept = derive_accept_key(key.as_bytes());
    if answer
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|value| value != &accept)
    {
        return Err(Refusal::SecWebSocketAcceptKeyMismatch);
    }
    match answer.get(SEC_WEBSOCKET_PROTOCOL) {
        Some(accepted) if accepted == protocol => Ok(()),
        _ => Err(Refusal::SecWebSocketProtocolMismatch),
    }
}

/// Moves as much received data into the reader's buffer as fits.
pub(super) fn fill_read_buf(received: &mut Bytes, into: &mut ReadBuf<'_>) {
    let count = received.len().min(into.remaining());
    into.put_slice(&received.split_to(count));
}

/// An error of the WebSocket as an I/O error.
pub(super) fn io_error(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::ConnectionAborted.into()
        }
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str, protocol: &'static str) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert(UPGRADE, "WebSocket".parse().unwrap());
        answer.insert(CONNECTION, "upgrade".parse().unwrap());
        answer.insert(
            SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(key.as_bytes()).parse().unwrap(),
        );
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        answer
    }

    #[test]
    fn upgrade_answer_with_another_subprotocol_or_none_is_refused() {
        check(&answer("key", "ours"), "key", "ours").unwrap();
        assert!(matches!(
            check(&answer("key", "other"), "key", "ours"),
            Err(Refusal::SecWebSocketProtocolMismatch)
        ));
        let mut without_subprotocol = answer("key", "ours");
        without_subprotocol.remove(SEC_WEBSOCKET_PROTOCOL);
        assert!(check(&without_subprotocol, "key", "ours").is_err());
    }

    #[test]
    fn upgrade_answer_with_another_accept_key_is_refused() {
        assert!(matches!(
            check(&answer("theirs", "ours"), "key", "ours"),
            Err(Refusal::SecWebSocketAcceptKeyMismatch)
        ));
    }
}
