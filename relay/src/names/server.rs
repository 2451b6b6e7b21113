//! The session's name server over TCP (RFC 7766): frames of two bytes' length and a message.
//!
//! A program that reads the session's resolv.conf connects to the cluster's name server. The relay answers itself, so
//! that what the cluster does not know is asked for locally here too. Questions are answered as their answers come, in
//! any order: a slow one keeps no other waiting.

use super::resolver::Resolver;
use crate::log;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a connection may stay without a question.
const IDLE: Duration = Duration::from_secs(30);

/// Questions of one connection that are under way at once; further ones wait in the socket.
const MOST_AT_ONCE: usize = 64;

/// Answers the questions of one connection until the program closes it, falls silent, or breaks the frames.
pub(crate) async fn serve(resolver: &Resolver, mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let questions = futures::stream::unfold(&mut reader, |reader| async {
        let question = next_question(reader).await?;
        Some((question, reader))
    });
    let mut questions = std::pin::pin!(questions);
    let mut under_way = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !under_way.is_empty() {
        // cancel-safe: both are streams, which keep what they have begun
        let answer = tokio::select! {
            question = questions.next(), if is_open && under_way.len() < MOST_AT_ONCE => {
                match question {
                    Some(question) => under_way.push(answer(resolver, question)),
                    None => is_open = false,
                }
                continue;
            }
            Some(answer) = under_way.next(), if !under_way.is_empty() => answer,
        };
        let Some(answer) = answer else {
            continue;
        };
        if let Err(error) = writer.write_all(&answer).await {
            return log::debug!("a program hung up on its name server: {error}");
        }
    }
}

/// An answer in its frame.
async fn answer(resolver: &Resolver, question: Vec<u8>) -> Option<Vec<u8>> {
    let answer = resolver.exchange(&question).await?;
    let length = u16::try_from(answer.len()).ok()?;
    Some([&length.to_be_bytes(), answer.as_slice()].concat())
}

/// The next question; none at the end.
async fn next_question(reader: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    match tokio::time::timeout(IDLE, read_frame(reader)).await {
        Ok(Ok(question)) => Some(question),
        // how a connection ends concerns its program only
        Ok(Err(_)) | Err(_) => None,
    }
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut message).await?;
    Ok(message)
}
