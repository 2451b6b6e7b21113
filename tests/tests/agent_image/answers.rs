//! Pushes to a server that answers as a test wants it to, as no well-kept registry does.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinject_tests::running::run;

use crate::stand_in::{Request, StandIn, accept};
use crate::{Installation, Registry, pushed};

const TAKEN_WITHOUT_LOCATION: &str = "201 Created\r\n";

/// A registry that answers the PUT of a manifest by how many there were before.
fn registry(manifest: impl Fn(usize) -> &'static str + Send + 'static) -> StandIn {
    let manifests = AtomicUsize::new(0);
    StandIn::start(move |request| match reference(request) {
        Some(_) => manifest(manifests.fetch_add(1, Ordering::Relaxed)).to_owned(),
        None => accept(request),
    })
}

/// The tag or the digest of a manifest that is put.
fn reference(request: &Request) -> Option<&str> {
    let (_, reference) = request.path.rsplit_once("/manifests/")?;
    (request.method == "PUT").then_some(reference)
}

/// Those of all manifests, in their order.
fn references(registry: &StandIn) -> Vec<String> {
    let requests = registry.requests();
    requests.iter().filter_map(reference).map(str::to_owned).collect()
}

#[test]
fn image_of_each_architecture_is_put_by_its_digest_and_the_index_alone_by_the_tag() {
    let registry = registry(|_| TAKEN_WITHOUT_LOCATION);
    let installation = Installation::new(&["amd64", "arm64"]);
    let name = format!("{}/agents/kinject:both", registry.name);
    run(&mut installation.image(&["push", &name])).succeeded();
    let manifests = references(&registry);
    let [amd64, arm64, index] = manifests.as_slice() else {
        panic!("{manifests:?}");
    };
    assert!(
        amd64.starts_with("sha256:") && arm64.starts_with("sha256:"),
        "{manifests:?}"
    );
    assert_ne!(amd64, arm64);
    assert_eq!(index, "both");
}

#[test]
fn tag_is_not_set_where_the_manifest_of_the_second_architecture_is_refused() {
    let registry = registry(|before| match before {
        0 => TAKEN_WITHOUT_LOCATION,
        _ => "500 Internal Server Error\r\n",
    });
    let installation = Installation::new(&["amd64", "arm64"]);
    let name = format!("{}/agents/kinject:both", registry.name);
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {name}: the registry answers 500"
        ));
    let manifests = references(&registry);
    assert_eq!(manifests.len(), 2);
    assert!(
        manifests.iter().all(|reference| reference != "both"),
        "{manifests:?}"
    );
}

#[test]
fn answer_that_the_client_panics_at_is_an_error_that_names_the_registry() {
    let registry = StandIn::start(|request| match request.method.as_str() {
        "POST" => "202 Accepted\r\nLocation: nowhere\r\n".to_owned(),
        _ => accept(request),
    });
    let installation = Installation::new(&["amd64"]);
    let name = format!("{}/agents/kinject:1", registry.name);
    let outcome = run(&mut installation.image(&["push", &name]));
    outcome
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {name}: {} gave an answer that cannot be understood: ",
            registry.name
        ))
        .complains(&format!("\n\nhint: ask who runs {}", registry.name));
    assert!(!outcome.stderr.contains("install kinject again"), "{outcome}");
}

#[test]
fn refusal_is_shown_with_all_errors_of_the_registry_and_control_characters_escaped() {
    const REFUSAL: &str = "403 Forbidden\r\n\r\n{\"errors\":[\
         {\"code\":\"DENIED\",\"message\":\"no quota for \\u001b[2Jteam\"},\
         {\"code\":\"TOOMANYREQUESTS\",\"message\":\"and too fast\"}]}";
    let registry = StandIn::start(|request| match request.method.as_str() {
        "POST" => REFUSAL.to_owned(),
        _ => accept(request),
    });
    let installation = Installation::new(&["amd64"]);
    let name = format!("{}/agents/kinject:1", registry.name);
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {name}: the registry answers 403: \
             DENIED: no quota for \\u{{1b}}[2Jteam; TOOMANYREQUESTS: and too fast\n\nhint: run `docker login "
        ));
}

#[test]
fn registry_on_loopback_is_spoken_to_past_the_proxy() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let installation = Installation::new(&["amd64"]);
    // user:secret
    installation.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#,
        registry.name
    ));
    let mut command = installation.image(&["push", &format!("{}/agents/kinject:1", registry.name)]);
    for variable in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "ALL_PROXY",
        "HTTPS_PROXY",
    ] {
        command.env(variable, &url);
    }
    pushed(&run(&mut command), &registry);
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
