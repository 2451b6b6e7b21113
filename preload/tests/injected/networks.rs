//! How a program gets to its relay: by the relay's name, otherwise by its path, and not at all in another network namespace,
//! where everything is libc's business.

use crate::program::{Program, compiled, control_address, run};
use crate::relay::Relay;
use crate::script::Script;
use kinject_test_support::skip;

const TARGET: &str = "10.96.10.3";

fn port(script: Script) -> String {
    script.port().to_string()
}

#[test]
fn a_program_that_does_not_see_its_relays_path_asks_at_the_name() {
    let relay = Relay::start();
    let said = Program::with_name(
        relay.control(),
        "connect_blocking",
        &[TARGET, &port(Script::Connect)],
    )
    .output();
    assert!(said.starts_with("connect: 0\n"), "{said}");
    let said = Program::with_name(relay.control(), "names", &["web"]).output();
    assert!(said.contains("10.96.10.1"), "{said}");
    assert!(
        relay.called().iter().all(|place| *place == "name"),
        "{:?}",
        relay.called()
    );
}

#[test]
fn a_program_that_may_not_use_names_asks_at_the_path() {
    let scoped = compiled("scoped");
    let is_known = std::process::Command::new(&scoped).arg("/bin/true").status();
    if is_known.unwrap().code() == Some(77) {
        return skip::not_run(
            "a program without abstract sockets",
            "this kernel has no Landlock scopes",
        );
    }
    let relay = Relay::start();
    let said = Program::injected(&relay, "connect_blocking", &[TARGET, &port(Script::Connect)])
        .under(scoped.to_str().unwrap(), &[])
        .output();
    assert!(said.starts_with("connect: 0\n"), "{said}");
    // the wrapper itself, before it gives names up, asks nothing
    assert!(
        relay.called().iter().all(|place| *place == "path"),
        "{:?}",
        relay.called()
    );
}

#[test]
fn in_another_network_namespace_every_call_is_libcs_own() {
    let relay = Relay::start();
    let connect = port(Script::Connect);
    for (program, args) in [
        ("connect_blocking", &[TARGET, &connect][..]),
        ("connect_blocking", &["fd00::7", &connect]),
        ("connect_nonblocking", &[TARGET, &connect]),
        ("fast_open", &[TARGET, &connect]),
        ("datagrams", &[TARGET, &connect]),
        ("names", &["-s", "80", "web", "localhost", "127.0.0.1"]),
        ("host_entries", &["web", "localhost"]),
        ("address_names", &[TARGET]),
        ("asynchronous_names", &["web", "127.0.0.1"]),
        ("dns_messages", &["web"]),
    ] {
        let injected = Program::injected(&relay, program, args).offline().output();
        let bare = Program::bare(program, args).offline().output();
        assert_eq!(injected, bare, "{program}");
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn a_session_that_is_over_is_not_taken_for_another_network_namespace() {
    let relay = Relay::start();
    let (_, network) = relay.control().split_once(':').unwrap();
    let network = u64::from_str_radix(&network[..16], 16).unwrap();
    let gone = control_address("kinject-test-of-nobody", Some(network));
    let said = Program::with_name(&gone, "connect_blocking", &[TARGET, &port(Script::Connect)]).output();
    assert!(said.starts_with("connect: ENETUNREACH\n"), "{said}");
    let said = Program::with_name(&gone, "names", &["web"]).output();
    assert!(said.contains("web - [any]: -3\n"), "{said}");
}

#[test]
fn a_variable_that_makes_no_sense_leaves_a_program_without_the_network() {
    let relay = Relay::start();
    let long = control_address(&"n".repeat(200), None);
    for control in ["", ":", "nonsense", &long] {
        let args = [TARGET, &port(Script::Connect)];
        let said = Program::with_name(control, "connect_blocking", &args).output();
        assert!(said.starts_with("connect: ENETUNREACH\n"), "{control}: {said}");
    }
    assert_eq!(relay.asked(), Vec::<String>::new());
}

/// What counts is the namespace of the socket.
#[test]
fn a_socket_of_the_sessions_network_is_carried_and_told_and_bound_whatever_namespace_its_thread_is_in() {
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("threads in network namespaces of their own", "they need root");
    }
    let relay = Relay::start();
    let port = port(Script::Connect);
    let said = run(&relay, "two_networks", &[TARGET, &port, "10.244.0.5"]);
    let own = "10.244.0.5:0";
    assert!(
        said.starts_with(&format!(
            "from there, a socket of here: 0\nfrom there, a socket of there: ENETUNREACH\npeer: {TARGET}:{port}\n\
             own: {own}\nfrom there, a socket of here, bound: 0\nown: {own}\n"
        )),
        "{said}"
    );
    assert!(
        said.ends_with("from here, a socket of there, bound: EADDRNOTAVAIL\n"),
        "{said}"
    );
}
