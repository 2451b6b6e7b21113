//! Fake agents: of other versions, or with answers that no real agent gives.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kinject_tests::running::{Outcome, run_within};
use kinject_tunnel::http2::{Incoming, Server};
use kinject_tunnel::{AgentFacts, AgentIdentity, Endpoint, Listener, Secret, Security, Version, link};
use tempfile::TempDir;

const SECONDS: Duration = Duration::from_secs(15);

/// A folder with the key and the socket of such an agent.
pub(crate) struct StandIn {
    folder: TempDir,
}

impl StandIn {
    /// Starts one of this version that reports this resolv.conf, answers every query with NXDOMAIN and refuses every
    /// connect. It runs until the test ends.
    pub(crate) fn start(version: Version, resolv_conf: &str) -> Self {
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
        let resolv_conf = resolv_conf.to_owned();
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
                    // a relay that refuses this version closes the connection, as a test expects
                    if let Ok((stream, _)) = link::accept(stream, &identity, Security::Proof).await {
                        answer(Server::start(stream).await.unwrap(), &resolv_conf).await;
                    }
                }
            });
        });
        is_listening.recv_timeout(SECONDS).unwrap();
        stand_in
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}/agent.sock", self.folder.path().display())
    }

    fn key(&self) -> String {
        format!("{}/key", self.folder.path().display())
    }

    /// `kinject run` with it.
    pub(crate) fn kinject(&self, flags: &[&str], program: &[&str]) -> Outcome {
        let mut command = kinject_tests::apart::kinject();
        command
            .args(["run", "--agent", &self.endpoint(), "--agent-key", &self.key()])
            .args(flags)
            .arg("--")
            .args(program);
        run_within(&mut command, SECONDS)
    }
}

/// Answers until the relay disconnects.
async fn answer(mut server: Server, resolv_conf: &str) {
    while let Ok(incoming) = server.next().await {
        match incoming {
            Incoming::Facts(request) => request.answer(&AgentFacts {
                version: String::new(),
                hostname: "stand-in".into(),
                resolv_conf: resolv_conf.to_owned(),
                addresses: Vec::new(),
                networks: Vec::new(),
            }),
            Incoming::Dns(mut request) => {
                tokio::spawn(async move {
                    if let Ok(query) = request.query().await {
                        request.answer(no_such_name(&query));
                    }
                });
            }
            // dropping a stream resets it
            Incoming::Connect(_)
            | Incoming::Datagrams(_)
            | Incoming::Environment(_)
            | Incoming::File(_)
            | Incoming::Watch(_) => {}
        }
    }
}

/// The question with NXDOMAIN (RFC 1035, 4.1.1).
fn no_such_name(query: &Bytes) -> Bytes {
    let mut message = BytesMut::from(&query[..]);
    message[2] |= 0x80;
    message[3] = (message[3] & 0xf0) | 3;
    message.freeze()
}
