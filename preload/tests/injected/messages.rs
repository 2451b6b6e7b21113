//! The res_query(3) family.

use crate::program::{Program, run};
use crate::relay::Relay;
use std::path::Path;

/// The lines that begin with these words.
fn lines_of<'a>(said: &'a str, call: &str) -> Vec<&'a str> {
    let head = format!("{call} ");
    said.lines().filter_map(|line| line.strip_prefix(&head)).collect()
}

#[test]
fn an_answer_fills_the_buffer_and_tells_its_length() {
    let relay = Relay::start();
    let said = run(&relay, "dns_messages", &["web"]);
    // header, question, and one address: 12 + 9 + 16 bytes
    assert_eq!(
        lines_of(&said, "res_query"),
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
fn an_answer_that_came_over_tcp_tells_its_whole_length() {
    let relay = Relay::start();
    let said = run(&relay, "dns_messages", &["many/16"]);
    let lines = lines_of(&said, "res_query");
    assert_eq!(lines[1], "many/16: length 3422 of 40 tc 1 rcode 0 answers 0");
    assert!(
        lines[7].starts_with("many/16: length 3422 of 65535 tc 0 rcode 0 answers 200 "),
        "{}",
        lines[7]
    );
    let cut = "query Datagram many 16 1 None";
    assert!(
        relay.asked().iter().any(|line| line == cut),
        "{:?}",
        relay.asked()
    );
}

#[test]
fn a_search_is_the_relays_with_the_options_of_the_state() {
    let relay = Relay::start();
    let said = run(&relay, "dns_messages", &["web", "web."]);
    let found =
        "web/1: length 63 of 65535 tc 0 rcode 0 answers 1 [web.default.svc.cluster.local type 1 4 bytes]";
    assert_eq!(lines_of(&said, "res_search")[0], found);
    assert_eq!(lines_of(&said, "res_nsearch")[0], found);
    let asked = relay.asked();
    for (names, domains) in [(true, true), (true, false), (false, false)] {
        let line = format!(
            "query Stream web 1 1 Some(Search {{ default_names: {names}, domains: {domains}, no_top_level: false }})"
        );
        assert!(asked.contains(&line), "{line} in {asked:?}");
    }
    // a final dot leaves nothing to search
    assert!(
        lines_of(&said, "res_search")[1].contains("[web type 1 4 bytes]"),
        "{said}"
    );
}

#[test]
fn every_failure_of_a_question_has_its_h_errno() {
    let relay = Relay::start();
    for (name, host_error) in [
        ("missing", 1),
        ("broken", 2),
        ("nodata", 4),
        ("hangup", 2),
        ("confused", 2),
        ("garbage", 2),
    ] {
        let said = run(&relay, "dns_messages", &[name]);
        let failed = format!("{name}/1: h_errno {host_error} state {host_error}");
        assert_eq!(lines_of(&said, "res_query")[7], failed);
        assert_eq!(lines_of(&said, "res_search"), [failed.as_str()]);
        assert!(said.contains(&format!("its state: {host_error}\n")), "{said}");
    }
}

#[test]
fn a_message_is_sent_as_it_is_and_its_answer_has_its_identifier() {
    let relay = Relay::start();
    let said = run(&relay, "dns_messages", &["web"]);
    assert!(
        said.contains("errno 0 id 1 res_send web/1: length 37 of 65535 "),
        "{said}"
    );
    assert!(said.contains("res_nsend too small: -1 EINVAL\n"), "{said}");
    assert!(said.contains("res_nsend without servers: -1 ESRCH\n"), "{said}");
    let said = run(&relay, "dns_messages", &["broken"]);
    assert!(
        said.contains("errno ETIMEDOUT id 0 res_send broken/1: "),
        "{said}"
    );
}

#[test]
fn without_a_relay_a_question_may_succeed_later() {
    let missing = Path::new("/nonexistent/control");
    let said = Program::with_socket(missing, "dns_messages", &["web"]).output();
    assert_eq!(lines_of(&said, "res_search"), ["web/1: h_errno 2 state 2"]);
}

#[test]
fn names_that_no_message_can_hold_are_not_asked() {
    let relay = Relay::start();
    let long = "a".repeat(64);
    for name in [long.as_str(), "a..b", &"abcdefghi.".repeat(30)] {
        let said = run(&relay, "dns_messages", &[name]);
        assert_eq!(
            lines_of(&said, "res_query")[7],
            format!("{name}/1: h_errno 3 state 3")
        );
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}
