//! Services, pods and hosts, reached by programs that know nothing of kinject.

use std::process::Command;
use std::time::Duration;

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::process;
use kinject_tests::programs::Program;
use kinject_tests::programs::{find, installed, python, shell};
use kinject_tests::running::{run, run_within};
use kinject_tests::servers::{Server, prepare, subfolder};
use kinject_tests::session::eventually;

use crate::process::{Forward, curl, own_address};

/// The ports of the Service `echo`.
const ECHO: [&str; 8] = ["7000", "7001", "7002", "7003", "7004", "7005", "7006", "7007"];

/// Prints what a local port sends.
const READ_ALL: &str = "import socket, sys\n\
    print(socket.create_connection(('127.0.0.1', int(sys.argv[1]))).makefile().read(), end='')";

const LONG: Duration = Duration::from_secs(120);

/// All ports of `echo` at an address of the test's own, with their numbers.
fn echo(fixture: &Fixture) -> (Forward, String) {
    let address = own_address();
    let arguments = [&["--address", address.as_str(), "echo"], &ECHO[..]].concat();
    let forward = Forward::start(fixture.testbed(), &arguments);
    for _ in ECHO {
        forward.local();
    }
    (forward, address)
}

fn streams(address: &str, case: &str, more: &[&str]) -> String {
    let program = python("streams.py")
        .args([case, address])
        .args(more.iter().copied());
    run_within(&mut program.command(), LONG)
        .succeeded()
        .stdout
        .clone()
}

on_both_testbeds! {
    fn curl_reaches_a_service_at_both_loopback_addresses(fixture: shared) {
        let forward = Forward::start(fixture.testbed(), &["web", ":80", "web.other", ":80"]);
        let (web, other) = (forward.local(), forward.local());
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            curl(&[format!("http://{host}:{}/", web.port())]).succeeded().prints("hello from web\n");
        }
        curl(&[format!("http://{other}/")]).succeeded().prints("hello from other web\n");
        let (status, rest) = forward.interrupt();
        assert_eq!(rest, [""; 0], "{status}");
    }

    fn host_and_pod_outside_of_services_are_reached(fixture: shared) {
        let forward = Forward::start(fixture.testbed(), &["database.external.test", ":7005", "db-0.db", ":8080"]);
        let (database, pod) = (forward.local(), forward.local());
        let port = database.port().to_string();
        run(Command::new("python3").args(["-Sc", READ_ALL, &port])).succeeded().prints("welcome\n");
        curl(&[format!("http://{pod}/")]).succeeded().shows("hello from db");
    }

    fn dig_is_answered_over_udp_and_tcp(fixture: shared) {
        if installed("dig").is_none() { return }
        let forward = Forward::start(fixture.testbed(), &["kube-dns.kube-system", ":53/udp", ":53"]);
        let (udp, tcp) = (forward.local(), forward.local());
        for (local, flag) in [(udp, "+notcp"), (tcp, "+tcp")] {
            for server in ["@127.0.0.1", "@::1"] {
                let port = local.port().to_string();
                let arguments = [server, "-p", &port, flag, "+short", "web.default.svc.cluster.local"];
                run(Command::new("dig").args(arguments)).succeeded().prints("10.96.10.1\n");
            }
        }
    }

    fn psql_and_redis_cli_reach_their_servers(fixture: shared) {
        if let (Some(_), Some(postgres)) = (installed("psql"), find("postgres")) {
            let server = Server::start(fixture, |port, folder| {
                let data = subfolder(folder, "data");
                let initdb = postgres.parent().unwrap().join("initdb");
                let options = ["--username=postgres", "--auth=trust", "--no-sync", "-D"];
                prepare(&Program::new(initdb).args(options).arg(&data));
                let trusting = shell("echo 'host all all all trust' >>\"$1\"").arg("trust");
                prepare(&trusting.arg(data.join("pg_hba.conf")));
                Program::new(&postgres)
                    .args(["-c", "listen_addresses=*", "-c", "unix_socket_directories=", "-c", "fsync=off", "-p"])
                    .args([port.to_string(), "-D".to_owned()])
                    .arg(data)
            });
            let forward = Forward::start(fixture.testbed(), &["db-0.db", &format!(":{}", server.port)]);
            let psql = format!("psql -X -At -h localhost -p {} -U postgres", forward.local().port());
            run(&mut shell(&format!("{psql} -c 'select 1 + 1'")).command()).succeeded().prints("2\n");
            let copy = format!("{psql} -c 'copy (select generate_series(1, 300000)) to stdout' | tail -1");
            run(&mut shell(&copy).command()).succeeded().prints("300000\n");
        }
        if let (Some(_), Some(redis)) = (installed("redis-cli"), installed("redis-server")) {
            let server = Server::start(fixture, |port, _| {
                let options = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--port"];
                redis.args(options).arg(port.to_string())
            });
            let forward = Forward::start(fixture.testbed(), &["db-0.db", &format!(":{}", server.port)]);
            let cli = format!("redis-cli -p {}", forward.local().port());
            let commands = shell(&format!("{cli} set name value && {cli} get name"));
            run(&mut commands.command()).succeeded().prints("OK\nvalue\n");
        }
    }

    fn half_close_reset_and_bytes_pass_unchanged(fixture: shared) {
        let (_forward, address) = echo(fixture);
        assert_eq!(streams(&address, "greeting", &[]), "b'welcome\\n' b'' b''\n");
        assert_eq!(streams(&address, "half_close", &[]), "EPIPE\nb'100000 bytes\\n'\nb'0 bytes\\n'\n");
        assert_eq!(streams(&address, "reset", &[]), "ECONNRESET\nb''\nEPIPE\nERR HUP\nECONNRESET\n");
        assert_eq!(streams(&address, "stalled", &[]), "stopped\nb'welcome\\n'\nb'still here'\n");
        let many = (50 << 20).to_string();
        assert_eq!(streams(&address, "transfer", &[&many]), format!("{many} True\n"));
    }

    fn refused_target_is_a_reset_at_once_and_one_line(fixture: shared) {
        let forward = Forward::start(fixture.testbed(), &["refused", ":80"]);
        let local = forward.local();
        for _ in 0..20 {
            // curl may see the reset before or after it has sent its request
            let code = curl(&[format!("http://{local}/")]).within(Duration::from_secs(10)).code();
            assert!([7, 52, 56].contains(&code), "{code}");
        }
        let line = forward.complains("connection refused");
        assert!(
            line.starts_with(&format!("kinject: warning: {local} -> refused"))
                && line.ends_with(": connection refused"),
            "{line}"
        );
        let (_, rest) = forward.interrupt();
        assert!(!rest.iter().any(|line| line.contains("refused")), "{rest:?}");
    }

    fn hundreds_of_connections_at_once_leave_nothing_behind(fixture: shared) {
        let (forward, address) = echo(fixture);
        let relay = forward.relay();
        let crowd = |case: &str, count: &str| {
            let program = python("crowd.py").args([case, &address, count]);
            run_within(&mut program.command(), LONG).succeeded().prints(&format!("{count} right\n"));
        };
        crowd("at-once", "10");
        let before = process::sockets(relay);
        crowd("at-once", "200");
        crowd("open", "500");
        eventually("as few sockets as before", Duration::from_secs(30), || process::sockets(relay) <= before);
    }
}
