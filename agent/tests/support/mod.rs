//! A real agent in a process of its own, and a relay's end of the tunnel in the test.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kinject_tunnel::{CloseReason, Endpoint, RelayIdentity, Secret, Security, Tunnel};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest wait for anything in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An agent process; killed on drop.
pub(crate) struct Agent {
    pub(crate) process: Child,
    pub(crate) folder: TempDir,
    lines: Receiver<String>,
}

impl Agent {
    /// Starts one with a key file, on a Unix socket in a folder of its own and whatever else is given.
    pub(crate) fn start(arguments: &[&str]) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        write_key(&folder.path().join("key"));
        let mut command = Agent::command();
        command
            .arg("--listen")
            .arg(format!("unix:{}", folder.path().join("agent.sock").display()))
            .arg("--key")
            .arg(folder.path().join("key"))
            .args(arguments);
        Agent::run(command, folder)
    }

    pub(crate) fn command() -> Command {
        Command::new(env!("CARGO_BIN_EXE_kinject-agent"))
    }

    /// Runs a command that is an agent.
    pub(crate) fn run(mut command: Command, folder: TempDir) -> Agent {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(process.stderr.take().unwrap());
        Agent {
            process,
            folder,
            lines,
        }
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// The next line of its log that contains the words.
    pub(crate) fn line(&self, words: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no line with `{words}`"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The lines of its log up to the first that contains the words.
    pub(crate) fn lines_until(&self, words: &str) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains(words)) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            lines.push(line.unwrap_or_else(|_| panic!("no line with `{words}`")));
        }
        lines
    }

    /// The address it says it listens on.
    pub(crate) fn endpoint(&self, words: &str) -> Endpoint {
        let line = self.line(words);
        line.split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap()
    }

    pub(crate) fn socket(&self) -> Endpoint {
        self.line("listening on unix:");
        Endpoint::Unix(self.folder.path().join("agent.sock"))
    }

    /// A tunnel to its Unix socket.
    pub(crate) async fn tunnel(&self) -> (Tunnel, JoinHandle<CloseReason>) {
        open(&self.socket(), &relay(&self.key())).await
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            std::thread::yield_now();
        }
        panic!("the agent did not end");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .arg(signal)
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Moves the test's thread into a network namespace of its own, with the sockets that it makes and the agents that it starts
/// from here on; false, and a note, where the user may not.
///
/// An agent that ends waits for all sockets of its network, as it has to in a pod. In the machine's it would wait for those of
/// every other program.
pub(crate) fn enters_own_network() -> bool {
    if !geteuid().is_root() {
        kinject_test_support::skip::not_run("ends of agents", "a network namespace of their own takes root");
        return false;
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.unwrap().success());
    true
}

/// Makes a key file that its owner alone can read.
pub(crate) fn write_key(path: &Path) {
    let key = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    key.unwrap().write_all(&[7; 32]).unwrap();
}

/// The identity of a relay that reads the key file.
pub(crate) fn relay(key: &Path) -> RelayIdentity {
    RelayIdentity::from_secret(&Secret::read(key).unwrap()).unwrap()
}

/// A tunnel with its driver running, secured as a relay does it there.
pub(crate) async fn open(endpoint: &Endpoint, identity: &RelayIdentity) -> (Tunnel, JoinHandle<CloseReason>) {
    let security = match endpoint {
        Endpoint::Tcp { .. } => Security::Tls,
        Endpoint::Unix(_) => Security::Proof,
    };
    let stream = endpoint.connect().await.unwrap();
    let (tunnel, driver) = Tunnel::open(stream, identity, security).await.unwrap();
    (tunnel, tokio::spawn(driver))
}

/// A program's socket that is spliced with a connection through the tunnel.
pub(crate) async fn through(tunnel: &Tunnel, authority: &str) -> TcpStream {
    let stream = tunnel.connect(authority).await.unwrap();
    let (program, relay) = pair().await;
    tokio::spawn(kinject_tunnel::splice(relay, stream, || false));
    program
}

/// Two ends of a loopback connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(connecting, listener.accept());
    let (ours, theirs) = (ours.unwrap(), accepted.unwrap().0);
    ours.set_nodelay(true).unwrap();
    theirs.set_nodelay(true).unwrap();
    (ours, theirs)
}

/// Does not wait longer than the deadline.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("it did not happen in time")
}

fn follow(stderr: ChildStderr) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            eprint!("{line}");
            if send.send(std::mem::take(&mut line)).is_err() {
                // Nobody looks any more; the agent must still be able to write.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
        }
    });
    lines
}
