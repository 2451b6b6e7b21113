//! The transport through the API server's pod proxy.
//!
//! `GET /api/v1/namespaces/NS/pods/NAME:PORT/proxy/` with `Connection: Upgrade` (RFC 9110, 7.8): the agent answers 101
//! and both ends hold a raw stream. Needs `get` on `pods/proxy`, and an API server that reaches pods.

use super::access::Access;
use super::job::PROXY_PORT;
use super::nodelay;
use http::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use kube::client::Body;

/// Why the pod proxy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The user may not use it.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The API server does not reach the agent, or not yet.
    #[error("the API server answered {0}: {1}")]
    Unreachable(StatusCode, String),
    /// The API server itself failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The connection broke while it was being made.
    #[error("the upgrade failed: {0}")]
    Upgrade(#[from] hyper::Error),
}

/// Opens a stream to the agent in this pod.
pub(crate) async fn open(access: &Access, pod: &str) -> Result<kinject_tunnel::Stream, ProxyError> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}:{PROXY_PORT}/proxy/",
        access.namespace
    );
    let request = Request::get(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "kinject")
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let response = access.client.send(request).await?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            nodelay::set(&response);
            let upgraded = hyper::upgrade::on(response).await?;
            Ok(Box::new(TokioIo::new(upgraded)))
        }
        status => {
            let message = error_message(response).await;
            match status {
                StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(ProxyError::Forbidden(message)),
                _ => Err(ProxyError::Unreachable(status, message)),
            }
        }
    }
}

/// The message of a Kubernetes `Status`, or the beginning of whatever else the server wrote.
pub(super) async fn error_message(response: http::Response<Body>) -> String {
    let Ok(body) = response.into_body().collect_bytes().await else {
        return String::new();
    };
    match serde_json::from_slice::<kube::core::Status>(&body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(&body).trim().chars().take(200).collect(),
    }
}
