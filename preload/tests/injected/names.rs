//! getaddrinfo(3) and the gethostbyname(3) family.

use crate::program::{Program, run};
use crate::relay::Relay;
use std::path::Path;

/// The lines that a program printed for one set of hints.
fn lines_for<'a>(said: &'a str, hints: &str) -> Vec<&'a str> {
    let head = format!("[{hints}]: ");
    let mut lines = said.lines().skip_while(|line| !line.contains(&head));
    let first = lines.next().unwrap_or_else(|| panic!("no {hints} in {said}"));
    let code = first.split_once("]: ").expect("a code").1;
    std::iter::once(code)
        .chain(lines.take_while(|line| line.starts_with("  ")).map(str::trim))
        .collect()
}

#[test]
fn numbers_and_this_machines_own_names_are_looked_up_by_libc() {
    let relay = Relay::start();
    let names = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "10.0.0.1",
        "2130706433",
        "::1",
        "fd00::1",
        "fe80::1%lo",
        "::ffff:1.2.3.4",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "-",
        "*",
        "1.2.3.4.5x y",
        "fe80::1%nonexistent",
    ];
    for service in [
        &[][..],
        &["-s", "80"],
        &["-s", "http"],
        &["-s", "domain"],
        &["-s", "nonexistent"],
        &["-s", ""],
    ] {
        let args: Vec<_> = service.iter().chain(&names).copied().collect();
        let injected = Program::injected(&relay, "names", &args).offline().output();
        assert_eq!(
            injected,
            Program::bare("names", &args).offline().output(),
            "{service:?}"
        );
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn hosts_that_libc_would_look_up_give_lists_of_the_same_shape() {
    let relay = Relay::start();
    // a number goes to libc; what libc makes of it is what it has to make of a name with that address
    for service in [
        &[][..],
        &["-s", "80"],
        &["-s", "http"],
        &["-s", "domain"],
        &["-s", "nonexistent"],
    ] {
        let args: Vec<_> = service.iter().chain(&["web"]).copied().collect();
        let name = run(&relay, "names", &args).replace("web ", "HOST ");
        let args: Vec<_> = service.iter().chain(&["10.96.10.1"]).copied().collect();
        let number = Program::bare("names", &args)
            .output()
            .replace("10.96.10.1 ", "HOST ");
        for hints in [
            "none",
            "any",
            "stream",
            "v4 stream",
            "v4 udp",
            "mapped",
            "all mapped",
            "passive",
            "numeric service",
            "bad flags",
            "bad family",
            "bad type",
            "bad protocol",
        ] {
            assert_eq!(
                lines_for(&name, hints),
                lines_for(&number, hints),
                "{service:?} [{hints}]"
            );
        }
    }
}

#[test]
fn the_addresses_of_a_name_come_in_the_relays_order() {
    let relay = Relay::start();
    let said = run(&relay, "names", &["-s", "5432", "db"]);
    assert_eq!(
        lines_for(&said, "stream"),
        [
            "0",
            "10.244.0.7:5432 type 1 protocol 6 length 16",
            "10.244.0.5:5432 type 1 protocol 6 length 16",
            "10.244.0.6:5432 type 1 protocol 6 length 16",
        ]
    );
    assert_eq!(lines_for(&said, "any").len(), 1 + 3 * 3);
    assert!(relay.asked().contains(&"resolve V4 AddressInfo db".to_owned()));
}

#[test]
fn families_are_kept_apart_and_mapped_where_the_hints_say_so() {
    let relay = Relay::start();
    let said = run(&relay, "names", &["-s", "80", "dual"]);
    let v6 = "[fd00::10]:80 type 1 protocol 6 length 28";
    let v4 = "10.96.0.10:80 type 1 protocol 6 length 16";
    let mapped = "[::ffff:10.96.0.10]:80 type 1 protocol 6 length 28";
    assert_eq!(lines_for(&said, "stream"), ["0", v6, v4]);
    assert_eq!(lines_for(&said, "v4 stream"), ["0", v4]);
    assert_eq!(lines_for(&said, "v6 stream"), ["0", v6]);
    assert_eq!(lines_for(&said, "mapped"), ["0", v6]);
    assert_eq!(lines_for(&said, "all mapped"), ["0", v6, mapped]);
    let said = run(&relay, "names", &["web"]);
    assert_eq!(
        lines_for(&said, "mapped"),
        ["0", "[::ffff:10.96.10.1]:0 type 1 protocol 6 length 28"]
    );
    assert_eq!(lines_for(&said, "v6 stream"), ["-5"]);
    assert_eq!(lines_for(&run(&relay, "names", &["six"]), "v4 stream"), ["-5"]);
}

#[test]
fn the_first_element_bears_the_canonical_name_and_no_other() {
    let relay = Relay::start();
    let said = run(&relay, "names", &["db"]);
    let lines = lines_for(&said, "canonical");
    assert!(lines[1].ends_with(" db.default.svc.cluster.local"), "{lines:?}");
    assert!(
        lines[2..].iter().all(|line| line.ends_with("length 16")),
        "{lines:?}"
    );
    let said = run(&relay, "names", &["plain"]);
    assert!(lines_for(&said, "canonical")[1].ends_with(" plain"), "{said}");
}

#[test]
fn every_failure_of_a_lookup_has_its_code() {
    let relay = Relay::start();
    for (name, code, host_error, returned) in [
        ("missing", "-2", 1, "0"),
        ("nodata", "-5", 4, "0"),
        ("broken", "-3", 2, "EAGAIN"),
        ("refused", "-4", 3, "0"),
        ("hangup", "-3", 2, "EAGAIN"),
        ("confused", "-3", 2, "EAGAIN"),
    ] {
        assert_eq!(
            lines_for(&run(&relay, "names", &[name]), "stream"),
            [code],
            "{name}"
        );
        let said = run(&relay, "host_entries", &[name]);
        assert!(
            said.starts_with(&format!("gethostbyname: none, h_errno {host_error}\n")),
            "{name}: {said}"
        );
        let line = format!("code {returned}, at once, gethostbyname_r: none, h_errno {host_error}\n");
        assert!(said.contains(&line), "{name}: {said}");
    }
}

#[test]
fn a_name_with_very_many_addresses_comes_whole() {
    let relay = Relay::start();
    let said = run(&relay, "names", &["many"]);
    assert_eq!(lines_for(&said, "stream").len(), 1 + 1024);
    let said = run(&relay, "host_entries", &["many"]);
    let line = said.lines().next().unwrap();
    assert_eq!(
        line.split(' ').count(),
        "gethostbyname: NAME family 2 length 4".split(' ').count() + 1024,
        "{line}"
    );
}

#[test]
fn names_that_no_dns_can_hold_fail_as_libc_fails_them() {
    let relay = Relay::start();
    let (long, longer) = ("a".repeat(255), "a".repeat(300));
    for name in [&long, &longer, &"a.".repeat(200)] {
        let said = Program::injected(&relay, "names", &[name]).offline().output();
        assert!(
            ["-2", "-4", "-3"].contains(&lines_for(&said, "stream")[0]),
            "{said}"
        );
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
    // the longest that it can
    run(&relay, "names", &[&"a".repeat(254)]);
    assert!(!relay.asked().is_empty());
}

#[test]
fn host_entries_are_laid_out_in_any_buffer_that_is_large_enough() {
    let relay = Relay::start();
    let said = run(&relay, "host_entries", &["db", "six"]);
    let db = "db.default.svc.cluster.local family 2 length 4 10.244.0.7 10.244.0.5 10.244.0.6";
    let six = "six.default.svc.cluster.local family 10 length 16 fd00::6";
    let expected = format!(
        "gethostbyname: {db}\ngethostbyname2 v4: {db}\ngethostbyname2 v6: none, h_errno 4\n\
         code 0, after ERANGE, gethostbyname_r: {db}\ncode 0, after ERANGE, gethostbyname2_r: {db}\n\
         code 0, at once, gethostbyname2_r: none, h_errno 4\n\
         gethostbyname: none, h_errno 4\ngethostbyname2 v4: none, h_errno 4\ngethostbyname2 v6: {six}\n\
         code 0, at once, gethostbyname_r: none, h_errno 4\ncode 0, at once, gethostbyname2_r: none, h_errno 4\n\
         code 0, after ERANGE, gethostbyname2_r: {six}\nin a thread: {db}\nafter the thread: {db}\n"
    );
    assert_eq!(said, expected);
    assert!(relay.asked().contains(&"resolve V6 HostEntry six".to_owned()));
}

#[test]
fn host_entries_of_numbers_and_own_names_are_libcs() {
    let relay = Relay::start();
    let args = ["127.0.0.1", "10.1.2.3", "localhost", "::1", "1.2.3.4.5"];
    let injected = Program::injected(&relay, "host_entries", &args)
        .offline()
        .output();
    assert_eq!(injected, Program::bare("host_entries", &args).offline().output());
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn without_a_relay_a_lookup_may_succeed_later() {
    let missing = Path::new("/nonexistent/control");
    let said = Program::with_socket(missing, "names", &["web"]).output();
    assert_eq!(lines_for(&said, "stream"), ["-3"]);
    let said = Program::with_socket(missing, "host_entries", &["web"]).output();
    assert!(said.starts_with("gethostbyname: none, h_errno 2\n"), "{said}");
    assert!(
        said.contains("code EAGAIN, at once, gethostbyname_r: none, h_errno 2\n"),
        "{said}"
    );
}
