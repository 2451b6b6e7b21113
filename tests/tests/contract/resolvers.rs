//! DNS messages: libc's functions for them, reverse lookups, and programs with their own resolvers.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU8, Ordering};

use kinject_tests::fixture::Fixture;
use kinject_tests::programs::{Program, folder, installed, interpreter, libc_call, python, python_with};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::{apart, binaries, on_both_testbeds, skip};

/// The types of records (RFC 1035, 3.2.2; RFC 2782).
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;

/// The outcomes of a program bare, and in a session on a machine whose own name server never answers; none, and a note,
/// without root.
fn beside_a_silent_server(fixture: &Fixture, program: &Program) -> Option<(Outcome, Outcome)> {
    static NEXT: AtomicU8 = AtomicU8::new(10);
    if !rustix::process::geteuid().is_root() {
        skip::not_run("tests with a silent name server", "they need root");
        return None;
    }
    // a loopback address that no other test uses
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let server = format!("127.66.{}.{number}", std::process::id() % 256);
    let _silent = UdpSocket::bind((server.as_str(), 53)).expect("nobody else is there");
    let bare = run(&mut fixture.bare(program));
    let kinject = kinject_run::<&str>(fixture.testbed(), &["--quiet"], program);
    let mut injected = apart::with_name_server(&server, binaries::kinject());
    // without kinject's own wrapper, which mounts another resolv.conf
    let arguments = kinject.get_args().skip_while(|argument| *argument != "run");
    Some((bare, run(injected.args(arguments))))
}

fn typed(questions: &[(&str, u16)]) -> Vec<String> {
    questions
        .iter()
        .map(|(name, kind)| format!("{name}/{kind}"))
        .collect()
}

fn dig(arguments: &[&str]) -> Option<Program> {
    Some(
        installed("dig")?
            .args(["+tries=1", "+time=10", "+nocookie"])
            .args(arguments.iter().copied()),
    )
}

