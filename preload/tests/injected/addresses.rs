//! gethostbyaddr(3) and getnameinfo(3).

use crate::program::{Program, run};
use crate::relay::Relay;

#[test]
fn reverse_lookup_of_cluster_address_gives_its_names() {
    let relay = Relay::start();
    let output = run(&relay, "address_names", &["10.96.10.1", "10.244.0.5", "fd00::6"]);
    for line in [
        "gethostbyaddr 10.96.10.1: web.default.svc.cluster.local family 2 length 4 10.96.10.1",
        "code 0 gethostbyaddr_r 10.96.10.1: web.default.svc.cluster.local family 2 length 4 10.96.10.1",
        "gethostbyaddr 10.244.0.5: db-0.db.default.svc.cluster.local family 2 length 4 10.244.0.5 alias alias.test",
        "gethostbyaddr fd00::6: six.default.svc.cluster.local family 10 length 16 fd00::6",
        "getnameinfo 10.96.10.1 flags 0 room 1025: 0 web.default.svc.cluster.local http",
        "getnameinfo 10.96.10.1 flags 2 room 1025: 0 web.default.svc.cluster.local 80",
        "getnameinfo 10.96.10.1 flags 0 room 16: -12",
        "getnameinfo 10.96.10.1 flags 1 room 16: 0 10.96.10.1 http",
        "getnameinfo 10.96.10.1 flags 16384 room 1025: -1",
        "getnameinfo 10.96.10.1 without service: 0 web.default.svc.cluster.local",
        "getnameinfo 10.96.10.1 too short: -6",
        "getnameinfo 10.96.10.1 small service: -12",
    ] {
        assert!(output.lines().any(|output| output == line), "{line} in\n{output}");
    }
    assert!(relay.requests().contains(&"reverse fd00::6".to_owned()));
}

#[test]
fn ni_idn_decodes_name_into_locales_character_set() {
    let relay = Relay::start();
    for (locale, name) in [("C.UTF-8", "b\u{fc}cher.test"), ("C", "xn--bcher-kva.test")] {
        let program = Program::injected(&relay, "address_names", &["10.96.10.90"]);
        let output = program.env("LC_ALL", locale).output();
        // the size is that of the decoded name, of which there are 12
        let in_16 = match locale {
            "C" => "-12".to_owned(),
            _ => format!("0 {name} http"),
        };
        for line in [
            "getnameinfo 10.96.10.90 flags 0 room 1025: 0 xn--bcher-kva.test http".to_owned(),
            format!("getnameinfo 10.96.10.90 flags 32 room 1025: 0 {name} http"),
            format!("getnameinfo 10.96.10.90 flags 32 room 16: {in_16}"),
            "getnameinfo 10.96.10.90 flags 32 room 5: -12".to_owned(),
        ] {
            assert!(output.lines().any(|output| output == line), "{line} in\n{output}");
        }
    }
}

#[test]
fn reverse_lookup_failure_has_its_code() {
    let relay = Relay::start();
    for (address, host_error, code, required) in [
        ("10.96.10.99", 1, "0 10.96.10.99 http", "-2"),
        ("10.96.10.100", 2, "-3", "-3"),
        ("10.96.10.101", 3, "0 10.96.10.101 http", "-2"),
        ("10.96.10.102", 4, "0 10.96.10.102 http", "-2"),
        ("10.96.10.103", 2, "-3", "-3"),
        ("10.96.10.104", 4, "0 10.96.10.104 http", "-2"),
        ("10.96.10.105", 2, "-3", "-3"),
    ] {
        let output = run(&relay, "address_names", &[address]);
        for line in [
            format!("gethostbyaddr {address}: none, h_errno {host_error}"),
            format!("getnameinfo {address} flags 0 room 1025: {code}"),
            format!("getnameinfo {address} flags 8 room 1025: {required}"),
        ] {
            assert!(output.lines().any(|output| output == line), "{line} in\n{output}");
        }
    }
}

#[test]
fn reverse_lookup_of_loopback_or_link_local_address_is_libcs() {
    let relay = Relay::start();
    let args = ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0", "::"];
    let injected = Program::injected(&relay, "address_names", &args)
        .offline()
        .output();
    assert_eq!(injected, Program::bare("address_names", &args).offline().output());
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn reverse_lookup_of_address_that_is_local_for_relay_is_libcs() {
    let relay = Relay::start();
    let args = ["192.168.9.9"];
    // by the path alone, which leads to the relay from another network namespace, too
    let injected = Program::with_socket(&relay.socket(), "address_names", &args)
        .offline()
        .output();
    assert_eq!(injected, Program::bare("address_names", &args).offline().output());
    assert!(relay.requests().contains(&"reverse 192.168.9.9".to_owned()));
}
