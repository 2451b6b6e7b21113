//! Pushes to a registry that does not speak TLS where kinject does, and to one whose certificate nobody vouches for.

use std::process::Command;

use kinject_tests::running::run;

use crate::{Installation, Registry, pushed};

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
    let (key, certificate) = (
        folder.path().join("key.pem"),
        folder.path().join("certificate.pem"),
    );
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args([
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-addext",
            "subjectAltName=IP:0.0.0.0",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate))
    .succeeded();
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        certificate.display(),
        key.display()
    );
    let Some(mut registry) = Registry::start_with(folder, &tls) else {
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
    pushed(&run(trusting.env("SSL_CERT_FILE", &certificate)), &registry);
}
