//! The agent's end of requests for its environment and its files.

use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::body::BodySender;
use super::common::Common;
use super::exchange::{RequestError, body};
use super::server::answer;
use super::{BINARY_MEDIA_TYPE, Cancelled, ENVIRONMENT_BYTES};
use crate::files::{FileAnswer, FileQuestion, QUESTION_BYTES, WATCH_BYTES, WatchEvent, decode_paths};
use crate::payload::Payload;

/// `GET /.well-known/kinject/environment`.
pub struct EnvironmentRequest(pub(super) Responder);

/// `POST /.well-known/kinject/file`.
pub struct FileRequest {
    pub(super) responder: Responder,
    pub(super) recv: RecvStream,
}

/// `POST /.well-known/kinject/watch`.
pub struct WatchRequest {
    pub(super) responder: Responder,
    pub(super) recv: RecvStream,
}

/// Answers one request.
pub(super) struct Responder {
    pub(super) respond: SendResponse<Payload>,
    pub(super) common: Common,
}

impl Responder {
    fn refuse(self, status: StatusCode, reason: &str) {
        let reason = Bytes::copy_from_slice(reason.as_bytes());
        answer(self.respond, status, "text/plain", reason);
    }

    /// Starts an answer of any length; none if the relay has cancelled the request.
    fn begin(mut self) -> Option<BodySender> {
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(BINARY_MEDIA_TYPE));
        let send = self.respond.send_response(response, false).ok()?;
        Some(BodySender::new(send, &self.common.scheduler))
    }
}

impl EnvironmentRequest {
    /// Answers with the variables.
    pub async fn answer(self, variables: &[(OsString, OsString)]) -> Result<(), Cancelled> {
        let mut bytes = Vec::new();
        for (name, value) in variables {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        if bytes.len() > ENVIRONMENT_BYTES {
            let reason = "the environment is too large";
            self.0.refuse(StatusCode::INTERNAL_SERVER_ERROR, reason);
            return Ok(());
        }
        let mut sender = self.0.begin().ok_or(Cancelled)?;
        sender.send(bytes.into()).await?;
        sender.finish();
        Ok(())
    }

    /// Answers that the agent does not give its environment away.
    pub fn forbid(self, reason: &str) {
        self.0.refuse(StatusCode::FORBIDDEN, reason);
    }
}

impl FileRequest {
    /// Reads the question.
    pub async fn question(&mut self) -> Result<FileQuestion, RequestError> {
        let question = body(&mut self.recv, QUESTION_BYTES).await?;
        FileQuestion::decode(&question).map_err(|error| RequestError::BadAnswer(error.to_string()))
    }

    /// Waits until the relay cancels the request. Cancel-safe.
    pub async fn cancelled(&mut self) {
        // an error means that the tunnel has ended, and the request with it
        let _ = poll_fn(|cx| self.responder.respond.poll_reset(cx)).await;
    }

    /// Sends the answer; a file's content is then sent by the sender that it returns.
    pub async fn answer(self, answer: &FileAnswer) -> Result<BodySender, Cancelled> {
        let encoded = answer.encode();
        let mut sender = self.responder.begin().ok_or(Cancelled)?;
        let mut whole = Vec::with_capacity(4 + encoded.len());
        whole.extend((encoded.len() as u32).to_le_bytes());
        whole.extend(encoded);
        sender.send(whole.into()).await?;
        Ok(sender)
    }

    /// Answers that the question cannot be understood.
    pub fn malformed(self, reason: &str) {
        self.responder.refuse(StatusCode::BAD_REQUEST, reason);
    }

    /// Answers that the agent gives no files away.
    pub fn forbid(self, reason: &str) {
        self.responder.refuse(StatusCode::FORBIDDEN, reason);
    }
}

impl WatchRequest {
    /// Reads the paths to watch.
    pub async fn paths(&mut self) -> Result<Vec<Vec<u8>>, RequestError> {
        let paths = body(&mut self.recv, WATCH_BYTES).await?;
        decode_paths(&paths).map_err(|error| RequestError::BadAnswer(error.to_string()))
    }

    /// Starts to report; none if the relay has cancelled the request.
    pub fn accept(self) -> Option<WatchSender> {
        self.responder.begin().map(WatchSender)
    }

    /// Answers that the question cannot be understood.
    pub fn malformed(self, reason: &str) {
        self.responder.refuse(StatusCode::BAD_REQUEST, reason);
    }

    /// Answers that the agent gives no files away.
    pub fn forbid(self, reason: &str) {
        self.responder.refuse(StatusCode::FORBIDDEN, reason);
    }
}

/// Reports what stands at watched paths.
#[derive(Debug)]
pub struct WatchSender(BodySender);

impl WatchSender {
    /// The event as it is sent; none if it is too large.
    pub fn encode(event: &WatchEvent) -> Option<Bytes> {
        event.encode().map(Bytes::from)
    }

    /// Sends an encoded event.
    pub async fn send(&mut self, event: Bytes) -> Result<(), Cancelled> {
        self.0.send(event).await
    }

    /// Waits until the relay watches no longer. Cancel-safe.
    pub async fn cancelled(&mut self) {
        self.0.cancelled().await;
    }
}

impl fmt::Debug for EnvironmentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentRequest")
    }
}

impl fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileRequest")
    }
}

impl fmt::Debug for WatchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchRequest")
    }
}
