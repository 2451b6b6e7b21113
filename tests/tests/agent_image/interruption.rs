//! A push that is interrupted: nothing goes on after its command.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use kinject_tests::process;
use kinject_tests::running::spawn;
use kinject_tests::session::{eventually, relay_of};
use rustix::process::{Pid, Signal, kill_process};

use crate::Installation;

/// How long a relay may live after its launcher. The kernel ends it at once; it would wait longer for the registry.
const END: Duration = Duration::from_secs(10);

#[test]
fn signal_that_ends_the_launcher_of_a_push_ends_its_relay() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        // it accepts connections, and never answers
        let registry = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("{}/agents/kinject:1", registry.local_addr().unwrap());
        let installation = Installation::new(&["amd64"]);
        let mut command = installation.image(&["push", &name, "--plain-http"]);
        let mut launcher = spawn(&mut command);
        let (mut connection, _) = registry.accept().unwrap();
        let relay = relay_of(launcher.id()).expect("the relay has connected");
        let pid = Pid::from_raw(launcher.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = launcher.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        eventually("the relay's end", END, || !process::is_alive(relay));
        // no other process has the connection
        connection.set_read_timeout(Some(END)).unwrap();
        match connection.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}
