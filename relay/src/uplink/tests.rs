use super::*;
use kinject_protocol::session::Event;
use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{AgentFacts, AgentIdentity, Listener, Secret};
use std::os::unix::fs::OpenOptionsExt;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

/// Longest wait for anything in these tests.
const DEADLINE: Duration = Duration::from_secs(20);

/// A folder with the key and the socket of an agent that tells facts and connects to nothing.
struct Agent {
    folder: TempDir,
    /// Whether it takes tunnels.
    is_open: watch::Sender<bool>,
    /// Breaks the tunnels that there are.
    broken: Rc<Notify>,
}

impl Agent {
    /// Starts one, which serves until the test's tasks end.
    async fn start() -> Self {
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
                // a relay that was kept waiting has gone
                let Ok((stream, _)) = link::accept(stream, &identity, Security::Proof).await else {
                    continue;
                };
                let broken = Rc::clone(&broken);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = broken.notified() => {}
                        () = serve(Server::start(stream).await.unwrap()) => {}
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

    fn connector(&self) -> Connector {
        Connector::direct(self.endpoint().as_ref(), &self.key(), TlsChoice::Auto).unwrap()
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
        let (reconnector, uplink) = Reconnector::new(agent.connector(), events);
        let established = reconnector.connect().await.unwrap();
        let session = tokio::task::spawn_local(reconnector.run(established, |_| {}));
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

/// What the user is told of a session whose tunnel breaks, until there is another one. The agent takes none before the user
/// is told, if it is `shut`.
async fn told_of_an_outage(shut: bool) -> Vec<String> {
    let agent = Agent::start().await;
    let (events, mut heard) = mpsc::channel(8);
    let (reconnector, uplink) = Reconnector::new(agent.connector(), events);
    let established = reconnector.connect().await.unwrap();
    let (renewed, mut is_renewed) = mpsc::channel(1);
    let session =
        tokio::task::spawn_local(reconnector.run(established, move |_| renewed.try_send(()).unwrap()));
    uplink.up().await.unwrap();
    agent.is_open.send_replace(!shut);
    agent.broken.notify_one();
    let mut told = Vec::new();
    loop {
        tokio::select! {
            // what is said before comes before
            biased;
            event = heard.recv() => match event {
                Some(Event::Notice(report)) => {
                    agent.is_open.send_replace(true);
                    told.push(report.message);
                }
                other => panic!("{other:?}"),
            },
            Some(()) = is_renewed.recv() => break,
        }
    }
    session.abort();
    told
}

#[tokio::test]
async fn an_outage_is_told_when_it_lasts_and_so_is_its_end() {
    let test = async {
        let told = told_of_an_outage(true).await;
        let [lost, again] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(
            lost.starts_with("lost the connection to the agent: the "),
            "{lost}"
        );
        assert!(
            again.starts_with("connected to the agent again after "),
            "{again}"
        );
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

/// Where the machine is so busy that it takes longer, both lines are right.
#[tokio::test]
async fn an_outage_that_is_over_soon_is_no_news() {
    let test = async {
        let told = told_of_an_outage(false).await;
        let seconds = |line: &String| line.split_whitespace().rev().nth(1).unwrap().parse::<f32>();
        let took_long = told.last().is_some_and(|again| seconds(again).unwrap() >= 1.9);
        assert!(told.is_empty() || took_long, "{told:?}");
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}
