//! A fake API server whose answers a test chooses.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kinject_tests::running::{Outcome, run_within};
use serde_json::{Value, json};

const SECONDS: Duration = Duration::from_secs(20);

/// The answer of the fake API server to a request.
pub(crate) enum Answer {
    Json(u16, Value),
    /// One event of a watch, which stays open.
    Event(Value),
    Silence,
}

/// Starts an API server, which answers until the test ends, and writes a kubeconfig for it.
pub(crate) fn api_server(
    answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static,
) -> tempfile::NamedTempFile {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream.unwrap(), &*answer));
        }
    });
    kubeconfig(&server, json!({"token": "none"}))
}

/// A kubeconfig of this user.
pub(crate) fn kubeconfig(server: &str, user: Value) -> tempfile::NamedTempFile {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": user}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config.to_string()).unwrap();
    file
}

/// Answers the requests of a connection until the client leaves.
fn serve(stream: TcpStream, answer: &impl Fn(&str, &str) -> Answer) {
    let mut requests = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some((method, path)) = request(&mut requests) {
        let written = match answer(&method, &path) {
            Answer::Json(code, body) => {
                let body = body.to_string();
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                )
            }
            Answer::Event(event) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{event}\n"
                )
            }
            Answer::Silence => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

/// The method and the path of the next request, whose body is read.
fn request(requests: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    let mut body = 0;
    loop {
        let mut line = String::new();
        // the client has closed the connection
        if requests.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(length) = lower.strip_prefix("content-length:") {
            body = length.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    requests.read_exact(&mut vec![0; body]).ok()?;
    let mut words = head.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// `kinject run` of a program that does nothing.
pub(crate) fn session_in(kubeconfig: &Path, flags: &[&str]) -> Outcome {
    let mut command = kinject_tests::apart::kinject();
    command
        .args(["run", "--kubeconfig"])
        .arg(kubeconfig)
        .args(flags)
        .args(["--", "true"]);
    run_within(&mut command, SECONDS)
}

/// Whether a request concerns the objects of an agent.
pub(crate) fn is_about_agents(path: &str) -> bool {
    path.contains("/jobs") || path.contains("/secrets")
}

/// An API server at which an agent can be made and removed.
pub(crate) fn makes_agents(method: &str, path: &str) -> Answer {
    let kind = if path.contains("/jobs") { "Job" } else { "Secret" };
    match method {
        "POST" => Answer::Json(
            201,
            json!({"kind": kind, "metadata": {"name": "made", "uid": "ours"}}),
        ),
        _ => Answer::Json(
            200,
            json!({"apiVersion": "v1", "kind": "Status", "status": "Success"}),
        ),
    }
}

/// The list of pods.
pub(crate) fn pods(items: Value) -> Answer {
    Answer::Json(
        200,
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items}),
    )
}
