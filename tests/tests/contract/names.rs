//! Name resolution: existing and missing names, by every function of libc.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{Program, c, python};
use kinject_tests::running::run;

fn getent(fixture: &Fixture, database: &str, name: &str) -> String {
    let program = Program::new("/usr/bin/getent").args([database, name]);
    fixture.same_however_it_ends(program).stdout
}

on_both_testbeds! {
    fn every_name_of_a_service_resolves_to_its_address(fixture: shared) {
        let names = [
            "web", "web.default", "web.default.svc", "web.default.svc.cluster.local",
            "web.default.svc.cluster.local.", "WEB.Default",
        ];
        let outcome = fixture.same(python("addrinfo.py").args(names));
        for name in names {
            outcome.shows(&format!("{name} UNSPEC none: 10.96.10.1/80/1/6\n"));
        }
    }

    fn service_of_another_namespace_resolves_by_its_qualified_name(fixture: shared) {
        fixture.same(python("addrinfo.py").args(["web.other", "web.other.svc.cluster.local"]))
            .shows("web.other UNSPEC none: 10.96.10.4/80/1/6\n");
    }

    fn headless_name_resolves_to_all_pods_in_order(fixture: shared) {
        let outcome = fixture.same(python("addrinfo.py").args(["db", "db.default.svc.cluster.local"]));
        let line = outcome.stdout.lines().find(|line| line.starts_with("db UNSPEC none: ")).unwrap_or("");
        assert_eq!(line.matches("10.244.0.").count(), 3, "{outcome}");
    }

    fn stateful_set_pod_name_resolves(fixture: shared) {
        fixture.same(python("addrinfo.py").args(["db-0.db", "db-2.db.default.svc.cluster.local"]))
            .shows("db-0.db UNSPEC none: 10.244.0.");
    }

    fn name_known_only_to_the_cluster_resolves(fixture: shared) {
        fixture.same(python("addrinfo.py").args(["database.external.test", "database.external.test."]))
            .shows("database.external.test UNSPEC none: 203.0.113.10/80/1/6\n");
    }

    fn unknown_name_returns_eai_noname(fixture: shared) {
        let names = ["missing.external.test", "missing", "missing.default.svc.cluster.local", "web.missing"];
        fixture.same(python("addrinfo.py").args(names)).shows("missing UNSPEC none: EAI_NONAME\n");
    }

    fn name_without_an_address_returns_eai_nodata(fixture: shared) {
        fixture.same(python("addrinfo.py").arg("empty.external.test"))
            .shows("empty.external.test UNSPEC none: EAI_NODATA\n");
    }

    fn failed_lookup_returns_eai_again(fixture: shared) {
        fixture.same(python("addrinfo.py").arg("anything.broken.test"))
            .shows("anything.broken.test UNSPEC none: EAI_AGAIN\n");
    }

    fn functions_looked_up_in_libcs_handle_stay_in_the_session(fixture: shared) {
        fixture.same(python("foreign_functions.py").args(["echo.default", "7005"]))
            .shows("libc getaddrinfo 10.96.10.3\n")
            .shows("libc recv b'welcome\\n'\n")
            .shows("libresolv res_query True\n");
    }

    fn internationalised_names_are_encoded_and_decoded_as_by_libc(fixture: shared) {
        fixture.same(python("idn.py"))
            .shows("C.UTF-8 'b\\xfccher.external.test' IDN|CANONNAME|CANONIDN '203.0.113.10=b\\xfccher.external.test'\n")
            .shows("C 'b\\xfccher.external.test' IDN 'EAI_IDN_ENCODE'\n");
    }

    fn numeric_hosts_are_resolved_as_bare(fixture: shared) {
        fixture.same(python("addrinfo.py").args(["10.96.10.1", "127.0.0.1", "0x7f.1", "1", ""]));
    }

    fn localhost_resolves_to_this_machines_loopback(fixture: shared) {
        let found = run(&mut fixture.injected(&python("addrinfo.py").arg("localhost")));
        found.succeeded().shows("localhost INET none: 127.0.0.1/80/1/6");
    }

    /// A pod of the sandbox has no IPv6 address at all: there glibc answers EAI_NONAME without asking.
    fn ai_addrconfig_follows_the_pods_addresses(fixture: shared) {
        let names = ["web", "db", "database.external.test", "missing", "anything.broken.test", "empty.external.test"];
        let outcome = fixture.same(python("addrinfo.py").arg("--configured").args(names));
        if fixture.sandbox().is_some() {
            outcome.shows("web INET6 ADDRCONFIG: EAI_NONAME\n");
        }
    }

    fn overlong_or_malformed_names_fail_as_in_the_pod(fixture: shared) {
        let long = "a".repeat(300);
        let labels = "abcdefghi.".repeat(30);
        let names = [
            long.as_str(), &labels, "with space", "under_score", "semi;colon", "a..b", ".", "..", "-dash", "dash-",
            "*.external.test", "caf\u{e9}.external.test", "new\nline", "slash/", "per%cent", "[10.96.10.1]",
        ];
        fixture.same(python("addrinfo.py").args(names));
    }

    fn gethostbyname_answers_as_in_the_pod(fixture: shared) {
        let long = "a".repeat(300);
        let names = [
            "web", "web.other", "database.external.test", "missing.external.test", "empty.external.test",
            "anything.broken.test", "10.96.10.1", "db-1.db", "", long.as_str(), "a..b", "with space",
        ];
        let outcome = fixture.same(c("hostent").args(names));
        outcome.shows("gethostbyname web: web.default.svc.cluster.local family 2 length 4 10.96.10.1\n");
        outcome.shows("gethostbyname missing.external.test: HOST_NOT_FOUND\n");
        outcome.shows("gethostbyname anything.broken.test: TRY_AGAIN\n");
        outcome.shows("gethostbyname empty.external.test: NO_DATA\n");
    }

    /// Random hints, families, services, flags and sizes of buffers.
    fn random_lookups_are_answered_as_in_the_pod(fixture: shared) {
        let names = [
            "web", "web.other", "db", "db-1.db", "database.external.test", "missing.external.test", "empty.external.test",
            "anything.broken.test", "10.96.10.1", "fd00::7", "a..b", "",
        ];
        for seed in 1..=8 {
            fixture.same(c("random_lookups").args([&seed.to_string(), "150"]).args(names));
        }
    }

    fn non_utf8_names_fail_as_in_the_pod(fixture: shared) {
        let names: [&[u8]; 4] = [b"\xff\xfe", b"w\xc3\xa9b.default", b"web\x01", b"web.default\xff"];
        fixture.same(c("hostent").args(names.map(OsStr::from_bytes)));
    }

    fn gethostbyname_of_a_headless_name_returns_all_pods(fixture: shared) {
        fixture.same(c("hostent").args(["db", "db.default"]));
    }

    fn getent_answers_as_in_the_pod(fixture: shared) {
        for name in ["web", "web.other", "db-0.db", "database.external.test", "missing", "10.96.10.1"] {
            getent(fixture, "ahosts", name);
            getent(fixture, "ahostsv4", name);
        }
        assert_eq!(getent(fixture, "hosts", "web"), "10.96.10.1      web.default.svc.cluster.local\n");
        assert_eq!(getent(fixture, "hosts", "missing.external.test"), "");
    }
}
