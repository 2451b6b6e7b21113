//! Pushes to a server that answers as a test wants it to, as no well-kept registry does.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kinject_tests::running::run;

use crate::{Installation, Registry, pushed};

/// The status line and the headers of an answer.
type Answer = &'static str;

const OK: Answer = "200 OK\r\n";
const UPLOAD: Answer = "202 Accepted\r\nLocation: /v2/agents/kinject/blobs/uploads/1?state=1\r\n";
const UPLOADED: Answer = "201 Created\r\nLocation: /v2/agents/kinject/blobs/1\r\n";
const TAKEN_WITHOUT_LOCATION: Answer = "201 Created\r\n";

/// A server, whose thread ends with the test's process.
struct Server {
    name: String,
    /// The paths of the PUTs of manifests, in their order.
    manifests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// It answers the first request for an upload, and the PUT of a manifest by how many there were before.
    fn start(upload: Answer, manifest: impl Fn(usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let manifests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&manifests);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some((method, path)) = request(&connection) else {
                    continue;
                };
                let answer = match (method.as_str(), path.rsplit_once("/manifests/")) {
                    ("PUT", Some((_, reference))) => {
                        let mut seen = seen.lock().unwrap();
                        seen.push(reference.to_owned());
                        manifest(seen.len() - 1)
                    }
                    ("PUT", None) => UPLOADED,
                    ("POST", _) => upload,
                    _ => OK,
                };
                let answer = format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
                // a client may have given up
                let _gone = connection.write_all(answer.as_bytes()).is_err();
            }
        });
        Self { name, manifests }
    }
}

/// Reads a whole request; none if the client goes away before.
fn request(connection: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?))
}

#[test]
fn image_of_each_architecture_is_put_by_its_digest_and_the_index_alone_by_the_tag() {
    let server = Server::start(UPLOAD, |_| TAKEN_WITHOUT_LOCATION);
    let installation = Installation::new(&["amd64", "arm64"]);
    let name = format!("{}/agents/kinject:both", server.name);
    run(&mut installation.image(&["push", &name])).succeeded();
    let manifests = server.manifests.lock().unwrap();
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
    let server = Server::start(UPLOAD, |before| match before {
        0 => TAKEN_WITHOUT_LOCATION,
        _ => "500 Internal Server Error\r\n",
    });
    let installation = Installation::new(&["amd64", "arm64"]);
    let name = format!("{}/agents/kinject:both", server.name);
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {name}: the registry answers 500"
        ));
    let manifests = server.manifests.lock().unwrap();
    assert_eq!(manifests.len(), 2);
    assert!(
        manifests.iter().all(|reference| reference != "both"),
        "{manifests:?}"
    );
}

#[test]
fn answer_that_the_client_panics_at_is_an_error_that_names_the_registry() {
    let server = Server::start("202 Accepted\r\nLocation: nowhere\r\n", |_| {
        TAKEN_WITHOUT_LOCATION
    });
    let installation = Installation::new(&["amd64"]);
    let name = format!("{}/agents/kinject:1", server.name);
    let outcome = run(&mut installation.image(&["push", &name]));
    outcome
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {name}: {} gave an answer that cannot be understood: ",
            server.name
        ))
        .complains(&format!("\n\nhint: ask who runs {}", server.name));
    assert!(!outcome.stderr.contains("install kinject again"), "{outcome}");
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
