//! The way through port-forward, as byte streams to one port of the agent's pod.
//!
//! `GET /api/v1/namespaces/NS/pods/NAME/portforward?ports=PORT` upgraded to a WebSocket, in which either of two
//! protocols is spoken:
//!
//! - [`channels`], the older one, which every API server passes through to the kubelet. What it carries is soon there, but the
//!   kubelet's end takes each message apart byte by byte, which bounds what goes upwards.
//! - [`spdy`], which is what `kubectl` speaks. API servers know it since 1.30 (as an alpha feature; 1.31: by default). They take
//!   it apart themselves, which takes a round trip longer, and carry twice as much.
//!
//! So a session has one of each where the server knows both, and they are the two lanes of its stream
//! (`kinject_tunnel::lanes`): it begins with the one, and the other joins as soon as it is open. A server that refuses
//! the older protocol is asked for the newer one alone. These serve the whole session; what makes it a session stands
//! above.

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

/// SPDY/3.1 in binary messages.
const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

/// A channel's number before each message.
const CHANNELS: &str = "v4.channel.k8s.io";

/// Opens a stream to the agent in this pod, the one that is soonest there; says whether a broader one may join it.
pub(crate) async fn open(access: &Access, pod: &str) -> Result<(kinject_tunnel::Stream, bool), Error> {
    match websocket::upgrade(access, &path(access, pod), CHANNELS).await {
        Ok(socket) => Ok((Box::new(Channels::new(socket)), true)),
        Err(error) if may_be_the_offer(&error) => {
            log::info!("port-forward with {CHANNELS} was refused: {error}");
            Ok((open_broad(access, pod).await?, false))
        }
        Err(error) => Err(error),
    }
}

/// Opens the one that carries most.
pub(crate) async fn open_broad(access: &Access, pod: &str) -> Result<kinject_tunnel::Stream, Error> {
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

/// Whether the server may have refused for the protocols that were offered. What it says of rights, of the pod and of
/// too many requests it would say again.
fn may_be_the_offer(error: &Error) -> bool {
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
        assert!(may_be_the_offer(&answered(400)));
        assert!(may_be_the_offer(&answered(500)));
        assert!(may_be_the_offer(&Error::UpgradeConnection(
            SecWebSocketProtocolMismatch
        )));
        assert!(!may_be_the_offer(&answered(401)));
        assert!(!may_be_the_offer(&answered(403)));
        assert!(!may_be_the_offer(&answered(404)));
    }
}
