//! What works in such a user's sessions.

use std::time::Instant;

use kinject_tests::foreign_images::WEB_SAYS;
use kinject_tests::running::{finish, run_within, spawn};
use kinject_tests::terminal::Terminal;

use crate::user::{SECONDS, User, service_address};

const ASK_WEB: [&str; 4] = ["--", "curl", "--silent", "http://web/"];

#[test]
fn curl_of_a_service_answers_in_the_workloads_image() {
    let Some(user) = User::new() else { return };
    let outcome = run_within(
        &mut user.kinject(&[&["run", "--verbose"][..], &ASK_WEB].concat()),
        SECONDS,
    );
    outcome.succeeded().prints(WEB_SAYS).complains(&format!(
        "the agent runs in the image {}: pod web runs it",
        user.image()
    ));
    user.namespace_is_as_before();
}

#[test]
fn session_has_one_pod_of_the_workloads_image_alone() {
    let Some(user) = User::new() else { return };
    let session = user.open_session(&[]);
    let pods = user.made("pods");
    let [pod] = pods.as_slice() else {
        panic!("{pods:?}");
    };
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1, "{pod}");
    assert_eq!(pod["spec"]["containers"][0]["image"], user.image());
    assert!(pod["spec"]["initContainers"].is_null(), "{pod}");
    assert_eq!(session.end(), Some(0));
    user.namespace_is_as_before();
}

#[test]
fn shell_on_a_terminal_reaches_the_service() {
    let Some(user) = User::new() else { return };
    let mut terminal = Terminal::start(user.kinject(&["shell"]));
    terminal.expect("[kinject ");
    terminal.enter("curl --silent http://web/");
    terminal.expect(WEB_SAYS.trim_end());
    terminal.enter("exit 3");
    assert_eq!(terminal.ended().code(), Some(3));
    user.namespace_is_as_before();
}

#[test]
fn connect_to_a_closed_port_is_refused() {
    let Some(user) = User::new() else { return };
    let outcome = user.run(&["curl", "--silent", "--verbose", "http://web:81/"]);
    // CURLE_COULDNT_CONNECT
    outcome.exited(7).complains("Connection refused");
    user.namespace_is_as_before();
}

#[test]
fn names_of_a_service_and_of_its_port_are_resolved() {
    let Some(user) = User::new() else { return };
    let address = service_address(&user);
    user.run(&["getent", "ahostsv4", "web"])
        .succeeded()
        .shows(&format!("{address} "));
    let domain = format!("web.{}.svc.cluster.local", user.namespace());
    user.run(&["dig", "+short", "SRV", &format!("_http._tcp.{domain}")])
        .succeeded()
        .shows(&format!(" 80 {domain}.\n"));
    user.namespace_is_as_before();
}

#[test]
fn eight_sessions_at_once_all_answer() {
    let Some(user) = User::new() else { return };
    let started = Instant::now();
    let sessions: Vec<_> = (0..8)
        .map(|_| spawn(&mut user.kinject(&[&["run"][..], &ASK_WEB].concat())))
        .collect();
    for session in sessions {
        finish(session, started, "one of eight sessions", 4 * SECONDS)
            .succeeded()
            .prints(WEB_SAYS);
    }
    user.namespace_is_as_before();
}
