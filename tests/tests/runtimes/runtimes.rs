//! Runtimes with their own event loops and resolvers.

use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{self, Program, go, installed, java, python, python_with};

use kinject_tests::fixture::Fixture;
use kinject_tests::running::run;
use kinject_tests::skip;

use crate::pod;

/// The queries for programs with their own resolvers: existing and missing names.
const QUESTIONS: [&str; 7] = [
    "web.default.svc.cluster.local/A",
    "web.default.svc.cluster.local/AAAA",
    "_http._tcp.web.default.svc.cluster.local/SRV",
    "1.10.96.10.in-addr.arpa/PTR",
    "empty.external.test/TXT",
    "missing.default.svc.cluster.local/A",
    "anything.broken.test/A",
];

/// Go clients linked with libc; `None`, and a note, without Go or where kinject does not support Go programs.
fn go_clients(fixture: &Fixture, flags: &[&str]) -> Option<Program> {
    if cfg!(not(target_arch = "x86_64")) {
        skip::not_run(
            "tests with programs of Go",
            "they are led into sessions on x86-64 alone",
        );
        return None;
    }
    Some(go("clients", &[("CGO_ENABLED", "1")], flags)?.arg(pod(fixture)))
}

fn with_resolver(resolver: &str, program: Program) -> Program {
    let env = Program::new("/usr/bin/env").arg(format!("GODEBUG=netdns={resolver}"));
    env.arg(program.path).args(program.arguments)
}

on_both_testbeds! {
    fn node_sockets_and_fetch_match_bare(fixture: shared) {
        let Some(node) = installed("node") else { return };
        let program = node.arg(programs::folder().join("clients.mjs")).arg(pod(fixture));
        let outcome = fixture.same(program);
        outcome.shows("fetch: 200 hello from web\n").shows("two hundred at once: 200\n");
        outcome.shows("refused: ECONNREFUSED\n").shows("unknown: ENOTFOUND\n");
    }

    fn java_blocking_and_nonblocking_sockets_match_bare(fixture: shared) {
        let Some(java) = java("Clients") else { return };
        let outcome = fixture.same(java.arg("Clients").arg(pod(fixture)));
        outcome.shows("blocking: 10.96.10.3 7005 welcome\n").shows("http: 200 hello from web\n");
        outcome.shows("selected, refused: connect: Connection refused\n");
    }

    /// The foreign-function interface as Java 17 has it; in later versions it is another one.
    fn java_foreign_functions_match_bare(fixture: shared) {
        let Some(java) = installed("java") else { return };
        let java = java.args(["--add-modules", "jdk.incubator.foreign"]);
        if !run(&mut java.clone().arg("--version").command()).status.success() {
            skip::not_run("foreign functions of Java", "this Java has another interface than Java 17");
            return;
        }
        let flags = ["-XX:TieredStopAtLevel=1", "--enable-native-access=ALL-UNNAMED"];
        let program = java.args(flags).arg(programs::folder().join("Foreign.java"));
        fixture.same(program.args(["web", "missing"])).prints("web: found\nmissing: unknown\n");
    }

    fn java_with_ipv4_only_matches_bare(fixture: shared) {
        let Some(java) = java("Clients") else { return };
        fixture.same(java.arg("-Djava.net.preferIPv4Stack=true").arg("Clients").arg(pod(fixture)));
    }

    fn java_jndi_dns_client_matches_bare(fixture: shared) {
        let Some(java) = java("Names") else { return };
        let outcome = fixture.same(java.arg("Names").args(QUESTIONS));
        outcome.shows("web.default.svc.cluster.local/A: [10.96.10.1]\n");
        outcome.shows("missing.default.svc.cluster.local/A: NameNotFoundException\n");
    }

    fn dnspython_over_udp_and_tcp_matches_bare(fixture: shared) {
        let Some(python) = python_with("dns.resolver", "dnspython.py") else { return };
        let outcome = fixture.same(python.args(QUESTIONS).args(["web/A", "web.other/A"]));
        outcome.shows("web.default.svc.cluster.local/A UDP: ['10.96.10.1']\n").shows("web/A TCP: ['10.96.10.1']\n");
        outcome.shows("missing.default.svc.cluster.local/A UDP: NXDOMAIN\n");
    }

    fn python_urllib_and_asyncio_match_bare(fixture: shared) {
        let outcome = fixture.same(python("clients.py").arg(pod(fixture)));
        outcome.shows("urllib: 200 hello from web\n").shows("asyncio, refused: ConnectionRefusedError\n");
    }

    fn go_with_its_own_resolver_matches_bare(fixture: shared) {
        let Some(clients) = go_clients(fixture, &[]) else { return };
        let outcome = fixture.same(with_resolver("go", clients));
        outcome.shows("greeting: connected to 10.96.10.3:7005, \"welcome\\n\"\n").shows("refused: connection refused\n");
        outcome.shows("http: 200 hello from web\n").shows("unknown: no name true, temporary false\n");
        outcome.shows("connected datagrams: \"hello\" from 10.96.10.3:7000\n");
        outcome.shows("child without environment: \"child: connected to 10.96.10.3:7005");
        outcome.shows("200 hello from web:210 ");
        assert_eq!(outcome.stderr, "");
    }

    fn go_with_the_libc_resolver_matches_bare(fixture: shared) {
        let Some(clients) = go_clients(fixture, &[]) else { return };
        fixture.same(with_resolver("cgo", clients)).shows("http: 200 hello from web\n").shows("hosts: [");
    }

    fn go_with_other_link_modes_matches_bare(fixture: shared) {
        for flags in [
            &["-buildmode=pie"][..], &["-ldflags=-linkmode=external"], &["-race"], &["-ldflags=-s -w -buildid="],
        ] {
            let Some(clients) = go_clients(fixture, flags) else { return };
            fixture.same(clients).shows("http: 200 hello from web\n");
        }
    }

    fn perl_sockets_match_bare(fixture: shared) {
        let Some(perl) = installed("perl") else { return };
        let script = r#"use IO::Socket::INET; for my $peer ("echo:7005", $ARGV[0] . ":4444", "missing:80") {
            my $socket = IO::Socket::INET->new(PeerAddr => $peer, Timeout => 5);
            print defined $socket ? scalar <$socket> : "failed: $!\n"; }"#;
        fixture.same(perl.args(["-e", script]).arg(pod(fixture))).shows("welcome\nfailed: Connection refused\n");
    }

    fn bash_dev_tcp_matches_bare(fixture: shared) {
        let Some(bash) = installed("bash") else { return };
        let script = "exec 3<>/dev/tcp/echo.default/7005 && cat <&3; exec 4<>/dev/tcp/$1/4444; true";
        fixture.same(bash.args(["-c", script, "bash"]).arg(pod(fixture))).prints("welcome\n");
    }
}
