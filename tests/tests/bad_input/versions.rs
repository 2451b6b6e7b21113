//! Agents of another version: refused where they speak another protocol, named where they are only another release.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use kinject_tests::running::{Outcome, run_within};
use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{
    AgentFacts, AgentIdentity, Endpoint, Listener, Secret, Security, Version, WIRE_VERSION, link,
};
use tempfile::TempDir;

const SECONDS: Duration = Duration::from_secs(15);

/// A folder with the key and the socket of an agent that stands in for one of another version.
struct StandIn {
    folder: TempDir,
}

impl StandIn {
    /// Starts one, which serves until the test ends.
    fn start(version: Version) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stand_in = Self { folder };
        let key = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(stand_in.key());
        key.unwrap().write_all(&[7; 32]).unwrap();
        let secret = Secret::read(stand_in.key().as_ref()).unwrap();
        let identity = AgentIdentity::from_secret(&secret).unwrap().of_version(version);
        let endpoint: Endpoint = stand_in.endpoint().parse().unwrap();
        let (listening, is_listening) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = Listener::bind(&endpoint).unwrap();
                listening.send(()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    // an end that refuses this version is what a test is about
                    if let Ok((stream, _)) = link::accept(stream, &identity, Security::Proof).await {
                        tell_facts(Server::start(stream).await.unwrap()).await;
                    }
                }
            });
        });
        is_listening.recv_timeout(SECONDS).unwrap();
        stand_in
    }

    fn endpoint(&self) -> String {
        format!("unix:{}/agent.sock", self.folder.path().display())
    }

    fn key(&self) -> String {
        format!("{}/key", self.folder.path().display())
    }

    /// `kinject run` with it.
    fn kinject(&self, flags: &[&str]) -> Outcome {
        let mut command = kinject_tests::apart::kinject();
        command
            .args(["run", "--agent", &self.endpoint(), "--agent-key", &self.key()])
            .args(flags)
            .args(["--", "echo", "ran"]);
        run_within(&mut command, SECONDS)
    }
}

/// Answers what a relay asks first, and nothing else, until the relay leaves.
async fn tell_facts(mut server: Server) {
    while let Ok(incoming) = server.next().await {
        if let Incoming::Facts(request) = incoming {
            request.answer(&AgentFacts {
                version: String::new(),
                hostname: "stand-in".into(),
                networks: Vec::new(),
                resolv_conf: String::new(),
                addresses: Vec::new(),
            });
        }
    }
}

fn version(wire: u16, software: &str) -> Version {
    Version {
        wire,
        software: software.into(),
    }
}

#[test]
fn an_agent_that_speaks_another_protocol_is_refused_by_both_versions() {
    let ours = env!("CARGO_PKG_VERSION");
    for (wire, software) in [(WIRE_VERSION + 1, "99.0.1"), (0, "0.0.1")] {
        let agent = StandIn::start(version(wire, software));
        let outcome = agent.kinject(&[]);
        outcome
            .exited(125)
            .complains(&agent.endpoint())
            .complains(&format!("is version {software} (wire {wire})"))
            .complains(&format!("kinject {ours} (wire {WIRE_VERSION}) cannot work"))
            .complains(&format!("\n\nhint: start a kinject-agent {ours}"))
            .complains(&format!("or use kinject {software}\n"));
        assert!(outcome.took < Duration::from_secs(5), "{outcome}");
    }
}

#[test]
fn an_agent_of_another_release_that_speaks_the_same_serves_and_is_named_once() {
    let agent = StandIn::start(version(WIRE_VERSION, "0.0.9"));
    let outcome = agent.kinject(&[]);
    outcome
        .succeeded()
        .prints("ran\n")
        .complains("is version 0.0.9")
        .complains(&format!("this kinject is {}", env!("CARGO_PKG_VERSION")))
        .complains("\n\nhint: ");
    assert_eq!(
        outcome.stderr.matches("0.0.9, this kinject").count(),
        1,
        "{outcome}"
    );
    let quiet = agent.kinject(&["--quiet"]);
    assert_eq!(quiet.succeeded().stderr, "");
}

#[test]
fn an_agent_of_the_same_release_is_not_worth_a_word() {
    let agent = StandIn::start(Version::own());
    assert_eq!(agent.kinject(&[]).succeeded().stderr, "");
}
