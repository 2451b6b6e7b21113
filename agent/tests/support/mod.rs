//! An agent process, and the relay's end of a tunnel in the test.

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
    /// Starts an agent with a key file, on a Unix socket in its own folder, and with these arguments.
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

    /// Runs the command of an agent.
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

    /// The next line of its log that contains the text.
    pub(crate) fn line(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no line with `{text}`"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The lines of its log up to the first that contains the text.
    pub(crate) fn lines_until(&self, text: &str) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains(text)) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            lines.push(line.unwrap_or_else(|_| panic!("no line with `{text}`")));
        }
        lines
    }

    /// The endpoint in the next log line that contains the text.
    pub(crate) fn endpoint(&self, text: &str) -> Endpoint {
        let line = self.line(text);
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

    /// Waits for the process's exit.
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

/// Moves the test's thread, and the sockets and agents that it creates afterwards, into a network namespace of its own.
/// Returns false, and notes the skipped test, where the user may not.
///
/// A stopping agent waits for all closing sockets of its network namespace, as it has to in a pod. In the machine's it
/// would wait for those of all other programs.
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

/// Writes a key file that only its owner can read.
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

/// A tunnel with its driver running, with the security that a relay uses for the endpoint.
pub(crate) async fn open(endpoint: &Endpoint, identity: &RelayIdentity) -> (Tunnel, JoinHandle<CloseReason>) {
    let security = match endpoint {
        Endpoint::Tcp { .. } => Security::Tls,
        Endpoint::Unix(_) => Security::Proof,
    };
    let stream = endpoint.connect().await.unwrap();
    let (tunnel, driver) = Tunnel::open(stream, identity, security).await.unwrap();
    (tunnel, tokio::spawn(driver))
}

/// A program's socket, spliced with a connection through the tunnel.
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

/// Waits for the future, up to the deadline.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("not within the deadline")
}

fn follow(stderr: ChildStderr) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            eprint!("{line}");
            if send.send(std::mem::take(&mut line)).is_err() {
                // The test has dropped the receiver; the agent must still be able to write.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
        }
    });
    lines
}
