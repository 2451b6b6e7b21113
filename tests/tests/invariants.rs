//! The invariants of ARCHITECTURE.md that no other test proves: `docs/invariants.md` lists them all.

#![allow(clippy::unwrap_used, reason = "what is wrong in a test ends it")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use kinject_protocol::control::ControlAddress;
use kinject_tests::fixture::Fixture;
use kinject_tests::programs::{Program, interpreter};
use kinject_tests::running::run;
use kinject_tests::session::eventually;
use kinject_tests::testbed::{Kind, Testbed};
use kinject_tests::{on_both_testbeds, skip, testbed};
use serde_json::Value;

/// How long the cluster may take to forget a Job's pod.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Goes into the session's folder, opens it to all and becomes another user if the second argument is one, sends the
/// bytes of the third to the control socket, or to the one of a name that is a fourth, and prints what comes back in
/// hexadecimal.
const CALL: &str = r#"
import os, socket, sys
folder, user, message, *name = sys.argv[1:]
os.chdir(folder)
if int(user) != os.getuid():
    os.chmod(".", 0o711)
    os.chmod("control.sock", 0o777)
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
call.settimeout(10)
call.connect("\0" + name[0] if name else "control.sock")
try:
    call.send(bytes.fromhex(message))
    print(call.recv(4096).hex())
except ConnectionError:
    print()
"#;

/// Asks for the peer of a socket that the relay does not know; the answer is `Unknown`.
const WHO: &str = "01020000000000000000";
const NOBODY: &str = "0106\n";

/// An ordinary user besides root.
const OTHER_USER: u32 = 65534;

/// The answer to a user's message that begins with the session's token.
fn call(fixture: &Fixture, user: u32, message: &str) -> String {
    let message = fixture.session().token() + message;
    say(fixture, user, &message, None)
}

/// The answer to a user's message at the session's path, or at its abstract name.
fn say(fixture: &Fixture, user: u32, message: &str, name: Option<&str>) -> String {
    let program = Program::new(interpreter())
        .args(["-SEc", CALL])
        .arg(fixture.session().folder())
        .args([user.to_string(), message.to_owned()])
        .args(name);
    run(&mut program.command()).succeeded().stdout.clone()
}

/// The address at which the session's relay listens besides its path.
fn control(fixture: &Fixture) -> ControlAddress<'_> {
    let control = fixture.session().variable("KINJECT_CONTROL");
    ControlAddress::parse(control.as_bytes()).expect("a session has an address of its relay")
}

fn control_name(fixture: &Fixture) -> &str {
    let name = str::from_utf8(control(fixture).name).unwrap();
    assert!(!name.is_empty());
    name
}

#[test]
fn request_without_the_session_token_gets_no_answer() {
    Fixture::alone(Kind::Sandbox, |fixture| {
        let own = rustix::process::geteuid().as_raw();
        let token = fixture.session().token();
        for name in [None, Some(control_name(&fixture))] {
            for shown in ["", &token[2..], &format!("{}00", &token[2..]), &"30".repeat(32)] {
                assert_eq!(
                    say(&fixture, own, &format!("{shown}{WHO}"), name),
                    "\n",
                    "{shown}"
                );
            }
            assert_eq!(say(&fixture, own, &format!("{token}{WHO}"), name), NOBODY);
        }
    });
}

/// No folder's permissions protect the abstract name.
#[test]
fn other_user_gets_no_answer_at_the_abstract_socket() {
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("tests with another user", "they need root");
    }
    Fixture::alone(Kind::Sandbox, |fixture| {
        let message = format!("{}{WHO}", fixture.session().token());
        assert_eq!(
            say(&fixture, OTHER_USER, &message, Some(control_name(&fixture))),
            "\n"
        );
        assert_eq!(say(&fixture, 0, &message, Some(control_name(&fixture))), NOBODY);
    });
}

#[test]
fn abstract_socket_name_does_not_reveal_the_token() {
    Fixture::alone(Kind::Sandbox, |fixture| {
        let name = control_name(&fixture);
        let listed = fs::read_to_string("/proc/net/unix").unwrap();
        assert!(listed.contains(&format!("@{name}\n")), "{listed}");
        let token = str::from_utf8(control(&fixture).token).unwrap();
        assert!(!listed.contains(token));
        for part in token.as_bytes().chunks(8) {
            assert!(!name.contains(std::str::from_utf8(part).unwrap()), "{name}");
        }
    });
}

#[test]
fn other_user_gets_no_answer_even_if_the_folder_is_world_accessible() {
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("tests with another user", "they need root");
    }
    Fixture::alone(Kind::Sandbox, |fixture| {
        let folder = fs::metadata(fixture.session().folder()).unwrap();
        assert_eq!(folder.mode() & 0o777, 0o700);
        assert_eq!(call(&fixture, 0, WHO), NOBODY);
        assert_eq!(call(&fixture, OTHER_USER, WHO), "\n");
        assert_eq!(call(&fixture, 0, WHO), NOBODY);
    });
}

