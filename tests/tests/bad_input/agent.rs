//! Missing agents, listeners that are no agents, wrong keys; and connections of others to a real agent.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use kinject_tests::binaries;
use kinject_tests::fixture::Fixture;
use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{Outcome, run, run_within};
use kinject_tests::session::{Session, eventually, kinject_run};
use kinject_tests::testbed::{Kind, Testbed, shared_sandbox};

const SECONDS: Duration = Duration::from_secs(15);

fn kinject(endpoint: &str, key: &Path) -> Outcome {
    let mut command = kinject_tests::apart::kinject();
    command
        .args(["run", "--agent", endpoint, "--agent-key"])
        .arg(key)
        .args(["--", "true"]);
    run_within(&mut command, SECONDS)
}

fn key(bytes: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![b'k'; bytes]).unwrap();
    file
}

fn sandbox_socket() -> String {
    let Testbed::Sandbox(sandbox) = shared_sandbox() else {
        unreachable!("it is a sandbox")
    };
    format!("unix:{}", sandbox.socket.display())
}

#[test]
fn missing_agent_is_reported() {
    let key = key(32);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [
        "unix:/no/such/socket",
        "unix:/etc/passwd",
        &format!("tcp:{closed}"),
        "tcp:no-such-host.invalid:1",
    ] {
        let outcome = kinject(endpoint, key.path());
        outcome.exited(125).complains(endpoint).complains("\n\nhint: ");
    }
}

#[test]
fn malformed_endpoint_is_reported() {
    let key = key(32);
    for endpoint in [
        "",
        "here",
        "udp:127.0.0.1:1",
        "tcp:",
        "tcp:127.0.0.1",
        "tcp:127.0.0.1:99999",
        "unix:",
    ] {
        kinject(endpoint, key.path()).exited(125).complains("\n\nhint: ");
    }
}

#[test]
fn missing_short_or_wrong_key_is_reported() {
    let endpoint = sandbox_socket();
    kinject(&endpoint, Path::new("/no/such/key"))
        .exited(125)
        .complains("/no/such/key")
        .complains("\n\nhint: ");
    kinject(&endpoint, Path::new("/etc"))
        .exited(125)
        .complains("--agent-key /etc")
        .complains("\n\nhint: ");
    for short in [0, 1, 31] {
        kinject(&endpoint, key(short).path())
            .exited(125)
            .complains("32")
            .complains("\n\nhint: ");
    }
    let outcome = kinject(&endpoint, key(32).path());
    outcome
        .exited(125)
        .complains("could not authenticate each other")
        .complains("that the key is the same at both ends");
}

#[test]
fn listener_that_is_not_an_agent_is_reported() {
    let key = key(32);
    for words in [
        "",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        &"\0".repeat(100_000),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let words = words.to_owned();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // kinject may have closed the connection by then
            let _cut = stream.write_all(words.as_bytes()).is_err();
        });
        let outcome = kinject(&format!("tcp:{address}"), key.path());
        outcome
            .exited(125)
            .complains(&format!("tcp:{address}"))
            .complains("\n\nhint: ");
        server.join().unwrap();
    }
}

#[test]
fn silent_listener_as_agent_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let outcome = kinject(&format!("tcp:{address}"), key(32).path());
    outcome
        .exited(125)
        .complains(&format!("tcp:{address}"))
        .complains("\n\nhint: ");
}

#[test]
fn garbage_on_the_agent_socket_is_closed_and_sessions_continue() {
    let session = Session::start::<&str>(shared_sandbox(), &[]);
    let socket = sandbox_socket();
    let path = socket.strip_prefix("unix:").unwrap();
    let mut silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(path).unwrap()).collect();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 65536],
        &[0xff; 3],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(path).unwrap();
        // the agent may close before it has read everything
        let _cut = stream.write_all(garbage).is_err();
        stream.set_read_timeout(Some(SECONDS)).unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        assert!(
            end.as_ref().is_ok()
                || end
                    .as_ref()
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "{end:?}"
        );
    }
    let ask = shell("curl -sS http://web/");
    run(session.command(&ask.path).args(&ask.arguments))
        .succeeded()
        .prints("hello from web\n");
    for stream in &mut silent {
        stream.set_read_timeout(Some(SECONDS)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }
    run(session.command(&ask.path).args(&ask.arguments))
        .succeeded()
        .prints("hello from web\n");
}

#[test]
fn pod_without_the_key_gets_no_answer_from_an_agent() {
    let Some(fixture) = Fixture::new(Kind::Cluster) else {
        return;
    };
    let Testbed::Cluster(cluster) = fixture.testbed() else {
        unreachable!("it was asked for")
    };
    let pod = fixture.pod().unwrap();
    let address = cluster
        .kubectl(&["get", "pod", pod, "--output", "jsonpath={.status.podIP}"])
        .unwrap();
    let neighbour = cluster.bare_pod("default", "db-0").unwrap();
    let ask = |url: String| {
        let mut curl = neighbour.command("curl");
        run(curl.args([
            "-sSk",
            "--max-time",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ]))
    };
    for url in [
        "http://ADDRESS:7800/",
        "https://ADDRESS:7800/",
        "http://ADDRESS:7801/",
    ] {
        let outcome = ask(url.replace("ADDRESS", &address));
        // before the key is proved, the agent answers only an upgrade request
        assert!(
            matches!(outcome.stdout.as_str(), "000" | "400" | "404" | "426"),
            "{url}: {outcome}"
        );
    }
    let still = shell("curl -sS http://web/");
    run(&mut fixture.injected(&still))
        .succeeded()
        .prints("hello from web\n");
}

#[test]
fn session_with_a_direct_agent_over_tcp_works() {
    let key = key(48);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("tcp:{free}");
    let mut agent = Command::new(binaries::path("kinject-agent"));
    agent
        .args(["--listen", &endpoint, "--key"])
        .arg(key.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut agent = agent.spawn().unwrap();
    eventually("an agent that listens", SECONDS, || {
        run(Command::new("ss").args(["-Hltn", "sport", "=", &free.port().to_string()]))
            .stdout
            .contains("LISTEN")
    });
    let outcome = kinject(&endpoint, key.path());
    agent.kill().unwrap();
    agent.wait().unwrap();
    outcome.succeeded();
}

#[test]
fn tls_always_applies_to_an_agent_on_a_unix_socket() {
    for (tls, way) in [("always", " s (direct, TLS)"), ("auto", " s (direct)")] {
        let ask = shell("curl -sS http://web/");
        let outcome = run(&mut kinject_run(shared_sandbox(), &["-v", "--tls", tls], &ask));
        outcome.succeeded().prints("hello from web\n").complains(way);
    }
}

#[test]
fn non_utf8_program_arguments_are_passed_unchanged() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let non_utf8 = OsStr::from_bytes(b"\xff\xfe with space");
    let program = Program::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" | od -An -tx1", "odd"])
        .arg(non_utf8);
    let outcome = run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program));
    outcome.succeeded().shows(" ff fe 20 77 69");
}
