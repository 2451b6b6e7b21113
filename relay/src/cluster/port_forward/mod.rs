//! The way through port-forward, as a byte stream to one port of the agent's pod.
//!
//! `GET /api/v1/namespaces/NS/pods/NAME/portforward?ports=PORT` upgraded to a WebSocket, in which either of two
//! protocols is spoken:
//!
//! - [`spdy`], which is what `kubectl` speaks. API servers know it since 1.30 (as an alpha feature; 1.31: by default).
//! - [`channels`], which the API server passes through to the kubelet: all others. Its server takes each message apart
//!   byte by byte, at a third of the other's rate upwards.
//!
//! Both are offered at once, and the server chooses. Servers, and proxies before them, that stumble over the offer are
//! asked again for the older protocol alone. One forward serves the whole session; what makes it a session stands
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
use websocket::Upgrade;

/// SPDY/3.1 in binary messages.
const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

/// A channel's number before each message.
const CHANNELS: &str = "v4.channel.k8s.io";

/// Opens a stream to the agent in this pod.
pub(crate) async fn open(access: &Access, pod: &str) -> Result<kinject_tunnel::Stream, Error> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/portforward?ports={FORWARD_PORT}",
        access.namespace
    );
    let upgrade = match websocket::upgrade(access, &path, &[SPDY, CHANNELS]).await {
        Err(error) if may_be_the_offer(&error) => {
            log::info!("port-forward with {SPDY} was refused: {error}");
            websocket::upgrade(access, &path, &[CHANNELS]).await?
        }
        answer => answer?,
    };
    let Upgrade { socket, protocol } = upgrade;
    log::info!("port-forward speaks {protocol}");
    Ok(match protocol {
        SPDY => Box::new(
            Spdy::open(socket, FORWARD_PORT)
                .await
                .map_err(|error| Error::Service(error.into()))?,
        ),
        _ => Box::new(Channels::new(socket)),
    })
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
    fn a_server_that_stumbles_over_the_offer_is_asked_again_and_one_that_forbids_is_not() {
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
