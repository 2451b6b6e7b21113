//! getaddrinfo_a(3).

use crate::program::{Program, run};
use crate::relay::Relay;

#[test]
fn getaddrinfo_a_in_every_mode_gives_the_relays_answers() {
    let relay = Relay::start();
    let output = run(&relay, "asynchronous_names", &["web", "missing", "127.0.0.1"]);
    let requests = "  web: 0 10.96.10.1:80, cancelled -103\n  missing: -2, cancelled -103\n\
         \x20 127.0.0.1: 0 127.0.0.1:80, cancelled -103\n";
    assert_eq!(
        output,
        format!(
            "wait: 0\n{requests}no wait: 0\n{requests}none: 0\n{requests}signal: 0\ntold 3\n{requests}\
             thread: 0\ntold 4\n{requests}no mode: -11 EINVAL\nnothing: 0\n"
        )
    );
}

#[test]
fn getaddrinfo_a_of_number_gives_libcs_answer() {
    let relay = Relay::start();
    let args = ["127.0.0.1", "10.1.2.3", "::1"];
    let injected = Program::injected(&relay, "asynchronous_names", &args).output();
    assert_eq!(injected, Program::bare("asynchronous_names", &args).output());
    assert_eq!(relay.requests(), Vec::<String>::new());
}
