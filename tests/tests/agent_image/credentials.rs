//! Which credentials a push sends, and to whom: the registry and its token server alone, with TLS where that is not
//! this machine.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use kinject_test_support::program;
use kinject_tests::running::{Outcome, run};

use crate::stand_in::{Request, StandIn, accept};
use crate::{Installation, Registry, certificate};

/// The token that the stand-ins give.
const TOKEN: &str = "token-of-the-server";

/// A registry that asks for a token of the server at this address.
fn registry_with_tokens(realm: impl Fn(&Request) -> String + Send + 'static) -> StandIn {
    StandIn::start(move |request| {
        let is_authorized = request.authorization() == Some(&format!("Bearer {TOKEN}"));
        match is_authorized {
            true => accept(request),
            false => format!(
                "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{}\",service=\"agents\"\r\n",
                realm(request)
            ),
        }
    })
}

fn token_server() -> StandIn {
    StandIn::start(|_| format!("200 OK\r\n\r\n{{\"access_token\":\"{TOKEN}\",\"expires_in\":300}}"))
}

/// What `docker login` leaves: for a registry of OAuth 2 an identity token, otherwise `user:secret`.
fn identity_token(registry: &StandIn) -> String {
    format!(
        r#"{{"auths": {{"{}": {{"auth": "dXNlcjo=", "identitytoken": "refresh+1"}}}}}}"#,
        registry.name
    )
}

fn password(registry: &str) -> String {
    format!(r#"{{"auths": {{"{registry}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#)
}

/// `user:secret` in the header of a request.
const PASSWORD: &str = "Basic dXNlcjpzZWNyZXQ=";

fn push(installation: &Installation, registry: &str, options: &[&str]) -> Outcome {
    let name = format!("{registry}/agents/kinject:1");
    run(&mut installation.image(&[&["push", &name], options].concat()))
}

#[test]
fn identity_token_is_exchanged_for_a_token_of_the_server() {
    let server = token_server();
    let realm = format!("http://{}/oauth2/token", server.name);
    let registry = registry_with_tokens(move |_| realm.clone());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&identity_token(&registry));
    push(&installation, &registry.name, &[]).succeeded();

    let asked = server.requests();
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/oauth2/token")
    );
    let mut form: Vec<&str> = asked.body.split('&').collect();
    form.sort_unstable();
    assert_eq!(
        form,
        [
            "client_id=kinject",
            "grant_type=refresh_token",
            "refresh_token=refresh%2B1",
            "scope=repository%3Aagents%2Fkinject%3Apull%2Cpush",
            "service=agents",
        ]
    );
    assert_eq!(asked.authorization(), None);
    let pushed = registry.requests();
    assert!(
        pushed
            .iter()
            .filter(|request| request.is_for_an_image())
            .all(|request| request.authorization() == Some(&format!("Bearer {TOKEN}"))),
        "{pushed:?}"
    );
}

#[test]
fn identity_token_of_a_credential_helper_is_exchanged_too() {
    let server = token_server();
    let realm = format!("http://{}/token", server.name);
    let registry = registry_with_tokens(move |_| realm.clone());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(r#"{"credsStore": "test"}"#);
    let helper = installation.folder.path().join("docker-credential-test");
    let text = installation.folder.path().join("helper");
    let script =
        "#!/bin/sh\nread -r registry\necho '{\"Username\": \"<token>\", \"Secret\": \"of-the-helper\"}'\n";
    fs::write(&text, script).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    program::copy(&text, &helper);
    let folder = installation.folder.path().display();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let name = format!("{}/agents/kinject:1", registry.name);
    run(installation.image(&["push", &name]).env("PATH", path)).succeeded();
    let asked = server.requests();
    assert!(asked[0].body.contains("refresh_token=of-the-helper"), "{asked:?}");
}

#[test]
fn identity_token_for_a_registry_that_takes_passwords_alone_is_an_error_that_names_it() {
    let registry =
        StandIn::start(|_| "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n".to_owned());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&identity_token(&registry));
    push(&installation, &registry.name, &[])
        .exited(125)
        .complains("the registry asks for a password, and docker's credentials for it are an identity token")
        .complains(&format!("\n\nhint: run `docker login {}`", registry.name));
}

#[test]
fn refusal_of_the_token_server_is_shown_in_its_words() {
    let server = StandIn::start(|_| {
        "400 Bad Request\r\n\r\n{\"error\":\"invalid_grant\",\"error_description\":\"the token was revoked\"}"
            .to_owned()
    });
    let realm = format!("http://{}/token", server.name);
    let registry = registry_with_tokens(move |_| realm.clone());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&identity_token(&registry));
    push(&installation, &registry.name, &[])
        .exited(125)
        .complains("the token server 127.0.0.1 answers 400: invalid_grant: the token was revoked")
        .complains(&format!("\n\nhint: run `docker login {}`", registry.name));
}

