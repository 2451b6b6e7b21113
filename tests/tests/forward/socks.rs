//! The SOCKS5 server, with curl as a client, and datagrams.

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::python;
use kinject_tests::running::run;

use crate::process::{Forward, curl};

/// A proxy at a free port, and curl's option for it.
fn proxy(fixture: &Fixture, option: &str) -> (Forward, [String; 2]) {
    let forward = Forward::start(fixture.testbed(), &["--socks", "127.0.0.1:0"]);
    let local = forward.local();
    (forward, [option.to_owned(), local.to_string()])
}

on_both_testbeds! {
    fn curl_reaches_services_by_name_and_by_address(fixture: shared) {
        let (_forward, [_, local]) = proxy(fixture, "");
        for (option, url, answer) in [
            ("--socks5-hostname", "http://web/", "hello from web\n"),
            ("--socks5-hostname", "http://web.other/", "hello from other web\n"),
            ("--socks5-hostname", "http://db-1.db:8080/", "hello from db"),
            ("--socks5", "http://10.96.10.2/", "hello from api\n"),
        ] {
            curl(&[option, &local, url]).succeeded().shows(answer);
        }
    }

    fn target_that_refuses_or_does_not_exist_is_a_reply_with_its_code(fixture: shared) {
        let (_forward, [option, local]) = proxy(fixture, "--socks5-hostname");
        // 97 is curl's status for a proxy that refuses; the number behind it is the code of RFC 1928
        for (url, code) in [
            ("http://refused/", "(5)"),
            ("http://missing.external.test/", "(4)"),
            ("http://127.0.0.1:22/", "(2)"),
            ("http://localhost:22/", "(2)"),
        ] {
            curl(&[&option, &local, &url.to_owned()]).exited(97).complains(code);
        }
    }

    fn client_without_socks_is_named_once(fixture: shared) {
        let (forward, [_, local]) = proxy(fixture, "");
        for _ in 0..3 {
            // the connection was reset, or nothing was received
            let code = curl(&["--proxy", &format!("http://{local}"), "http://web/"]).code();
            assert!([7, 52, 56].contains(&code), "{code}");
        }
        forward.complains("a program speaks no SOCKS5 there: its first byte is 0x47");
        let (_, rest) = forward.interrupt();
        assert!(!rest.iter().any(|line| line.contains("SOCKS5")), "{rest:?}");
    }

    fn datagrams_of_an_association_are_answered_until_its_connection_ends(fixture: shared) {
        let (_forward, [_, local]) = proxy(fixture, "");
        let (host, port) = local.rsplit_once(':').unwrap();
        run(&mut python("socks_datagrams.py").args([host, port]).command())
            .succeeded()
            .prints("echo.default b'by name'\n10.96.10.3 b'by address'\nfragment dropped\nstranger dropped\nclosed\n");
    }
}
