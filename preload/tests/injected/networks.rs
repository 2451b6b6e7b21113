//! How a program connects to its relay: by the relay's abstract name, otherwise by its path, and in another network
//! namespace not at all, where libc answers every call.

use crate::program::{Program, compiled, control_address, run};
use crate::relay::Relay;
use crate::script::Script;
use kinject_test_support::skip;

const TARGET: &str = "10.96.10.3";

fn port(script: Script) -> String {
    script.port().to_string()
}

#[test]
fn program_without_relays_path_connects_to_abstract_name() {
    let relay = Relay::start();
    let output = Program::with_name(
        relay.control(),
        "connect_blocking",
        &[TARGET, &port(Script::Connect)],
    )
    .output();
    assert!(output.starts_with("connect: 0\n"), "{output}");
    let output = Program::with_name(relay.control(), "names", &["web"]).output();
    assert!(output.contains("10.96.10.1"), "{output}");
    assert!(
        relay.listeners().iter().all(|place| *place == "name"),
        "{:?}",
        relay.listeners()
    );
}

#[test]
fn program_without_abstract_sockets_connects_to_path() {
    let scoped = compiled("scoped");
    let is_known = std::process::Command::new(&scoped).arg("/bin/true").status();
    if is_known.unwrap().code() == Some(77) {
        return skip::not_run(
            "a program without abstract sockets",
            "this kernel has no Landlock scopes",
        );
    }
    let relay = Relay::start();
    let output = Program::injected(&relay, "connect_blocking", &[TARGET, &port(Script::Connect)])
        .under(scoped.to_str().unwrap(), &[])
        .output();
    assert!(output.starts_with("connect: 0\n"), "{output}");
    // the wrapper sends no request before it enters the Landlock domain
    assert!(
        relay.listeners().iter().all(|place| *place == "path"),
        "{:?}",
        relay.listeners()
    );
}

#[test]
fn program_in_other_network_namespace_gets_libcs_results() {
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
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn program_after_end_of_session_gets_enetunreach() {
    let relay = Relay::start();
    let (_, network) = relay.control().split_once(':').unwrap();
    let network = u64::from_str_radix(&network[..16], 16).unwrap();
    let ended = control_address("kinject-test-ended", Some(network));
    let output = Program::with_name(&ended, "connect_blocking", &[TARGET, &port(Script::Connect)]).output();
    assert!(output.starts_with("connect: ENETUNREACH\n"), "{output}");
    let output = Program::with_name(&ended, "names", &["web"]).output();
    assert!(output.contains("web - [any]: -3\n"), "{output}");
}

#[test]
fn connect_with_malformed_control_variable_returns_enetunreach() {
    let relay = Relay::start();
    let long = control_address(&"n".repeat(200), None);
    for control in ["", ":", "nonsense", &long] {
        let args = [TARGET, &port(Script::Connect)];
        let output = Program::with_name(control, "connect_blocking", &args).output();
        assert!(
            output.starts_with("connect: ENETUNREACH\n"),
            "{control}: {output}"
        );
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}

/// The socket's namespace decides, not the thread's.
#[test]
fn socket_of_sessions_network_is_carried_for_thread_in_other_namespace() {
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("threads in network namespaces of their own", "they need root");
    }
    let relay = Relay::start();
    let port = port(Script::Connect);
    let output = run(&relay, "two_networks", &[TARGET, &port, "10.244.0.5"]);
    let own = "10.244.0.5:0";
    assert!(
        output.starts_with(&format!(
            "from there, a socket of here: 0\nfrom there, a socket of there: ENETUNREACH\npeer: {TARGET}:{port}\n\
             own: {own}\nfrom there, a socket of here, bound: 0\nown: {own}\n"
        )),
        "{output}"
    );
    assert!(
        output.ends_with("from here, a socket of there, bound: EADDRNOTAVAIL\n"),
        "{output}"
    );
}
