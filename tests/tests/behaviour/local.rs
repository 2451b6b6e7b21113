//! Local targets stay local: loopback, Unix sockets, and names that only this machine knows.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use kinject_tests::programs::{Program, interpreter, shell};
use kinject_tests::running::run;
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

/// Writes `from here` to the next connection.
fn greet_one(listener: TcpListener) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"from here\n").unwrap();
    })
}

fn inline(script: &str) -> Program {
    Program::new(interpreter()).args(["-SEc", script])
}

#[test]
fn connect_to_loopback_stays_on_this_machine() {
    for host in ["127.0.0.1", "localhost"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = greet_one(listener);
        let ask = format!("import socket\nprint(socket.create_connection(('{host}', {port})).recv(99))");
        run(&mut kinject_run::<&str>(shared_sandbox(), &[], &inline(&ask)))
            .succeeded()
            .prints("b'from here\\n'\n");
        server.join().unwrap();
    }
}

#[test]
fn connect_to_loopback_without_a_listener_returns_econnrefused() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ask = format!(
        "import socket\ntry: socket.create_connection(('127.0.0.1', {port}))\nexcept OSError as e: print(e.errno)"
    );
    let outcome = run(&mut kinject_run::<&str>(shared_sandbox(), &[], &inline(&ask)));
    outcome.succeeded().prints("111\n");
}

#[test]
fn connect_to_a_unix_socket_stays_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"from here\n").unwrap());
    let ask = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('{}')\nprint(s.recv(99))",
        path.display()
    );
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &inline(&ask)))
        .succeeded()
        .prints("b'from here\\n'\n");
    server.join().unwrap();
}

#[test]
fn server_in_a_session_is_reachable_from_this_machine_and_the_session() {
    let script = "import socket, threading\nl = socket.create_server(('127.0.0.1', 0))\n\
        threading.Thread(target=lambda: l.accept()[0].sendall(b'served')).start()\n\
        print(socket.create_connection(l.getsockname()).recv(99))";
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &inline(script)))
        .succeeded()
        .prints("b'served'\n");
}

/// In a network namespace of its own, so that no other program uses the address: a name that only the machine's hosts
/// file has, and a server behind it. Names of the cluster resolve in the cluster, also where the machine has the same
/// name.
#[test]
fn connect_to_a_name_known_only_locally_stays_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(
        &hosts,
        "127.0.0.1 localhost\n10.99.0.1 printer.office.test\n10.99.0.1 web.default\n",
    )
    .unwrap();
    let inside = "import socket, threading\nl = socket.create_server(('10.99.0.1', 8000))\n\
        def serve():\n  while True: l.accept()[0].sendall(b'the printer')\n\
        threading.Thread(target=serve, daemon=True).start()\n\
        print(socket.gethostbyname('printer.office.test'), socket.gethostbyname('web.default'))\n\
        print(socket.create_connection(('printer.office.test', 8000), 5).recv(99))\n\
        print(socket.create_connection(('echo', 7005), 5).recv(99))";
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &inline(inside));
    let surroundings = "mount --bind \"$0\" /etc/hosts && ip link set lo up && ip address add 10.99.0.1/32 dev lo && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", surroundings])
        .arg(&hosts)
        .arg(kinject.get_program())
        .args(kinject.get_args());
    run(&mut command)
        .succeeded()
        .prints("10.99.0.1 10.96.10.1\nb'the printer'\nb'welcome\\n'\n");
}

#[test]
fn connect_to_an_unassigned_address_fails_in_the_cluster() {
    // the agent has no route to it; this machine may have one
    let ask = shell("curl -sS --max-time 5 http://192.0.2.200/ 2>&1; echo $?");
    let outcome = run(&mut kinject_run::<&str>(shared_sandbox(), &[], &ask));
    outcome.succeeded().shows("\n7\n");
}
