//! Pushes to a registry with TLS or without it, where kinject expects the other, and to one whose certificate no
//! authority has signed.

use kinject_tests::running::run;

use crate::{Installation, Registry, certificate, pushed};

/// The registry under the address that leads to this machine as loopback does, and that kinject takes for another's.
fn as_remote(registry: &mut Registry) -> String {
    registry.name = registry.name.replace("127.0.0.1", "0.0.0.0");
    format!("{}/agents/kinject:1", registry.name)
}

#[test]
fn registry_without_tls_is_answered_with_plain_http() {
    let Some(mut registry) = Registry::start(false) else {
        return;
    };
    let name = as_remote(&mut registry);
    let installation = Installation::new(&["amd64"]);
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains(&format!("kinject: error: cannot push {name}: "))
        .complains("if it has no TLS, add --plain-http");
    let outcome = run(&mut installation.image(&["push", &name, "--plain-http"]));
    pushed(&outcome, &registry);
}

#[test]
fn certificate_of_an_unknown_authority_is_answered_with_ssl_cert_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "0.0.0.0");
    let Some(mut registry) = Registry::start_with(folder, &files.section()) else {
        return;
    };
    let name = as_remote(&mut registry);
    let installation = Installation::new(&["amd64"]);
    let outcome = run(&mut installation.image(&["push", &name]));
    outcome
        .exited(125)
        .complains(&format!("kinject: error: cannot push {name}: "))
        .complains("\n\nhint: set SSL_CERT_FILE to ");
    assert!(!outcome.stderr.contains("--plain-http"), "{outcome}");
    let mut trusting = installation.image(&["push", &name]);
    pushed(&run(trusting.env("SSL_CERT_FILE", &files.certificate)), &registry);
}

#[test]
fn registry_with_tls_on_loopback_is_spoken_to_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "127.0.0.1");
    let Some(registry) = Registry::start_with(folder, &files.section()) else {
        return;
    };
    let name = format!("{}/agents/kinject:1", registry.name);
    let installation = Installation::new(&["amd64"]);
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains("\n\nhint: set SSL_CERT_FILE to ");
    let mut trusting = installation.image(&["push", &name]);
    pushed(&run(trusting.env("SSL_CERT_FILE", &files.certificate)), &registry);
}
