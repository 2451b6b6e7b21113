//! The transport through port-forward, as byte streams to one port of the agent's pod.
//!
//! `GET /api/v1/namespaces/NS/pods/NAME/portforward?ports=PORT` is upgraded to a WebSocket that carries either of two
//! protocols:
//!
//! - [`channels`], the older one, which every API server passes through to the kubelet. It has the lower latency, but
//!   the kubelet parses each message byte by byte, which bounds the upload rate.
//! - [`spdy`], which `kubectl` uses. API servers support it since 1.30 (as an alpha feature; 1.31: by default). They
//!   parse it themselves, which takes a round trip longer, and carry twice as much.
//!
//! So a session opens one of each where the API server supports both, as the two lanes of its stream
//! (`kinject_tunnel::lanes`): it starts with the older one, and the newer one joins as soon as it is open. If the
//! server refuses the older protocol, the newer one is used alone. The lanes last for the whole session; the layers
//! above multiplex its connections.

mod channels;
mod frames;
mod spdy;
mod websocket;

use super::access::Access;
use super::job::FORWARD_PORT;
use crate::log;
use channels::Channels;
use kube::Error;
use spdy::Spdy;

/// The subprotocol of SPDY/3.1 in binary messages.
const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

/// The subprotocol with a channel number at the head of each message.
const CHANNELS: &str = "v4.channel.k8s.io";

/// Opens a stream to the agent in this pod, of the lower latency if possible. Returns whether one by SPDY may join it.
pub(crate) async fn open(access: &Access, pod: &str) -> Result<(kinject_tunnel::Stream, bool), Error> {
    match websocket::upgrade(access, &path(access, pod), CHANNELS).await {
        Ok(socket) => Ok((Box::new(Channels::new(socket)), true)),
        Err(error) if may_reject_protocol(&error) => {
            log::info!("port-forward with {CHANNELS} was refused: {error}");
            Ok((open_spdy(access, pod).await?, false))
        }
        Err(error) => Err(error),
    }
}

/// Opens a stream by SPDY, which has the higher throughput.
pub(crate) async fn open_spdy(access: &Access, pod: &str) -> Result<kinject_tunnel::Stream, Error> {
    let socket = websocket::upgrade(access, &path(access, pod), SPDY).await?;
    let stream = Spdy::open(socket, FORWARD_PORT).await;
    Ok(Box::new(stream.map_err(|error| Error::Service(error.into()))?))
}

fn path(access: &Access, pod: &str) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{pod}/portforward?ports={FORWARD_PORT}",
        access.namespace
    )
}

/// Whether the server may have refused because of the offered protocol. With another one it would repeat an error about
/// rights, about the pod, or about too many requests.
fn may_reject_protocol(error: &Error) -> bool {
    match error {
        Error::Api(status) => !matches!(status.code, 401 | 403 | 404 | 429),
        Error::UpgradeConnection(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::UpgradeConnectionError::SecWebSocketProtocolMismatch;
    use kube::core::Status;

    #[test]
    fn failed_upgrade_is_retried_with_spdy_unless_denied_or_not_found() {
        let answered = |code| Error::Api(Status::failure("no", "").with_code(code).boxed());
        assert!(may_reject_protocol(&answered(400)));
        assert!(may_reject_protocol(&answered(500)));
        assert!(may_reject_protocol(&Error::UpgradeConnection(
            SecWebSocketProtocolMismatch
        )));
        assert!(!may_reject_protocol(&answered(401)));
        assert!(!may_reject_protocol(&answered(403)));
        assert!(!may_reject_protocol(&answered(404)));
    }
}
