use super::*;
use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{AgentFacts, AgentIdentity, Listener, Secret};
use std::os::unix::fs::OpenOptionsExt;
use tempfile::TempDir;
use tokio::task::LocalSet;

/// Longest wait for anything in these tests.
const DEADLINE: Duration = Duration::from_secs(20);

/// A folder with the key and the socket of an agent that tells facts and connects to nothing.
struct Agent(TempDir);

impl Agent {
    /// Starts one, which serves until the test's tasks end.
    async fn start() -> Self {
        let agent = Self(tempfile::tempdir().unwrap());
        let mut options = std::fs::OpenOptions::new();
        let key = options.write(true).create_new(true).mode(0o600).open(agent.key());
        std::io::Write::write_all(&mut key.unwrap(), &[7; 32]).unwrap();
        let secret = Secret::read(&agent.key()).unwrap();
        let identity = AgentIdentity::from_secret(&secret).unwrap();
        let listener = Listener::bind(&agent.endpoint().parse().unwrap()).unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (stream, _) = link::accept(stream, &identity, Security::Proof).await.unwrap();
                tokio::task::spawn_local(serve(Server::start(stream).await.unwrap()));
            }
        });
        agent
    }

    fn key(&self) -> std::path::PathBuf {
        self.0.path().join("key")
    }

    fn endpoint(&self) -> String {
        format!("unix:{}/agent.sock", self.0.path().display())
    }

    fn connector(&self) -> Connector {
        Connector::direct(&self.endpoint(), &self.key(), TlsChoice::Auto).unwrap()
    }
}

async fn serve(mut server: Server) {
    while let Ok(incoming) = server.next().await {
        // whatever else is asked for fails when it is dropped
        if let Incoming::Facts(request) = incoming {
            request.answer(&AgentFacts {
                version: String::new(),
                hostname: "agent".into(),
                resolv_conf: String::new(),
                addresses: Vec::new(),
                networks: Vec::new(),
            });
        }
    }
}

#[tokio::test]
async fn a_dial_of_a_program_that_outlives_the_session_fails_instead_of_asking_the_closed_tunnel_for_ever() {
    let test = async {
        let agent = Agent::start().await;
        let (events, _unheard) = mpsc::channel(8);
        let (keeper, uplink) = Keeper::new(agent.connector(), events);
        let established = keeper.connect().await.unwrap();
        let session = tokio::task::spawn_local(keeper.run(established, |_| {}));
        uplink.up().await.unwrap();
        let mut attempts = 0;
        let dial = uplink.dial(async |up| {
            attempts += 1;
            assert!(attempts < 10, "the tunnel is closed and is asked again and again");
            if attempts == 1 {
                // the session ends while the agent is asked
                session.abort();
                while !session.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
            up.tunnel.connect("10.0.0.1:1").await.map(drop)
        });
        assert_eq!(dial.await, Err(DialError::TunnelLost));
        assert!(uplink.up().await.is_err() && uplink.now().is_none());
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}