on_both_testbeds! {
    fn res_query_is_answered_as_in_the_pod(fixture: shared) {
        let names = [
            "web", "web.default", "web.default.svc.cluster.local", "web.default.svc.cluster.local.", "db", "web.other",
            "database.external.test",
        ];
        let outcome = fixture.same(libc_call("dns_messages").args(names));
        outcome.shows("[web.default.svc.cluster.local type 1 4 bytes]");
    }

    fn res_query_for_every_record_type_is_answered_as_in_the_pod(fixture: shared) {
        let questions = typed(&[
            ("_http._tcp.web", SRV), ("empty.external.test", TXT), ("web", AAAA), ("web", CNAME), ("web", MX),
            ("1.10.96.10.in-addr.arpa", PTR), ("cluster.local", SOA), ("_http._tcp.db", SRV),
        ]);
        fixture.same(libc_call("dns_messages").args(questions));
    }

    fn res_query_without_an_answer_sets_the_h_errno_of_the_pod(fixture: shared) {
        let names = [
            "missing.default.svc.cluster.local.", "empty.external.test", "anything.broken.test", "a..b", "",
            "missing.default.svc",
        ];
        fixture.same(libc_call("dns_messages").args(names));
    }

    fn answer_larger_than_512_bytes_is_complete(fixture: shared) {
        let outcome = fixture.same(libc_call("dns_messages").args(typed(&[("echo.default.svc.cluster.local", ANY)])));
        outcome.shows("res_query echo.default.svc.cluster.local/255: ");
    }

    fn reverse_lookup_answers_as_in_the_pod(fixture: shared) {
        let addresses = ["10.96.10.1", "10.96.10.4", "10.96.10.9", "127.0.0.1", "::ffff:10.96.10.1"];
        let outcome = fixture.same(libc_call("address_names").args(addresses));
        outcome.shows("gethostbyaddr 10.96.10.1: web.default.svc.cluster.local family 2 length 4 10.96.10.1\n");
    }

    fn reverse_lookup_of_an_unnamed_address_fails_as_in_the_pod(fixture: shared) {
        fixture.same(libc_call("address_names").arg("203.0.113.77"));
    }

    fn asynchronous_lookups_complete_or_are_cancelled(fixture: shared) {
        // bare runs can crash: libc's threads for such lookups have stacks of 32 KiB, and its resolver needs more
        let names = ["web", "db-0.db", "web.other", "10.96.10.1"];
        let outcome = run(&mut fixture.injected(&libc_call("asynchronous_names").args(names)));
        outcome.succeeded().shows("told 4\n").shows("  web: 0 10.96.10.1:80, cancelled -103\n");
    }

    fn programs_read_the_pods_resolv_conf(fixture: shared) {
        let print = "print(open('/etc/resolv.conf').read(), end='')";
        let program = Program::new(interpreter()).args(["-SE", "-c", print]);
        let found = run(&mut fixture.injected(&program));
        found.succeeded().shows("nameserver 10.96.0.10\n").shows("default.svc.cluster.local svc.cluster.local");
    }

    fn dig_is_answered_over_udp_and_tcp(fixture: shared) {
        for transport in ["+notcp", "+tcp"] {
            for question in [
                &["web.default.svc.cluster.local"][..],
                &["+search", "web"],
                &["SRV", "_http._tcp.web.default.svc.cluster.local"],
                &["TXT", "empty.external.test"],
                &["-x", "10.96.10.1"],
                &["missing.default.svc.cluster.local"],
            ] {
                let options = ["@10.96.0.10", transport, "+noall", "+answer", "+nottlid"];
                let Some(program) = dig(&options).map(|dig| dig.args(question.iter().copied())) else {
                    return;
                };
                fixture.same(program);
            }
        }
    }

    fn dig_uses_the_cluster_name_server_by_default(fixture: shared) {
        for transport in ["+notcp", "+tcp"] {
            if let Some(program) = dig(&[transport, "+short", "+search", "web"]) {
                let found = run(&mut fixture.injected(&program));
                assert_eq!(found.succeeded().stdout, "10.96.10.1\n");
            }
        }
    }

    fn node_c_ares_resolves_as_in_the_pod(fixture: shared) {
        let script = "
            const dns = require('dns').promises;
            const say = (what, promise) => promise.then(
                (found) => console.log(what, JSON.stringify(found)), (error) => console.log(what, error.code));
            (async () => {
                await say('A', dns.resolve4('web.default.svc.cluster.local'));
                await say('SRV', dns.resolveSrv('_http._tcp.web.default.svc.cluster.local'));
                await say('TXT', dns.resolveTxt('empty.external.test'));
                await say('PTR', dns.reverse('10.96.10.1'));
                await say('none', dns.resolve4('missing.default.svc.cluster.local'));
            })();
        ";
        if let Some(node) = installed("node") {
            fixture.same(node.args(["-e", script])).shows("A [\"10.96.10.1\"]\n");
        }
    }

    fn unknown_names_fail_fast_with_a_silent_local_name_server(fixture: shared) {
        let Some(node) = installed("node") else { return };
        let program = node
            .arg(folder().join("unknown_names.mjs"))
            .args(["missing", "missing.default.svc.cluster.local", "missing.external.test"]);
        let Some((bare, injected)) = beside_a_silent_server(fixture, &program) else { return };
        injected.succeeded().prints(&bare.stdout).shows("TXT _grpc_config.missing ENOTFOUND soon\n");
        assert_eq!(injected.stdout.matches(" ENOTFOUND soon\n").count(), 12, "{injected}");
    }

    /// Besides the address, a channel looks up names that do not exist. For those outside of the cluster's domain the
    /// relay asks this machine's name server, too.
    fn grpc_channel_fails_fast_with_a_silent_local_name_server(fixture: shared) {
        let Some(program) = python_with("grpc", "grpc_channel.py") else { return };
        // a Service without endpoints, and a closed port
        for target in ["dns:///refused:80", "dns:///database.external.test:4444"] {
            let program = program.clone().arg(target);
            let Some((bare, injected)) = beside_a_silent_server(fixture, &program) else { return };
            injected.succeeded().prints(&bare.stdout).shows("UNAVAILABLE\n").shows("Connection refused\nsoon\n");
        }
    }

    fn name_server_answers_pipelined_queries_on_one_connection(fixture: shared) {
        fixture.same(python("pipelined.py").args(["10.96.0.10", "web.default.svc.cluster.local", "40"]))
            .shows("40 answers\n");
    }

    fn name_server_ignores_garbage_and_keeps_answering(fixture: shared) {
        let found = run(&mut fixture.injected(&python("dns_noise.py").arg("10.96.0.10")));
        found.succeeded().shows("answered after the noise\n");
    }
}