#[test]
fn password_gets_a_token_and_is_not_shown_to_a_registry_that_has_a_token_server() {
    let server = token_server();
    let realm = format!("http://{}/token?kind=a", server.name);
    let registry = registry_with_tokens(move |_| realm.clone());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&password(&registry.name));
    push(&installation, &registry.name, &[]).succeeded();
    let asked = server.requests();
    assert_eq!(
        asked[0].path,
        "/token?kind=a&scope=repository%3Aagents%2Fkinject%3Apull%2Cpush&service=agents&account=user"
    );
    assert_eq!(asked[0].authorization(), Some(PASSWORD));
    let seen = registry.requests();
    assert!(
        seen.iter()
            .all(|request| request.authorization() != Some(PASSWORD)),
        "{seen:?}"
    );
}

/// The address 0.0.0.0 leads to this machine as loopback does, and kinject takes it for another's.
#[test]
fn token_server_without_tls_on_another_machine_gets_no_credentials() {
    let server = token_server();
    let realm = format!("http://{}/token", server.name.replace("127.0.0.1", "0.0.0.0"));
    let named = realm.clone();
    let registry = registry_with_tokens(move |_| named.clone());
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&password(&registry.name));
    push(&installation, &registry.name, &[])
        .exited(125)
        .complains(&format!(
            "names the token server {realm}, to which kinject sends no credentials"
        ))
        .complains("\n\nhint: add --plain-http ");
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    push(&installation, &registry.name, &["--plain-http"]).succeeded();
}

#[test]
fn token_server_without_tls_of_a_registry_with_tls_gets_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "127.0.0.1");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let realm = format!("http://{}/token", server.local_addr().unwrap());
    let more = format!(
        "{}auth:\n  token:\n    realm: {realm}\n    service: agents\n    issuer: test\n    rootcertbundle: {}\n",
        files.section(),
        files.certificate.display()
    );
    let Some(registry) = Registry::start_with(folder, &more) else {
        return;
    };
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&password(&registry.name));
    let name = format!("{}/agents/kinject:1", registry.name);
    let mut command = installation.image(&["push", &name]);
    run(command.env("SSL_CERT_FILE", &files.certificate))
        .exited(125)
        .complains(&format!(
            "names the token server {realm}, to which kinject sends no credentials"
        ))
        .complains(&format!(
            "\n\nhint: ask who runs {} to name it with https",
            registry.name
        ));
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err());
}

#[test]
fn token_server_that_redirects_to_another_host_gets_no_credentials() {
    let other = token_server();
    for (status, login) in [("302 Found", "password"), ("307 Temporary Redirect", "identity")] {
        let elsewhere = format!("http://{}/token", other.name);
        let server = StandIn::start(move |_| format!("{status}\r\nLocation: {elsewhere}\r\n"));
        let realm = format!("http://{}/token", server.name);
        let registry = registry_with_tokens(move |_| realm.clone());
        let installation = Installation::new(&["amd64"]);
        installation.docker_config(&match login {
            "password" => password(&registry.name),
            _ => identity_token(&registry),
        });
        push(&installation, &registry.name, &[])
            .exited(125)
            .complains(&format!(
                "the token server 127.0.0.1 redirects to http://{}/token, to which kinject sends no credentials",
                other.name
            ));
        assert_eq!(server.requests().len(), 1);
    }
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

#[test]
fn registry_that_redirects_to_another_is_named_with_it() {
    let other = token_server();
    let elsewhere = format!("http://{}/v2/", other.name);
    let location = elsewhere.clone();
    let registry = StandIn::start(move |_| format!("301 Moved Permanently\r\nLocation: {location}\r\n"));
    let installation = Installation::new(&["amd64"]);
    installation.docker_config(&password(&registry.name));
    push(&installation, &registry.name, &[])
        .exited(125)
        .complains(&format!("{} redirects to {elsewhere}", registry.name))
        .complains("\n\nhint: name that registry in the image's name");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

#[test]
fn upload_that_leads_to_another_host_is_sent_without_credentials() {
    for by_redirect in [false, true] {
        let storage = StandIn::start(accept);
        let elsewhere = format!("http://{}/storage?state=1", storage.name);
        let registry = StandIn::start(move |request| {
            let is_upload = request.method == "PUT" && request.path.contains("/blobs/");
            match (request.authorization(), by_redirect) {
                (None, _) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
                (_, true) if is_upload => format!("307 Temporary Redirect\r\nLocation: {elsewhere}\r\n"),
                (_, false) if request.method == "POST" => {
                    format!("202 Accepted\r\nLocation: {elsewhere}\r\n")
                }
                _ => accept(request),
            }
        });
        let installation = Installation::new(&["amd64"]);
        installation.docker_config(&password(&registry.name));
        push(&installation, &registry.name, &[]).succeeded();
        let stored = storage.requests();
        assert_eq!(stored.len(), 2, "{stored:?}");
        assert!(
            stored.iter().all(|request| request.authorization().is_none()),
            "{stored:?}"
        );
        let seen = registry.requests();
        assert!(
            seen.iter()
                .filter(|request| request.is_for_an_image())
                .all(|request| request.authorization() == Some(PASSWORD)),
            "{seen:?}"
        );
    }
}