#[test]
fn malformed_request_leaves_the_session_working() {
    Fixture::alone(Kind::Sandbox, |fixture| {
        let own = rustix::process::geteuid().as_raw();
        let long = "ff".repeat(60_000);
        for message in [
            "00",
            "01",
            "01ff",
            "0101",
            "474554202f20485454502f312e310d0a",
            &long,
        ] {
            assert_eq!(call(&fixture, own, message), "\n", "{:.40}", message);
        }
        assert_eq!(call(&fixture, own, WHO), NOBODY);
    });
}

#[test]
fn relay_ports_accept_no_other_connection() {
    if !kinject_tests::ordinary::may_look_into_relays() {
        return;
    }
    Fixture::alone(Kind::Sandbox, |fixture| {
        let listening: Vec<_> = tcp_sockets(fixture.session().relay())
            .into_iter()
            .filter(|socket| socket.listens)
            .collect();
        assert!(!listening.is_empty());
        for socket in listening {
            assert!(socket.local.ip().is_loopback(), "{socket:?}");
            let taken = TcpStream::connect_timeout(&socket.local, Duration::from_millis(300));
            assert!(taken.is_err(), "{socket:?}");
        }
    });
}

on_both_testbeds! {
    /// No telemetry: a session has connections only to its programs, its agent, and the API server in between.
    fn session_connects_only_to_its_programs_agent_and_api_server(fixture: alone) {
        if !kinject_tests::ordinary::may_look_into_relays() {
            return;
        }
        let connects = Program::new("/bin/bash").args(["-c", "exec 3<>/dev/tcp/web/80"]);
        run(&mut fixture.injected(&connects)).succeeded();
        let server = match fixture.testbed() {
            Testbed::Sandbox(_) => None,
            Testbed::Cluster(cluster) => {
                let config = cluster.kubectl_json(&["config", "view"]).unwrap();
                let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
                Some(url.trim_start_matches("https://").parse::<SocketAddr>().unwrap())
            }
        };
        assert!(tcp_sockets(fixture.session().launcher()).is_empty());
        for socket in tcp_sockets(fixture.session().relay()) {
            let is_known = socket.listens || socket.remote.ip().is_loopback() || Some(socket.remote) == server;
            assert!(is_known, "{socket:?}");
        }
    }
}

#[test]
fn session_changes_no_setting_of_the_machine() {
    for kind in [Kind::Sandbox, Kind::Cluster] {
        let kubeconfig = match kind {
            Kind::Sandbox => None,
            Kind::Cluster => testbed::cluster().map(|cluster| cluster.kubeconfig()),
        };
        let settings = || -> Vec<Vec<u8>> {
            let files = [
                "/etc/hosts",
                "/etc/resolv.conf",
                "/etc/nsswitch.conf",
                "/proc/net/route",
            ];
            let files = files.iter().map(Into::into).chain(kubeconfig.clone());
            files
                .map(|file: std::path::PathBuf| fs::read(file).unwrap_or_default())
                .collect()
        };
        let before = settings();
        Fixture::alone(kind, |fixture| {
            run(&mut fixture.injected(&Program::new("/usr/bin/getent").args(["hosts", "web"]))).succeeded();
            assert_eq!(settings(), before);
        });
        assert_eq!(settings(), before);
    }
}

#[test]
fn cluster_objects_of_a_session_are_labelled_and_removed() {
    Fixture::alone(Kind::Cluster, |fixture| {
        let Testbed::Cluster(cluster) = fixture.testbed() else {
            unreachable!("the fixture is on the cluster")
        };
        let cluster = cluster.clone();
        let name = fixture.session().name().to_owned();
        let made = |selector: &str| -> Vec<Value> {
            let list = cluster
                .kubectl_json(&["get", "jobs,pods,secrets", "--selector", selector])
                .unwrap();
            list["items"].as_array().unwrap().clone()
        };
        let instance = format!("app.kubernetes.io/instance={name}");
        let ours = made(&format!("{instance},app.kubernetes.io/managed-by=kinject"));
        let kinds: BTreeSet<_> = ours.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, BTreeSet::from(["Job", "Pod", "Secret"]));
        drop(fixture);
        eventually("no Job, no pod and no Secret of the session", FORGOTTEN, || {
            made(&instance).is_empty()
        });
    });
}

/// A TCP socket of a process, as `/proc/PID/net/tcp` has it.
#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
}

fn tcp_sockets(process: u32) -> Vec<Socket> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let own: BTreeSet<String> = links
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if own.contains(fields[9]) {
                sockets.push(Socket {
                    local: address(fields[1]),
                    remote: address(fields[2]),
                    listens: fields[3] == "0A",
                });
            }
        }
    }
    sockets
}

/// An address in the kernel's spelling: 32-bit words in the machine's own order, in hexadecimal.
fn address(field: &str) -> SocketAddr {
    let (words, port) = field.split_once(':').unwrap();
    let bytes: Vec<u8> = (0..words.len())
        .step_by(8)
        .flat_map(|start| {
            u32::from_str_radix(&words[start..start + 8], 16)
                .unwrap()
                .to_ne_bytes()
        })
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    };
    SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).unwrap())
}
