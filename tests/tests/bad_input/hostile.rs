//! Agents that report more search domains and name servers than any pod has.

use std::fmt::Write;
use std::time::Duration;

use kinject_tunnel::Version;

use crate::stand_in::StandIn;

/// A resolv.conf with so many search domains.
fn with_domains(count: usize) -> String {
    let mut text = "nameserver 10.96.0.10\nsearch".to_owned();
    for number in 0..count {
        write!(text, " d{number}.example").unwrap();
    }
    text.push_str("\noptions ndots:5\n");
    text
}

#[test]
fn lookup_with_thousands_of_search_domains_is_fast() {
    let agent = StandIn::start(Version::own(), &with_domains(15_000));
    let outcome = agent.kinject(&["-v"], &["getent", "hosts", "nothing"]);
    // getent's own status for a name that is not there
    outcome
        .exited(2)
        .complains("the agent reports more search domains than a pod has");
    assert!(outcome.took < Duration::from_secs(5), "{outcome}");
}

#[test]
fn resolv_conf_is_bounded_to_32_search_domains_and_3_name_servers() {
    let text = with_domains(40) + &"nameserver 10.0.0.1\n".repeat(100);
    let agent = StandIn::start(Version::own(), &text);
    let outcome = agent.kinject(&[], &["cat", "/etc/resolv.conf"]);
    let shown = &outcome.succeeded().stdout;
    assert!(
        shown.contains(" d31.example\n") && !shown.contains("d32"),
        "{shown}"
    );
    assert_eq!(shown.matches("nameserver").count(), 3, "{shown}");
    assert!(shown.ends_with("nameserver 10.0.0.1\n"), "{shown}");
}
