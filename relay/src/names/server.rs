//! The session's name server over TCP (RFC 7766): each message is preceded by its length in two bytes.
//!
//! A program that reads the session's resolv.conf connects to the cluster's name server. The relay answers in its
//! place, so that names that do not exist in the cluster are looked up locally for it, too. Answers are sent in the
//! order in which they arrive, so that a slow one does not delay others.

use super::resolver::Resolver;
use crate::log;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a connection may be without a question.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum of concurrent questions of one connection; further ones wait in the socket.
const MAX_QUESTIONS: usize = 64;

/// Answers the questions of one connection until the program closes it, is idle for too long, or sends an incomplete
/// message.
pub(crate) async fn serve(resolver: &Resolver, mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let questions = futures::stream::unfold(&mut reader, |reader| async {
        let question = next_question(reader).await?;
        Some((question, reader))
    });
    let mut questions = std::pin::pin!(questions);
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        // cancel-safe: both are streams, which keep their state
        let answer = tokio::select! {
            question = questions.next(), if is_open && pending.len() < MAX_QUESTIONS => {
                match question {
                    Some(question) => pending.push(answer(resolver, question)),
                    None => is_open = false,
                }
                continue;
            }
            Some(answer) = pending.next(), if !pending.is_empty() => answer,
        };
        let Some(answer) = answer else {
            continue;
        };
        if let Err(error) = writer.write_all(&answer).await {
            return log::debug!("cannot answer a question over TCP: {error}");
        }
    }
}

/// An answer, preceded by its length.
async fn answer(resolver: &Resolver, question: Vec<u8>) -> Option<Vec<u8>> {
    let answer = resolver.exchange(&question).await?;
    let length = u16::try_from(answer.len()).ok()?;
    Some([&length.to_be_bytes(), answer.as_slice()].concat())
}

/// The next question; none at the end.
async fn next_question(reader: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    match tokio::time::timeout(IDLE_TIMEOUT, read_frame(reader)).await {
        Ok(Ok(question)) => Some(question),
        // the end of a connection concerns its program only
        Ok(Err(_)) | Err(_) => None,
    }
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut message).await?;
    Ok(message)
}
