//! An agent for tests of the layers above the tunnel.

use crate::uplink::Connector;
use kinject_protocol::session::TlsChoice;
use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{AgentFacts, AgentIdentity, Listener, Secret, Security, link};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

/// Longest wait for anything in tests with an agent.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An agent that by itself only answers requests for facts, with its key and its socket in a folder.
pub(crate) struct TestAgent {
    folder: TempDir,
    /// Whether it accepts tunnels.
    pub(crate) is_open: watch::Sender<bool>,
    /// Breaks the open tunnels.
    pub(crate) broken: Rc<Notify>,
}

impl TestAgent {
    /// Starts an agent, which serves until the test's tasks end.
    pub(crate) async fn start() -> Self {
        // other requests fail by being dropped
        Self::answering(drop).await
    }

    /// Starts an agent that answers requests for facts by itself and all others by this function.
    pub(crate) async fn answering(answer: impl Fn(Incoming) + 'static) -> Self {
        let answer: Rc<dyn Fn(Incoming)> = Rc::new(answer);
        let agent = Self {
            folder: tempfile::tempdir().unwrap(),
            is_open: watch::Sender::new(true),
            broken: Rc::default(),
        };
        let mut options = std::fs::OpenOptions::new();
        let key = options.write(true).create_new(true).mode(0o600).open(agent.key());
        std::io::Write::write_all(&mut key.unwrap(), &[7; 32]).unwrap();
        let secret = Secret::read(&agent.key()).unwrap();
        let identity = AgentIdentity::from_secret(&secret).unwrap();
        let listener = Listener::bind(&agent.endpoint().parse().unwrap()).unwrap();
        let (mut is_open, broken) = (agent.is_open.subscribe(), Rc::clone(&agent.broken));
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                is_open.wait_for(|is_open| *is_open).await.unwrap();
                // a relay that had to wait may have closed the connection
                let Ok((stream, _)) = link::accept(stream, &identity, Security::Proof).await else {
                    continue;
                };
                let (broken, answer) = (Rc::clone(&broken), Rc::clone(&answer));
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = broken.notified() => {}
                        () = serve(Server::start(stream).await.unwrap(), &*answer) => {}
                    }
                });
            }
        });
        agent
    }

    fn key(&self) -> std::path::PathBuf {
        self.folder.path().join("key")
    }

    fn endpoint(&self) -> String {
        format!("unix:{}/agent.sock", self.folder.path().display())
    }

    /// The connector of a session to it.
    pub(crate) fn connector(&self) -> Connector {
        Connector::direct(self.endpoint().as_ref(), &self.key(), TlsChoice::Auto).unwrap()
    }
}

async fn serve(mut server: Server, answer: &dyn Fn(Incoming)) {
    while let Ok(incoming) = server.next().await {
        match incoming {
            Incoming::Facts(request) => request.answer(&AgentFacts {
                version: String::new(),
                hostname: "agent".into(),
                resolv_conf: String::new(),
                addresses: Vec::new(),
                networks: Vec::new(),
            }),
            other => answer(other),
        }
    }
}
