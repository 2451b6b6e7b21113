//! One tunnel: takes requests and answers each in a task of its own.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kinject_tunnel::http2::{ConnectRequest, DnsRequest, Incoming, Server};
use kinject_tunnel::{CloseReason, splice};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::datagrams;
use crate::dial;
use crate::dns::{ForwardError, Resolver};
use crate::facts::Facts;
use crate::log::log;

/// How long a tunnel may take to end when the agent stops.
const DRAIN: Duration = Duration::from_secs(1);

/// What requests are answered with.
pub(crate) struct Services {
    pub(crate) resolver: Resolver,
    pub(crate) facts: Facts,
}

/// Serves until the tunnel ends. When the agent stops, no further request is taken and what is under way gets a moment
/// to end.
///
/// With the tunnel its connections end, by a reset, but for those that their programs had closed before: what they said
/// is still delivered. The second result does that.
pub(crate) async fn run(
    mut server: Server,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) -> (CloseReason, JoinSet<()>) {
    let mut streams = JoinSet::new();
    let mut draining = false;
    let mut patience = pin!({
        let mut stopping = stopping.clone();
        async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            sleep(DRAIN).await;
        }
    });
    let reason = loop {
        tokio::select! {
            incoming = server.next() => match incoming {
                Ok(incoming) => {
                    streams.spawn(answer(incoming, Arc::clone(&services)));
                }
                Err(reason) => break reason,
            },
            Some(ended) = streams.join_next() => note_end(ended),
            _ = stopping.wait_for(|stopping| *stopping), if !draining => {
                draining = true;
                server.drain();
            }
            () = &mut patience => break CloseReason::Finished,
        }
    };
    // Without the server every stream fails.
    drop(server);
    (reason, streams)
}

/// A request was answered, and what came of it is over.
pub(crate) fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        log(format_args!("a connection failed: {error}"));
    }
}

async fn answer(incoming: Incoming, services: Arc<Services>) {
    match incoming {
        Incoming::Connect(request) => connect(request).await,
        Incoming::Datagrams(request) => datagrams::serve(request).await,
        Incoming::Dns(request) => dns(request, &services).await,
        Incoming::Facts(request) => request.answer(&services.facts.collect()),
    }
}

async fn connect(mut request: ConnectRequest) {
    let authority = request.authority().to_owned();
    let dialled = tokio::select! {
        biased;
        () = request.cancelled() => return,
        dialled = dial::dial(&authority) => dialled,
    };
    match dialled {
        Ok(tcp) => {
            let Some(stream) = request.accept() else { return };
            // The answer is on its way before the connection is set up for the long run.
            tokio::task::yield_now().await;
            if let Err(error) = splice::keep_alive(&tcp) {
                log(format_args!(
                    "connection to {authority}: cannot watch over it: {error}"
                ));
            }
            // A service's FIN does not tell whether it still reads.
            splice(tcp, stream, || false).await;
        }
        Err(error) => request.refuse(&error),
    }
}

async fn dns(mut request: DnsRequest, services: &Services) {
    let Ok(query) = request.query().await else { return };
    let answer = tokio::select! {
        biased;
        () = request.cancelled() => return,
        answer = services.resolver.forward(&query) => answer,
    };
    match answer {
        Ok(message) => request.answer(message),
        Err(ForwardError::NotAQuery) => request.malformed(),
        Err(ForwardError::TimedOut) => request.timed_out(),
        Err(error @ ForwardError::Failed(_)) => request.failed(&error.to_string()),
    }
}
