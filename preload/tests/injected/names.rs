//! getaddrinfo(3) and the gethostbyname(3) family.

use crate::program::{Program, run};
use crate::relay::Relay;
use std::path::Path;

/// The lines that a program printed for one set of hints.
fn lines_for<'a>(output: &'a str, hints: &str) -> Vec<&'a str> {
    let head = format!("[{hints}]: ");
    let mut lines = output.lines().skip_while(|line| !line.contains(&head));
    let first = lines.next().unwrap_or_else(|| panic!("no {hints} in {output}"));
    let code = first.split_once("]: ").expect("a code").1;
    std::iter::once(code)
        .chain(lines.take_while(|line| line.starts_with("  ")).map(str::trim))
        .collect()
}

#[test]
fn number_or_loopback_name_is_looked_up_by_libc() {
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
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn host_name_gives_list_of_the_same_shape_as_its_number() {
    let relay = Relay::start();
    // libc makes the list of a number; that of a name with the same address has to be equal
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
fn addresses_of_name_are_in_the_relays_order() {
    let relay = Relay::start();
    let output = run(&relay, "names", &["-s", "5432", "db"]);
    assert_eq!(
        lines_for(&output, "stream"),
        [
            "0",
            "10.244.0.7:5432 type 1 protocol 6 length 16",
            "10.244.0.5:5432 type 1 protocol 6 length 16",
            "10.244.0.6:5432 type 1 protocol 6 length 16",
        ]
    );
    assert_eq!(lines_for(&output, "any").len(), 1 + 3 * 3);
    assert!(relay.requests().contains(&"resolve V4 AddressInfo db".to_owned()));
}

#[test]
fn addresses_match_family_and_mapping_of_hints() {
    let relay = Relay::start();
    let output = run(&relay, "names", &["-s", "80", "dual"]);
    let v6 = "[fd00::10]:80 type 1 protocol 6 length 28";
    let v4 = "10.96.0.10:80 type 1 protocol 6 length 16";
    let mapped = "[::ffff:10.96.0.10]:80 type 1 protocol 6 length 28";
    assert_eq!(lines_for(&output, "stream"), ["0", v6, v4]);
    assert_eq!(lines_for(&output, "v4 stream"), ["0", v4]);
    assert_eq!(lines_for(&output, "v6 stream"), ["0", v6]);
    assert_eq!(lines_for(&output, "mapped"), ["0", v6]);
    assert_eq!(lines_for(&output, "all mapped"), ["0", v6, mapped]);
    let output = run(&relay, "names", &["web"]);
    assert_eq!(
        lines_for(&output, "mapped"),
        ["0", "[::ffff:10.96.10.1]:0 type 1 protocol 6 length 28"]
    );
    assert_eq!(lines_for(&output, "v6 stream"), ["-5"]);
    assert_eq!(lines_for(&run(&relay, "names", &["six"]), "v4 stream"), ["-5"]);
}

#[test]
fn canonical_name_is_set_in_first_element_alone() {
    let relay = Relay::start();
    let output = run(&relay, "names", &["db"]);
    let lines = lines_for(&output, "canonical");
    assert!(lines[1].ends_with(" db.default.svc.cluster.local"), "{lines:?}");
    assert!(
        lines[2..].iter().all(|line| line.ends_with("length 16")),
        "{lines:?}"
    );
    let output = run(&relay, "names", &["plain"]);
    assert!(lines_for(&output, "canonical")[1].ends_with(" plain"), "{output}");
}

#[test]
fn name_lookup_failure_has_its_code() {
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
        let output = run(&relay, "host_entries", &[name]);
        assert!(
            output.starts_with(&format!("gethostbyname: none, h_errno {host_error}\n")),
            "{name}: {output}"
        );
        let line = format!("code {returned}, at once, gethostbyname_r: none, h_errno {host_error}\n");
        assert!(output.contains(&line), "{name}: {output}");
    }
}

#[test]
fn name_with_1024_addresses_gives_all_of_them() {
    let relay = Relay::start();
    let output = run(&relay, "names", &["many"]);
    assert_eq!(lines_for(&output, "stream").len(), 1 + 1024);
    let output = run(&relay, "host_entries", &["many"]);
    let line = output.lines().next().unwrap();
    assert_eq!(
        line.split(' ').count(),
        "gethostbyname: NAME family 2 length 4".split(' ').count() + 1024,
        "{line}"
    );
}

#[test]
fn name_too_long_for_dns_fails_without_asking_relay() {
    let relay = Relay::start();
    let (long, longer) = ("a".repeat(255), "a".repeat(300));
    for name in [&long, &longer, &"a.".repeat(200)] {
        let output = Program::injected(&relay, "names", &[name]).offline().output();
        assert!(
            ["-2", "-4", "-3"].contains(&lines_for(&output, "stream")[0]),
            "{output}"
        );
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
    // the longest name of the DNS
    run(&relay, "names", &[&"a".repeat(254)]);
    assert!(!relay.requests().is_empty());
}

#[test]
fn host_entry_is_written_into_any_buffer_that_is_large_enough() {
    let relay = Relay::start();
    let output = run(&relay, "host_entries", &["db", "six"]);
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
    assert_eq!(output, expected);
    assert!(relay.requests().contains(&"resolve V6 HostEntry six".to_owned()));
}

#[test]
fn host_entry_of_number_or_loopback_name_is_from_libc() {
    let relay = Relay::start();
    let args = ["127.0.0.1", "10.1.2.3", "localhost", "::1", "1.2.3.4.5"];
    let injected = Program::injected(&relay, "host_entries", &args)
        .offline()
        .output();
    assert_eq!(injected, Program::bare("host_entries", &args).offline().output());
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn name_lookup_without_relay_returns_try_again() {
    let missing = Path::new("/nonexistent/control");
    let output = Program::with_socket(missing, "names", &["web"]).output();
    assert_eq!(lines_for(&output, "stream"), ["-3"]);
    let output = Program::with_socket(missing, "host_entries", &["web"]).output();
    assert!(output.starts_with("gethostbyname: none, h_errno 2\n"), "{output}");
    assert!(
        output.contains("code EAGAIN, at once, gethostbyname_r: none, h_errno 2\n"),
        "{output}"
    );
}
