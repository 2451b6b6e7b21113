//! What ends waits for something else to be said, and leaves behind it in the same write.
//!
//! Where every message passes an API server, it costs that a wake-up and some 50 µs, and nobody waits for the news that a
//! program has closed its socket. A program that makes one connection after the other has something to say on the next
//! one within microseconds. To wait for that costs nothing while the tunnel looks for news anyway
//! ([`vigil`](super::vigil)). While it sleeps, nothing waits; nor does anything on a straight way, where the other end
//! deals with the close while it has nothing else to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use h2::{Reason, SendStream};
use parking_lot::Mutex;

use crate::payload::Payload;

/// How much later than it might the other end hears of a close.
const PATIENCE: Duration = Duration::from_millis(1);

/// Where closed connections wait for company; clones share it. Dropping it resets them with CANCEL.
#[derive(Clone, Default)]
pub(crate) struct Departures(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether it is worth it on this way.
    is_worth_it: AtomicBool,
    /// Whether the tunnel looks for news without sleeping.
    is_awake: AtomicBool,
    /// In the order in which they came.
    waiting: Mutex<Vec<(Instant, SendStream<Payload>)>>,
}

impl Departures {
    /// From here on connections may wait while the tunnel is awake.
    pub(super) fn open(&self) {
        self.0.is_worth_it.store(true, Ordering::Relaxed);
    }

    /// Ends both directions of a connection with one frame: behind what is said next, or at once where nothing may wait.
    pub(crate) fn close(&self, send: SendStream<Payload>) {
        match self.are_open() {
            true => self.0.waiting.lock().push((Instant::now(), send)),
            false => say_closed(send),
        }
    }

    /// Whether connections may wait.
    fn are_open(&self) -> bool {
        self.0.is_worth_it.load(Ordering::Relaxed) && self.0.is_awake.load(Ordering::Relaxed)
    }

    /// Something else has just been said, with which all of them leave.
    pub(crate) fn leave(&self) {
        if !self.0.is_worth_it.load(Ordering::Relaxed) {
            return;
        }
        self.0
            .waiting
            .lock()
            .drain(..)
            .for_each(|(_, send)| say_closed(send));
    }

    /// Lets go who has waited for long enough, or all of them if the tunnel may sleep now. To be called in each poll
    /// of the tunnel.
    pub(super) fn serve(&self, is_awake: bool) {
        self.0.is_awake.store(is_awake, Ordering::Relaxed);
        if !is_awake {
            return self.leave();
        }
        let mut waiting = self.0.waiting.lock();
        if !waiting.is_empty() {
            let now = Instant::now();
            waiting
                .extract_if(.., |(since, _)| is_over(*since, now))
                .for_each(|(_, send)| say_closed(send));
        }
    }
}

fn is_over(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= PATIENCE
}

/// One frame says it, and the other end has nothing to say in return.
fn say_closed(mut send: SendStream<Payload>) {
    send.send_reset(Reason::NO_ERROR);
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Request;
    use tokio::io::duplex;
    use tokio::sync::oneshot;

    use super::*;

    /// A stream of a connection that runs by itself, and what its other end hears of how it ends.
    async fn stream() -> (SendStream<Payload>, impl Future<Output = Option<Reason>>) {
        let (ours, theirs) = duplex(64 * 1024);
        let (tell, arrived) = oneshot::channel();
        let server = tokio::spawn(async move {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            let (request, respond) = server.accept().await.unwrap().unwrap();
            tell.send(()).unwrap();
            tokio::spawn(async move { while server.accept().await.is_some() {} });
            let error = request.into_body().data().await?.err()?;
            drop(respond);
            error.reason()
        });
        let (mut requests, connection) = h2::client::Builder::new()
            .handshake::<_, Payload>(ours)
            .await
            .unwrap();
        tokio::spawn(connection);
        poll_fn(|cx| requests.poll_ready(cx)).await.unwrap();
        let request = Request::get("http://agent/").body(()).unwrap();
        let (_response, send) = requests.send_request(request, false).unwrap();
        // a reset takes back what has not left
        arrived.await.unwrap();
        (send, async { server.await.unwrap() })
    }

    fn waiting(departures: &Departures) -> usize {
        departures.0.waiting.lock().len()
    }

    #[tokio::test]
    async fn a_closed_connection_leaves_with_whatever_is_said_next() {
        let departures = Departures::default();
        departures.serve(true);
        assert!(!departures.are_open(), "on a straight way");
        departures.open();
        assert!(departures.are_open());
        let (send, heard) = stream().await;
        departures.close(send);
        assert_eq!(waiting(&departures), 1);
        departures.leave();
        assert_eq!(waiting(&departures), 0);
        assert_eq!(heard.await, Some(Reason::NO_ERROR));
    }

    #[tokio::test]
    async fn a_closed_connection_leaves_by_itself_when_nothing_else_does() {
        let departures = Departures::default();
        departures.open();
        departures.serve(true);
        let (send, heard) = stream().await;
        departures.close(send);
        assert_eq!(waiting(&departures), 1);
        while waiting(&departures) > 0 {
            departures.serve(true);
        }
        assert_eq!(heard.await, Some(Reason::NO_ERROR));
        let now = Instant::now();
        assert!(!is_over(now, now) && !is_over(now + PATIENCE, now));
        assert!(is_over(now, now + PATIENCE));
    }

    #[tokio::test]
    async fn nobody_waits_while_the_tunnel_sleeps() {
        let departures = Departures::default();
        departures.open();
        assert!(!departures.are_open());
        departures.serve(true);
        let (send, heard) = stream().await;
        departures.close(send);
        departures.serve(false);
        assert!(!departures.are_open());
        assert_eq!(heard.await, Some(Reason::NO_ERROR));
    }
}
