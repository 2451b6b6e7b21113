//! A server in the place of a registry or of its token server, which answers as a test wants it to and records what it
//! was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A whole request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// By their names in lower case.
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    /// Reads one; none if the client goes away before its end, or speaks TLS.
    fn read(connection: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(connection);
        let mut first = String::new();
        reader.read_line(&mut first).ok()?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut words = first.split(' ').map(str::to_owned);
        Some(Self {
            method: words.next()?,
            path: words.next()?,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization").map(String::as_str)
    }

    /// Whether it is for the upload, or the manifest, of an image.
    pub(crate) fn is_for_an_image(&self) -> bool {
        self.path.contains("/blobs/") || self.path.contains("/manifests/")
    }
}

/// The server, whose thread ends with the test's process.
pub(crate) struct StandIn {
    /// HOST:PORT.
    pub(crate) name: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    /// Its answers are a status line and headers, each with `\r\n`, and a body where an empty line follows.
    pub(crate) fn start(answer: impl Fn(&Request) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some(request) = Request::read(&connection) else {
                    continue;
                };
                seen.lock().unwrap().push(request.clone());
                let answer = answer(&request);
                let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.trim_end(), ""));
                let length = body.len();
                let text =
                    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                // a client may have given up
                let _gone = connection.write_all(text.as_bytes()).is_err();
            }
        });
        Self { name, requests }
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// How a registry answers each request for a push of `agents/kinject`.
pub(crate) fn accept(request: &Request) -> String {
    match request.method.as_str() {
        "POST" => "202 Accepted\r\nLocation: /v2/agents/kinject/blobs/uploads/1?state=1\r\n",
        "PUT" => "201 Created\r\nLocation: /v2/agents/kinject/blobs/1\r\n",
        _ => "200 OK\r\n",
    }
    .to_owned()
}
