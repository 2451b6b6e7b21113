//! A program's own addresses: those of its machine's interfaces, and its pod's.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kinject_tests::programs::{Program, installed, interpreter, python};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::{Session, kinject_run, write_line};
use kinject_tests::skip;
use kinject_tests::testbed::{Testbed, sandbox, shared_sandbox};

/// The addresses of the machine for [`in_own_network`]: two of IPv4, one of IPv6, and one that a service of the cluster
/// has, too.
const ADDRESSES: &str = "ip link set lo up && ip address add 10.99.0.1/32 dev lo && ip address add 10.99.0.2/32 dev lo && \
    ip address add fd99::1/128 dev lo && ip address add 10.96.10.3/32 dev lo";

/// Helpers for scripts: a server of TCP and UDP on all addresses, at port 7005 and the port after that.
const SERVE: &str = "
import errno, socket, subprocess, threading
def serve(family, host):
    server = socket.create_server((host, 7005), family=family)
    def answer():
        while True:
            stream, peer = server.accept()
            stream.sendall(f'here, {peer[0]}'.encode())
            stream.close()
    threading.Thread(target=answer, daemon=True).start()
    packets = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: packets.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    packets.bind((host, 7006))
    def echo():
        while True:
            data, source = packets.recvfrom(100)
            packets.sendto(b'here, ' + source[0].encode(), source)
    threading.Thread(target=echo, daemon=True).start()
serve(socket.AF_INET, '0.0.0.0')
serve(socket.AF_INET6, '::')
def attempt(call, *arguments):
    try: return call(*arguments)
    except OSError as error: return errno.errorcode.get(error.errno, type(error).__name__)
def stream(host):
    with socket.create_connection((host, 7005), 5) as stream:
        return stream.recv(99).decode().strip()
def datagram(host, connects=False):
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.settimeout(5)
        if connects:
            packets.connect((host, 7006))
            packets.send(b'?')
        else:
            packets.sendto(b'?', (host, 7006))
        data, source = packets.recvfrom(99)
        return data.decode(), source[0]
";

/// Runs a script of Python in a session with these flags, in a network of its own.
fn in_own_network(command: &str, flags: &[&str], script: &str) -> Outcome {
    let program = Program::new(interpreter()).args(["-SEc", &format!("{SERVE}{script}")]);
    let kinject = kinject_run(shared_sandbox(), flags, &program);
    let arguments = kinject
        .get_args()
        .map(|word| if word == "run" { command.as_ref() } else { word });
    let mut command = apart(&format!("{ADDRESSES} && exec \"$@\""));
    command.arg(kinject.get_program()).args(arguments);
    run(&mut command)
}

/// A shell in a network namespace of its own, with a line to run before its arguments.
fn apart(line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", line, "sh"]);
    command
}

#[test]
fn connect_to_a_local_interface_address_stays_on_this_machine() {
    let script = "
for host in ('10.99.0.1', '10.99.0.2', '::ffff:10.99.0.1', 'fd99::1'):
    print(attempt(stream, host), attempt(datagram, host), attempt(datagram, host, True))
print(attempt(stream, '10.99.0.3'))
";
    in_own_network("run", &[], script).succeeded().prints(
        "here, 10.99.0.1 ('here, 10.99.0.1', '10.99.0.1') ('here, 10.99.0.1', '10.99.0.1')\n\
         here, 10.99.0.2 ('here, 10.99.0.2', '10.99.0.2') ('here, 10.99.0.2', '10.99.0.2')\n\
         here, 10.99.0.1 ('here, 10.99.0.1', '::ffff:10.99.0.1') ('here, 10.99.0.1', '::ffff:10.99.0.1')\n\
         here, fd99::1 ('here, fd99::1', 'fd99::1') ('here, fd99::1', 'fd99::1')\n\
         ENETUNREACH\n",
    );
}

