//! What a carried agent reports of its pod. It is built for size, and so by other optimisations than an image's agent.

use kinject_tests::programs::{Program, interpreter};
use kinject_tests::running::run_within;

use crate::namespace::{SECONDS, TestNamespace};

const OWN_ADDRESS: &str = "import socket
s = socket.create_connection(('web.default', 80))
print(s.getsockname()[0])";

#[test]
fn getsockname_in_a_session_of_a_carried_agent_returns_the_pods_address() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session();
    let pod = namespace.made("pods").remove(0);
    let python = Program::new(interpreter()).args(["-c", OWN_ADDRESS]);
    let outcome = run_within(session.command(&python.path).args(&python.arguments), SECONDS);
    let address = pod["status"]["podIP"].as_str().unwrap();
    outcome.succeeded().prints(&format!("{address}\n"));
    assert_eq!(session.end(), 0);
    namespace.is_clean();
}
