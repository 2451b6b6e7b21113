//! The relay's end of requests for the agent's environment and its files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request};

use super::body::BodyReader;
use super::exchange::{RequestError, answered, body, uri};
use super::{BINARY_MEDIA_TYPE, ENVIRONMENT_BYTES, ENVIRONMENT_PATH, FILE_PATH, Tunnel, WATCH_PATH};
use crate::files::{ANSWER_BYTES, FileAnswer, FileDecodeError, FileQuestion, WatchEvent, encode_paths};
use crate::payload::Payload;

impl Tunnel {
    /// Requests the environment that the agent was started with: names and values, which may be any bytes but zero.
    pub async fn environment(&self) -> Result<Vec<(OsString, OsString)>, RequestError> {
        let mut request = Request::new(());
        *request.uri_mut() = uri(PathAndQuery::from_static(ENVIRONMENT_PATH));
        let (response, _) = self.send(request, true).await?;
        let response = answered(response.await).await?;
        let variables = body(&mut response.into_body(), ENVIRONMENT_BYTES).await?;
        Ok(variables.split(|byte| *byte == 0).filter_map(variable).collect())
    }

    /// Asks for a file of the agent's container. If the answer's payload is
    /// [`FilePayload::Content`](crate::files::FilePayload::Content), the reader has it; an error of the reader then
    /// means that the file could not be read to its end.
    pub async fn file(&self, question: &FileQuestion) -> Result<(FileAnswer, BodyReader), RequestError> {
        let mut reader = self.ask(FILE_PATH, question.encode().into()).await?;
        let length = reader.exact(4).await?;
        let length = length
            .first_chunk()
            .map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        if length > ANSWER_BYTES {
            let why = format!("it is longer than {ANSWER_BYTES} bytes");
            return Err(RequestError::BadAnswer(why));
        }
        let answer = FileAnswer::decode(&reader.exact(length).await?).map_err(bad)?;
        Ok((answer, reader))
    }

    /// Watches absolute paths of the agent's container: each is reported once at first, and again whenever what stands
    /// there has changed.
    pub async fn watch(&self, paths: &[Vec<u8>]) -> Result<Watch, RequestError> {
        let reader = self.ask(WATCH_PATH, encode_paths(paths).into()).await?;
        Ok(Watch {
            reader,
            watches: paths.len(),
        })
    }

    async fn ask(&self, path: &'static str, question: Bytes) -> Result<BodyReader, RequestError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(PathAndQuery::from_static(path));
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(BINARY_MEDIA_TYPE));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(question.len()));
        let (response, mut send) = self.send(request, false).await?;
        send.send_data(Payload::untracked(question), true)
            .map_err(|_| RequestError::TunnelLost)?;
        let response = answered(response.await).await?;
        Ok(BodyReader::new(response.into_body(), &self.common.receivers))
    }
}

/// The events of watched paths.
#[derive(Debug)]
pub struct Watch {
    reader: BodyReader,
    watches: usize,
}

impl Watch {
    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Result<WatchEvent, RequestError> {
        loop {
            if let Some(event) = WatchEvent::take(self.reader.received(), self.watches).map_err(bad)? {
                return Ok(event);
            }
            if !self.reader.receive().await? {
                return Err(RequestError::BadAnswer("the agent watches no longer".into()));
            }
        }
    }
}

/// `NAME=VALUE`. What has no name is no variable.
fn variable(text: &[u8]) -> Option<(OsString, OsString)> {
    let end = text
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|end| *end > 0)?;
    let (name, value) = text.split_at_checked(end)?;
    let value = value.get(1..)?;
    Some((
        OsString::from_vec(name.to_vec()),
        OsString::from_vec(value.to_vec()),
    ))
}

fn bad(error: FileDecodeError) -> RequestError {
    RequestError::BadAnswer(error.to_string())
}