#[test]
fn interface_address_change_during_a_session_is_followed() {
    let script = "
def change(how):
    subprocess.run(['ip', 'address', how, '10.99.7.7/32', 'dev', 'lo'], check=True)
    return attempt(stream, '10.99.7.7')
print(attempt(stream, '10.99.7.7'), change('add'), change('del'))
";
    in_own_network("run", &[], script)
        .succeeded()
        .prints("ENETUNREACH here, 10.99.7.7 ENETUNREACH\n");
}

#[test]
fn interface_address_that_the_cluster_resolved_goes_to_the_cluster() {
    let script = "print(stream('10.96.10.3'), socket.gethostbyname('echo'), stream('10.96.10.3'))";
    in_own_network("run", &[], script)
        .succeeded()
        .prints("here, 10.96.10.3 10.96.10.3 welcome\n");
}

#[test]
fn remote_rule_sends_an_interface_address_to_the_cluster() {
    let script = "print(stream('10.96.10.3'), stream('10.99.0.1'))";
    in_own_network("run", &["--remote", "10.96.0.0/16"], script)
        .succeeded()
        .prints("welcome here, 10.99.0.1\n");
}

#[test]
fn trace_names_the_owner_of_an_own_address() {
    let script = "
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(('10.96.0.10', 53))
    own = probe.getsockname()[0]
with socket.create_server((own, 7008)) as server, socket.create_connection((own, 7008), 5) as client:
    print(stream('10.99.0.1'), server.accept()[1][0], client.getpeername()[0])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    there.bind((own, 7009))
    there.settimeout(5)
    client.sendto(b'?', (own, 7009))
    print(*there.recvfrom(9)[0])
";
    let outcome = in_own_network("trace", &[], script);
    outcome
        .succeeded()
        .prints("here, 10.99.0.1 10.244.0.5 10.244.0.5\n63\n");
    let lines = outcome.stderr.lines().map(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        words[..words.len() - 2].join(" ")
    });
    let expected = [
        "datagram 10.96.0.10:53 default cluster carried",
        "connect 10.244.0.5:7008 the pod itself local left to this machine",
        "connect 10.99.0.1:7005 this machine local left to this machine",
        "datagram 10.244.0.5:7009 the pod itself local left to this machine",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{outcome}");
}

/// The outcome of `true` in a session on a machine with this setting at 255.
fn with_highest_hop_limit(file: &str) -> Outcome {
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &Program::new("/bin/true"));
    let line = format!("ip link set lo up && echo 255 > /proc/sys/net/{file} && exec \"$@\"");
    let mut command = apart(&line);
    command.arg(kinject.get_program()).args(kinject.get_args());
    run(&mut command)
}

/// With hop limit 255 the kernel drops no SYN at the hole, so no connect can be held in progress.
#[test]
fn session_with_default_ttl_255_is_refused_with_the_reason() {
    with_highest_hop_limit("ipv4/ip_default_ttl")
        .exited(125)
        .prints("")
        .complains(
            "kinject: error: cannot hold connects in progress: net.ipv4.ip_default_ttl is 255, and no hop limit is higher\n\n\
             hint: run `sysctl net.ipv4.ip_default_ttl=64` as root, ",
        );
}

#[test]
fn session_with_only_ipv6_hop_limit_255_starts() {
    with_highest_hop_limit("ipv6/conf/lo/hop_limit").succeeded();
}

/// A packet filter that drops the simultaneous open by which the relay completes a connect.
#[test]
fn session_where_a_packet_filter_drops_simultaneous_opens_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("tests with a packet filter", "they need root");
    }
    if installed("iptables").is_none() {
        return;
    }
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &Program::new("/bin/true"));
    let drop = "iptables -A OUTPUT -o lo -p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP";
    let mut command = apart(&format!("ip link set lo up && {drop} && exec \"$@\""));
    command.arg(kinject.get_program()).args(kinject.get_args());
    run(&mut command).exited(125).prints("").complains(
        "kinject: error: cannot hold connects in progress: no simultaneous open of TCP on loopback: timed out\n\n\
         hint: look for a packet filter that drops connections on loopback: ",
    );
}

