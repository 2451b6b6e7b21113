//! The API server's proxy: an HTTP/1.1 upgrade in front of the tunnel.
//!
//! `GET /anything HTTP/1.1` with `Connection: Upgrade` and `Upgrade: kinject` is answered with 101, and the bytes after
//! that are the relay's. Any other connection is closed without an answer. The parser accepts only this request and is
//! bounded in time and size: it listens on the pod's address, which every other pod can reach.

use std::io;
use std::time::Duration;

use kinject_tunnel::{OpenError, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(5);
/// Maximum size of the request head: the API server adds fields, which may include the user's name and groups.
const MAX_HEAD: usize = 16 * 1024;
const PROTOCOL: &str = "kinject";
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n";

/// Answers the upgrade and returns the stream behind it.
pub(crate) async fn accept(mut stream: Stream) -> Result<Stream, OpenError> {
    let upgraded = async {
        if !requests_upgrade(&read_head(&mut stream).await?) {
            return Err(OpenError::NotKinject);
        }
        stream.write_all(ANSWER).await.map_err(OpenError::from)?;
        stream.flush().await.map_err(OpenError::from)?;
        Ok(stream)
    };
    timeout(DEADLINE, upgraded)
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

/// Reads up to the empty line. A peer that sends more than that before our answer is not a relay.
async fn read_head(stream: &mut Stream) -> Result<Vec<u8>, OpenError> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let before = head.len();
        if before > MAX_HEAD {
            return Err(OpenError::NotKinject);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // The end may be split over two reads.
        let from = before.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            return match from + at + 4 == head.len() {
                true => Ok(head),
                false => Err(OpenError::NotKinject),
            };
        }
    }
}

fn requests_upgrade(head: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(head) else {
        return false;
    };
    let mut lines = head.split("\r\n");
    let request = lines.next().unwrap_or_default();
    let mut parts = request.split(' ');
    let request = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("GET"), Some(path), Some("HTTP/1.1"), None) = request else {
        return false;
    };
    if !path.starts_with('/') {
        return false;
    }
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let lists = |name: &str, value: &str| {
        fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .flat_map(|(_, list)| list.split(','))
            .any(|found| found.trim().eq_ignore_ascii_case(value))
    };
    lists("connection", "upgrade") && lists("upgrade", PROTOCOL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn upgrade_to_kinject_is_recognised_in_any_case() {
        let head =
            "GET /x?y HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, upgrade\r\nUPGRADE:kinject \r\n\r\n";
        assert!(requests_upgrade(head.as_bytes()));
    }

    #[test]
    fn requests_without_the_upgrade_are_refused() {
        for head in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: kinject\r\n\r\n",
            "POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n",
            "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n",
            "GET x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n",
        ] {
            assert!(!requests_upgrade(head.as_bytes()), "{head}");
        }
    }

    proptest! {
        #[test]
        fn any_request_head_is_parsed_without_a_panic(head in prop::collection::vec(any::<u8>(), 0..300)) {
            requests_upgrade(&head);
        }
    }

    async fn upgraded(parts: &[&[u8]]) -> (Result<Stream, OpenError>, Vec<u8>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move { accept(Box::new(theirs)).await });
        let (mut read, mut write) = tokio::io::split(ours);
        for part in parts {
            write.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        write.shutdown().await.unwrap();
        let result = server.await.unwrap().map(|stream| {
            drop(stream);
            Box::new(tokio::io::empty()) as Stream
        });
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        (result, answer)
    }

    #[tokio::test]
    async fn head_split_over_two_reads_is_answered_with_101() {
        let (result, answer) = upgraded(&[
            b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r",
            b"\n",
        ])
        .await;
        assert!(result.is_ok());
        assert_eq!(answer, ANSWER);
    }

    #[tokio::test]
    async fn garbage_oversize_or_early_data_is_closed_without_a_response() {
        let long = vec![b'a'; MAX_HEAD + 2000];
        let early_data = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\nmore";
        for garbage in [b"\x16\x03\x01\r\n\r\n".as_slice(), &long, early_data, b"GET /"] {
            let (result, answer) = upgraded(&[garbage]).await;
            assert!(result.is_err());
            assert!(answer.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn incomplete_head_is_closed_at_the_deadline() {
        let (_ours, theirs) = tokio::io::duplex(1024);
        assert!(matches!(accept(Box::new(theirs)).await, Err(OpenError::TimedOut)));
    }
}
