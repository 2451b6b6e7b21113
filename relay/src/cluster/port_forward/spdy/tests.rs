use super::*;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A WebSocket whose other end is the test.
struct Wire {
    outgoing: mpsc::UnboundedSender<Message>,
    incoming: mpsc::UnboundedReceiver<Message>,
}

impl Stream for Wire {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming
            .poll_next_unpin(context)
            .map(|message| message.map(Ok))
    }
}

impl Sink<Message> for Wire {
    type Error = tungstenite::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = self.outgoing.poll_ready_unpin(context);
        ready.map_err(|_| tungstenite::Error::ConnectionClosed)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        let sent = self.outgoing.start_send_unpin(message);
        sent.map_err(|_| tungstenite::Error::ConnectionClosed)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.outgoing.disconnect();
        Poll::Ready(Ok(()))
    }
}

/// The server's end.
struct Server {
    outgoing: mpsc::UnboundedSender<Message>,
    incoming: mpsc::UnboundedReceiver<Message>,
}

impl Server {
    async fn send_raw(&mut self, bytes: &[u8]) {
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        self.outgoing.send(message).await.unwrap();
    }

    async fn send_data(&mut self, stream: u32, bytes: &[u8], fin: bool) {
        let mut frame = frames::data(stream, bytes.len() as u32, fin).to_vec();
        frame.extend_from_slice(bytes);
        self.send_raw(&frame).await;
    }

    async fn receive(&mut self) -> Bytes {
        match self.incoming.next().await.unwrap() {
            Message::Binary(bytes) => bytes,
            other => panic!("{other}"),
        }
    }
}

async fn opened() -> (Spdy<Wire>, Server) {
    let (outgoing, from_client) = mpsc::unbounded();
    let (to_client, incoming) = mpsc::unbounded();
    let spdy = Spdy::open(Wire { outgoing, incoming }, 31006).await.unwrap();
    let mut server = Server {
        outgoing: to_client,
        incoming: from_client,
    };
    let first = server.receive().await;
    let has = |text: &[u8]| first.windows(text.len()).any(|part| part == text);
    assert!(has(b"error") && has(b"data") && has(b"31006") && has(b"requestid"));
    (spdy, server)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_long_write_is_split_into_frames() {
    let (mut spdy, mut server) = opened().await;
    let long_write = vec![7; MOST_BYTES + 5];
    spdy.write_all(&long_write).await.unwrap();
    let first = server.receive().await;
    assert_eq!(
        first[..HEADER_BYTES],
        frames::data(DATA, MOST_BYTES as u32, false)
    );
    assert_eq!(
        server.receive().await[..],
        [&frames::data(DATA, 5, false)[..], &[7; 5]].concat()
    );

    server.send_data(DATA, b"one ", false).await;
    server.send_data(DATA, b"two", true).await;
    let mut read = String::new();
    spdy.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "one two");
}

#[tokio::test]
async fn text_on_the_error_stream_fails_the_read_with_connection_reset() {
    let (mut spdy, mut server) = opened().await;
    server
        .send_data(ERRORS, b"error forwarding port: connection refused\n", false)
        .await;
    let error = spdy.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "error forwarding port: connection refused");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn error_stream_that_ends_without_text_is_ignored() {
    let (mut spdy, mut server) = opened().await;
    server.send_data(ERRORS, b"", true).await;
    server.send_data(DATA, b"x", false).await;
    assert_eq!(spdy.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn reset_stream_fails_the_read_and_closed_socket_reads_as_eof() {
    let (mut spdy, mut server) = opened().await;
    server
        .send_raw(&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5])
        .await;
    assert_eq!(
        spdy.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );

    let (mut spdy, server) = opened().await;
    drop(server);
    assert_eq!(spdy.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn server_ping_is_answered_and_a_client_ping_id_is_ignored() {
    let (mut spdy, mut server) = opened().await;
    server.send_raw(&frames::ping(2)).await;
    server.send_raw(&frames::ping(5)).await;
    server.send_data(DATA, b"x", false).await;
    assert_eq!(spdy.read_u8().await.unwrap(), b'x');
    assert_eq!(server.receive().await, frames::ping(2));
    spdy.write_u8(b'y').await.unwrap();
    assert_eq!(server.receive().await[HEADER_BYTES..], *b"y");
}

#[tokio::test]
async fn shutdown_sends_fin_and_closes_the_socket() {
    let (mut spdy, mut server) = opened().await;
    spdy.shutdown().await.unwrap();
    assert_eq!(server.receive().await[..], frames::data(DATA, 0, true));
    assert!(server.incoming.next().await.is_none());
}