/// A server that runs until its standard input ends, and exits with 0.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    fn says(&mut self) -> String {
        self.output.next().unwrap().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let status = self.child.wait();
        assert!(
            std::thread::panicking() || status.is_ok_and(|status| status.success()),
            "a server failed"
        );
    }
}

/// A server at its pod's address that is told to connect to itself.
struct PodServer(Server);

impl PodServer {
    fn start(session: &Session, name: &str) -> Self {
        let program = python("pod_server.py").args(["10.96.0.10", "18080", name]);
        let mut server = Server::start(session.command(&program.path).args(&program.arguments));
        assert_eq!(server.says(), "listens True");
        Self(server)
    }

    fn asks_itself(&mut self) -> String {
        write_line(self.0.input.as_mut().unwrap(), "");
        self.0.says()
    }
}

/// Servers of TCP and UDP on all addresses, at one port that it prints; what they answer is its argument. They live as
/// long as its standard input.
const HOST: &str = "
import socket, sys, threading
while True:
    server = socket.create_server(('', int(sys.argv[2])))
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try: packets.bind(server.getsockname())
    except OSError: server.close()
    else: break
def answer():
    while True:
        with server.accept()[0] as stream: stream.sendall(sys.argv[1].encode())
def echo():
    while True: packets.sendto(sys.argv[1].encode(), packets.recvfrom(9)[1])
for serve in (answer, echo): threading.Thread(target=serve, daemon=True).start()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
";

struct Host {
    _server: Server,
    port: u16,
}

impl Host {
    fn start(mut command: Command, answer: &str, port: u16) -> Self {
        let mut server = Server::start(command.args(["-SEc", HOST, answer, &port.to_string()]));
        let port = server.says().parse().unwrap();
        Self {
            _server: server,
            port,
        }
    }
}

/// An agent that is started by hand shares its network with servers that belong to no session.
#[test]
fn agent_host_port_is_local_only_where_the_session_listens() {
    let sandbox = sandbox();
    let outside = Host::start(Command::new(interpreter()), "here, in no session", 0);
    let there = Host::start(sandbox.enter(interpreter()), "there", outside.port);
    let testbed = Testbed::Sandbox(sandbox);
    let session = Session::start::<&str>(&testbed, &[]);
    let port = there.port.to_string();
    let ask = "
import socket, sys
target = ('10.244.0.5', int(sys.argv[1]))
with socket.create_connection(target, 9) as stream: print(stream.recv(99).decode())
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
    packets.settimeout(9)
    packets.sendto(b'?', target)
    print(packets.recv(99).decode())
";
    let asked = || {
        let mut command = session.command(interpreter());
        run(command.args(["-SEc", ask, &port])).succeeded().stdout.clone()
    };
    assert_eq!(asked(), "there\nthere\n");
    drop(outside);
    let inside = Host::start(session.command(interpreter()), "here, in the session", there.port);
    assert_eq!(asked(), "here, in the session\nhere, in the session\n");
    drop(inside);
    assert_eq!(asked(), "there\nthere\n");
}

#[test]
fn two_sessions_listen_at_the_same_pod_port() {
    let sessions = ["one", "other"].map(|name| (Session::start::<&str>(shared_sandbox(), &[]), name));
    let mut servers = sessions
        .each_ref()
        .map(|(session, name)| PodServer::start(session, name));
    for (server, (_, name)) in servers.iter_mut().zip(&sessions) {
        let served = format!("{name} serves True");
        assert_eq!(server.asks_itself(), format!("{served} at the pod's {served}"));
    }
}

#[test]
fn server_that_outlives_its_session_keeps_serving_on_this_machine() {
    let session = Session::start::<&str>(shared_sandbox(), &[]);
    let mut server = PodServer::start(&session, "it");
    assert_eq!(server.asks_itself(), "it serves True at the pod's it serves True");
    assert_eq!(session.end(), 0);
    // without the session, the pod's address cannot be mapped to a program any more
    assert_eq!(server.asks_itself(), "ENETUNREACH on loopback it serves False");
}
