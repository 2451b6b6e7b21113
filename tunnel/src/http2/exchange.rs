//! Writes and reads requests and responses, for connections and datagrams, at both ends.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Response, StatusCode, Uri};

use super::FACTS_BYTES;
use crate::dial_error::{DialError, PROXY_STATUS};
use crate::payload::Payload;

/// The agent's name in `Proxy-Status`.
const PROXY_NAME: &str = "kinject-agent";

/// A request without a usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The tunnel broke.
    #[error("the tunnel to the cluster was lost")]
    TunnelLost,
    /// No nameserver answered in time.
    #[error("the cluster's nameservers did not answer in time")]
    TimedOut,
    /// The agent refused or failed.
    #[error("the agent answered {status}: {reason}")]
    Failed {
        /// HTTP status.
        status: u16,
        /// The body of the agent's answer.
        reason: String,
    },
    /// The answer is malformed or of another kind than requested.
    #[error("the agent's answer is unusable: {0}")]
    BadAnswer(String),
}

/// The receiving direction of a connection or flow, if the agent has opened it.
pub(super) fn accepted(response: Response<RecvStream>) -> Result<RecvStream, DialError> {
    if response.status() == StatusCode::OK {
        return Ok(response.into_body());
    }
    Err(match response.headers().get(PROXY_STATUS) {
        Some(status) => DialError::from_proxy_status(status),
        None => DialError::Other(format!("the agent answered {}", response.status())),
    })
}

pub(super) fn uri(path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("agent"));
    parts.path_and_query = Some(path);
    // Scheme and authority are constants that make a URI with any path.
    Uri::from_parts(parts).unwrap_or_default()
}

pub(super) async fn answered(
    response: Result<Response<RecvStream>, h2::Error>,
) -> Result<Response<RecvStream>, RequestError> {
    let response = response.map_err(lost)?;
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::GATEWAY_TIMEOUT => Err(RequestError::TimedOut),
        status => {
            let reason = body(&mut response.into_body(), FACTS_BYTES).await?;
            let reason = String::from_utf8_lossy(&reason).trim().to_owned();
            Err(RequestError::Failed {
                status: status.as_u16(),
                reason,
            })
        }
    }
}

/// A stream that was reset, by the agent or, for what the agent sent on it, by this end, says nothing of the tunnel.
pub(super) fn lost(error: h2::Error) -> RequestError {
    match error.is_reset() {
        true => RequestError::BadAnswer(error.to_string()),
        false => RequestError::TunnelLost,
    }
}

/// Reads a complete body of bounded length.
pub(super) async fn body(recv: &mut RecvStream, limit: usize) -> Result<Bytes, RequestError> {
    let mut whole = BytesMut::new();
    while let Some(part) = recv.data().await {
        let part = part.map_err(lost)?;
        if whole.len() + part.len() > limit {
            return Err(RequestError::BadAnswer(format!(
                "it is longer than {limit} bytes"
            )));
        }
        whole.extend_from_slice(&part);
        recv.flow_control().release_capacity(part.len()).map_err(lost)?;
    }
    Ok(whole.freeze())
}

/// Answers a CONNECT of either kind with the reason of its failure.
pub(super) fn refuse(mut respond: SendResponse<Payload>, error: &DialError) {
    let mut response = Response::new(());
    *response.status_mut() = error.status();
    response
        .headers_mut()
        .insert(PROXY_STATUS, error.to_proxy_status(PROXY_NAME));
    // It fails only if the relay has cancelled the request, and then no answer is needed.
    let _ = respond.send_response(response, true);
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::CONTENT_LENGTH;

    use super::*;

    /// An agent that announces three bytes and sends five, and then answers the next request as announced.
    async fn contradict(io: tokio::io::DuplexStream) {
        let mut connection = h2::server::handshake(io).await.unwrap();
        let mut sent = "hello";
        while let Some(request) = connection.accept().await {
            let (_, mut respond) = request.unwrap();
            let response = Response::builder().header(CONTENT_LENGTH, 3).body(()).unwrap();
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from_static(sent.as_bytes()), true).unwrap();
            sent = "yes";
        }
    }

    #[tokio::test]
    async fn answer_that_contradicts_itself_fails_its_request_and_not_the_tunnel() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let agent = tokio::spawn(contradict(theirs));
        let (client, connection) = h2::client::handshake(ours).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut client = client.clone().ready().await.unwrap();
            let request = Request::builder().uri("http://agent/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let read = async { body(&mut answered(response.await).await?.into_body(), 100).await };
            answers.push(read.await);
        }
        assert!(
            matches!(answers[0], Err(RequestError::BadAnswer(_))),
            "{:?}",
            answers[0]
        );
        assert_eq!(answers[1], Ok(Bytes::from_static(b"yes")));
        drop(client);
        driver.await.unwrap().unwrap();
        agent.await.unwrap();
    }
}
