//! The res_query(3) family.

use crate::program::{Program, run};
use crate::relay::Relay;
use std::path::Path;

/// The lines that begin with these words.
fn lines_of<'a>(output: &'a str, call: &str) -> Vec<&'a str> {
    let head = format!("{call} ");
    output
        .lines()
        .filter_map(|line| line.strip_prefix(&head))
        .collect()
}

#[test]
fn res_query_fills_buffer_and_returns_length_of_answer() {
    let relay = Relay::start();
    let output = run(&relay, "dns_messages", &["web"]);
    // header, question, and one address: 12 + 9 + 16 bytes
    assert_eq!(
        lines_of(&output, "res_query"),
        [
            "web/1: length 12 of 12 tc 0 rcode 0 answers 1",
            "web/1: length 37 of 40 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 100 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 300 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 512 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 600 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 4096 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
            "web/1: length 37 of 65535 tc 0 rcode 0 answers 1 [web type 1 4 bytes]",
        ]
    );
}

#[test]
fn res_query_returns_whole_length_of_answer_over_tcp() {
    let relay = Relay::start();
    let output = run(&relay, "dns_messages", &["many/16"]);
    let lines = lines_of(&output, "res_query");
    assert_eq!(lines[1], "many/16: length 3422 of 40 tc 1 rcode 0 answers 0");
    assert!(
        lines[7].starts_with("many/16: length 3422 of 65535 tc 0 rcode 0 answers 200 "),
        "{}",
        lines[7]
    );
    let cut = "query Datagram many 16 1 None";
    assert!(
        relay.requests().iter().any(|line| line == cut),
        "{:?}",
        relay.requests()
    );
}

#[test]
fn res_search_is_done_by_relay_with_options_of_the_state() {
    let relay = Relay::start();
    let output = run(&relay, "dns_messages", &["web", "web."]);
    let found =
        "web/1: length 63 of 65535 tc 0 rcode 0 answers 1 [web.default.svc.cluster.local type 1 4 bytes]";
    assert_eq!(lines_of(&output, "res_search")[0], found);
    assert_eq!(lines_of(&output, "res_nsearch")[0], found);
    let asked = relay.requests();
    for (names, domains) in [(true, true), (true, false), (false, false)] {
        let line = format!(
            "query Stream web 1 1 Some(Search {{ default_names: {names}, domains: {domains}, no_top_level: false }})"
        );
        assert!(asked.contains(&line), "{line} in {asked:?}");
    }
    // a name with a final dot is not searched for
    assert!(
        lines_of(&output, "res_search")[1].contains("[web type 1 4 bytes]"),
        "{output}"
    );
}

#[test]
fn res_query_failure_sets_its_h_errno() {
    let relay = Relay::start();
    for (name, host_error) in [
        ("missing", 1),
        ("broken", 2),
        ("nodata", 4),
        ("hangup", 2),
        ("confused", 2),
        ("garbage", 2),
    ] {
        let output = run(&relay, "dns_messages", &[name]);
        let failed = format!("{name}/1: h_errno {host_error} state {host_error}");
        assert_eq!(lines_of(&output, "res_query")[7], failed);
        assert_eq!(lines_of(&output, "res_search"), [failed.as_str()]);
        assert!(output.contains(&format!("its state: {host_error}\n")), "{output}");
    }
}

#[test]
fn res_send_sends_message_unchanged_and_keeps_its_identifier() {
    let relay = Relay::start();
    let output = run(&relay, "dns_messages", &["web"]);
    assert!(
        output.contains("errno 0 id 1 res_send web/1: length 37 of 65535 "),
        "{output}"
    );
    assert!(output.contains("res_nsend too small: -1 EINVAL\n"), "{output}");
    assert!(
        output.contains("res_nsend without servers: -1 ESRCH\n"),
        "{output}"
    );
    let output = run(&relay, "dns_messages", &["broken"]);
    assert!(
        output.contains("errno ETIMEDOUT id 0 res_send broken/1: "),
        "{output}"
    );
}

#[test]
fn res_search_without_relay_sets_try_again() {
    let missing = Path::new("/nonexistent/control");
    let output = Program::with_socket(missing, "dns_messages", &["web"]).output();
    assert_eq!(lines_of(&output, "res_search"), ["web/1: h_errno 2 state 2"]);
}

#[test]
fn invalid_dns_name_sets_no_recovery_without_asking_relay() {
    let relay = Relay::start();
    let long = "a".repeat(64);
    for name in [long.as_str(), "a..b", &"abcdefghi.".repeat(30)] {
        let output = run(&relay, "dns_messages", &[name]);
        assert_eq!(
            lines_of(&output, "res_query")[7],
            format!("{name}/1: h_errno 3 state 3")
        );
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}
