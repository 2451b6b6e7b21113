//! A proxy to the API server that holds back one request until a test releases it.
//!
//! kinject speaks plain HTTP with the gate, the gate with `kubectl proxy`, and that with the API server: all answers
//! are real, and the test only delays one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use kinject_tests::cluster::Cluster;
use serde_json::json;
use tempfile::TempDir;

/// The gate, closed until [`Gate::open`] and again after [`Gate::close`].
pub(crate) struct Gate {
    proxy: Child,
    folder: TempDir,
    waiting: Receiver<()>,
    latch: Arc<Latch>,
}

#[derive(Default)]
struct Latch {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn set(&self, is_open: bool) {
        *self.is_open.lock().unwrap() = is_open;
        self.opened.notify_all();
    }
}

impl Gate {
    /// A gate that holds back requests whose first line contains these words.
    pub(crate) fn before(cluster: &Cluster, words: &'static str) -> Self {
        let mut proxy = cluster
            .kubectl_command()
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let server: SocketAddr = line.split_whitespace().last().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{"name": "gate", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "gate", "user": {}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
        });
        std::fs::write(folder.path().join("kubeconfig"), config.to_string()).unwrap();
        let latch = Arc::new(Latch::default());
        let (sender, waiting) = channel();
        let gate = Self {
            proxy,
            folder,
            waiting,
            latch: Arc::clone(&latch),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                carry(client.unwrap(), server, words, &sender, &latch);
            }
        });
        gate
    }

    /// The administrator's kubeconfig with the gate as server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Waits until a request is held back.
    pub(crate) fn wait_for_request(&self, limit: Duration) {
        self.waiting
            .recv_timeout(limit)
            .expect("a request comes to the gate");
    }

    /// Releases it, and all that follow.
    pub(crate) fn open(&self) {
        self.latch.set(true);
    }

    /// Holds back requests from here on.
    pub(crate) fn close(&self) {
        self.latch.set(false);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        // kubectl proxy runs until it is killed
        let _gone = self.proxy.kill().is_err();
        let _reaped = self.proxy.wait().is_ok();
    }
}

/// Carries one connection, each direction in a thread that ends with it.
fn carry(
    client: TcpStream,
    server: SocketAddr,
    words: &'static str,
    waiting: &Sender<()>,
    latch: &Arc<Latch>,
) {
    // the test may be over, and the server with it
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let (waiting, latch) = (waiting.clone(), Arc::clone(latch));
    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || pump(back.0, back.1, |_| {}));
    thread::spawn(move || {
        pump(client, server, |bytes| {
            if bytes.windows(words.len()).any(|part| part == words.as_bytes()) {
                // the test may have been notified already, and be over
                let _unheard = waiting.send(()).is_err();
                latch.wait();
            }
        });
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut block = [0; 16 * 1024];
    // when either direction ends, the other one is shut down
    while let Ok(count @ 1..) = from.read(&mut block) {
        look(&block[..count]);
        if to.write_all(&block[..count]).is_err() {
            break;
        }
    }
    let _closed_already = to.shutdown(Shutdown::Write).is_err();
}
