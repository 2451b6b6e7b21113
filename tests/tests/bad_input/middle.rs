//! A man in the middle between a session and its agent on TCP, who reads and changes bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kinject_tests::programs::{Program, interpreter};
use kinject_tests::running::run_within;
use kinject_tests::testbed::{Testbed, shared_sandbox};

const SECONDS: Duration = Duration::from_secs(30);

/// Reads an echo, then one that the interceptor changes, and connects again.
const PROGRAM: &str = "
import socket, sys
def connect(): return socket.create_connection(('echo', 7000), 10)
first = connect()
first.sendall(b'a-password')
print(first.recv(99))
open(sys.argv[1], 'w').close()
try:
    first.sendall(b'changed')
    print(first.recv(99))
except OSError as error:
    print(type(error).__name__)
again = connect()
again.sendall(b'again')
print(again.recv(99))
";

/// The bytes that passed, and the file whose existence makes the interceptor change one byte of the agent's, once.
struct Interceptor {
    seen: Mutex<Vec<u8>>,
    trigger: PathBuf,
}

impl Interceptor {
    /// Listens on TCP in front of an agent.
    fn start(agent: &Path, trigger: &Path) -> (SocketAddr, Arc<Interceptor>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let interceptor = Arc::new(Interceptor {
            seen: Mutex::default(),
            trigger: trigger.to_owned(),
        });
        let (agent, shared) = (agent.to_owned(), Arc::clone(&interceptor));
        thread::spawn(move || {
            for relay in listener.incoming() {
                let (relay, agent) = (relay.unwrap(), UnixStream::connect(&agent).unwrap());
                let (from_relay, to_agent) = (relay.try_clone().unwrap(), agent.try_clone().unwrap());
                let (upwards, downwards) = (Arc::clone(&shared), Arc::clone(&shared));
                thread::spawn(move || upwards.forward(from_relay, to_agent, |_| {}));
                thread::spawn(move || {
                    let tamper = |bytes: &mut [u8]| {
                        if let (Some(byte), Ok(())) =
                            (bytes.last_mut(), std::fs::remove_file(&downwards.trigger))
                        {
                            *byte ^= 1;
                        }
                    };
                    downwards.forward(agent, relay, tamper);
                });
            }
        });
        (address, interceptor)
    }

    /// Copies until either end closes.
    fn forward(&self, mut from: impl Read, mut to: impl Write, tamper: impl Fn(&mut [u8])) {
        let mut block = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut block) {
            self.seen.lock().unwrap().extend_from_slice(&block[..count]);
            tamper(&mut block[..count]);
            if to.write_all(&block[..count]).is_err() {
                return;
            }
        }
    }
}

#[test]
fn tcp_tunnel_shows_no_plaintext_and_breaks_on_a_changed_byte() {
    let Testbed::Sandbox(sandbox) = shared_sandbox() else {
        unreachable!("it is a sandbox")
    };
    let folder = tempfile::tempdir().unwrap();
    let trigger = folder.path().join("change");
    let (address, interceptor) = Interceptor::start(&sandbox.socket, &trigger);
    let program = Program::new(interpreter()).args(["-SEc", PROGRAM]).arg(&trigger);
    let mut command: Command = kinject_tests::apart::kinject();
    command
        .args(["run", "-v", "--agent", &format!("tcp:{address}"), "--agent-key"])
        .arg(&sandbox.key)
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments);
    let outcome = run_within(&mut command, SECONDS);
    outcome
        .succeeded()
        .prints("b'a-password'\nConnectionResetError\nb'again'\n")
        .complains("(direct, TLS)")
        .complains("the tunnel broke")
        .complains("connected to the agent again");
    assert!(!trigger.exists(), "nothing was changed");
    let seen = interceptor.seen.lock().unwrap();
    assert!(seen.len() > 1000, "nothing passed");
    assert!(!seen.windows(8).any(|bytes| bytes == b"password"));
}
