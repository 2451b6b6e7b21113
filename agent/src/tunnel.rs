//! One tunnel: answers each request in a task of its own.

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
use crate::files::Files;
use crate::log::log;

/// How long a tunnel may take to end when the agent stops.
const DRAIN: Duration = Duration::from_secs(1);

/// The services that answer requests.
pub(crate) struct Services {
    pub(crate) resolver: Resolver,
    pub(crate) facts: Facts,
    pub(crate) files: Files,
}

/// Serves until the tunnel ends. When the agent stops, no further request is accepted, and open ones get [`DRAIN`] to
/// end.
///
/// When the tunnel ends, its connections are reset, except those that their programs had closed before: their data is
/// still delivered. The returned tasks do that.
pub(crate) async fn run(
    mut server: Server,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) -> (CloseReason, JoinSet<()>) {
    let mut streams = JoinSet::new();
    let mut draining = false;
    let mut drain_timeout = pin!({
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
            Some(ended) = streams.join_next() => log_panic(ended),
            _ = stopping.wait_for(|stopping| *stopping), if !draining => {
                draining = true;
                server.drain();
            }
            () = &mut drain_timeout => break CloseReason::Finished,
        }
    };
    // Dropping the server ends every stream.
    drop(server);
    (reason, streams)
}

/// Logs the panic of a request's task, if it ended by one.
pub(crate) fn log_panic(ended: Result<(), JoinError>) {
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
        Incoming::Environment(request) => services.files.environment(request).await,
        Incoming::File(request) => services.files.file(request).await,
        Incoming::Watch(request) => services.files.watch(request).await,
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
            // Sends the answer before the socket's options are set.
            tokio::task::yield_now().await;
            if let Err(error) = splice::keep_alive(&tcp) {
                log(format_args!(
                    "connection to {authority}: cannot enable keepalive: {error}"
                ));
            }
            // A service's FIN does not show whether it still reads.
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
