//! Accepting connections: one loop for each listener, which owns and reaps what it accepted.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

/// Descriptors kept for everything that is not an accepted connection: listeners, the runtime, the agent's pipes.
const RESERVED_DESCRIPTORS: u64 = 256;

/// How long a listener waits when the kernel is out of memory or descriptors: no event tells when they are free again.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Lets a bounded number of connections be open at once, whichever listener they came by.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Raises the soft limit of descriptors to the hard one and leaves room for what else needs them.
    pub fn from_descriptor_limit() -> io::Result<Self> {
        let limit = raise_descriptor_limit()?;
        let permits = limit
            .saturating_sub(RESERVED_DESCRIPTORS)
            .max(RESERVED_DESCRIPTORS);
        let permits = usize::try_from(permits)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Semaphore::new(permits))))
    }

    /// Waits for a permit; dropping it lets another connection in.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// Accepts for ever and runs `serve` for each connection in a task of its own.
///
/// A connection's error ends that connection only: a reset by the peer is ordinary here.
pub(super) async fn run<S, F>(listener: TcpListener, gate: Gate, serve: S)
where
    S: Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        // Both branches are cancel-safe: a permit that was got but not used goes back to the gate.
        let next = async {
            let permit = gate.enter().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let connection = serve(stream, peer);
                    connections.spawn(async move {
                        let outcome = connection.await;
                        drop(permit);
                        outcome
                    });
                }
                Err(error) => recover(&error).await,
            },
            Some(ended) = connections.join_next() => report_panic(ended),
        }
    }
}

/// Whether a failed accept concerns one connection that was closed, and not a lack of memory or descriptors.
async fn recover(error: &io::Error) {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if error.raw_os_error().is_some_and(|code| exhausted.contains(&code)) {
        eprintln!("kinject-sandbox: cannot accept: {error}");
        tokio::time::sleep(EXHAUSTED).await;
    }
}

fn report_panic(ended: Result<io::Result<()>, JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        eprintln!("kinject-sandbox: a connection ended in a panic: {error}");
    }
}

fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live rlimit that the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live rlimit that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}
