//! The cluster's API over `kubectl proxy`, which authenticates as the administrator: requests and watch events without
//! the latency of a kubectl process for each.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::helper::{Helper, tied_as};
use super::programs::text;
use crate::cluster::Borrowed;
use crate::process;

/// How long the proxy may take to listen.
const START: Duration = Duration::from_secs(10);
/// How long an answer, or the next event of a watch, may take.
const ANSWER: Duration = Duration::from_secs(60);

/// The API; the proxy ends with this value.
pub(crate) struct Api {
    socket: PathBuf,
    _proxy: Helper,
}

impl Api {
    /// Starts the proxy, with its socket in that folder.
    pub(crate) fn start(cluster: &Borrowed, folder: &Path) -> Result<Self> {
        let socket = folder.join("api.sock");
        let mut command = tied_as(&cluster.kubectl());
        command
            .arg("proxy")
            .arg(format!("--unix-socket={}", text(&socket)?));
        let mut proxy = Helper::start("kubectl proxy", &mut command)?;
        process::wait_for("kubectl proxy", START, || {
            proxy.check()?;
            Ok(UnixStream::connect(&socket).ok().map(drop))
        })?;
        Ok(Self {
            socket,
            _proxy: proxy,
        })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, None)
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.request("POST", path, Some(object))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        self.request("DELETE", path, None)
    }

    /// The events of a watch, from now on.
    pub(crate) fn watch(&self, path: &str) -> Result<Watch> {
        Ok(Watch(self.send("GET", path, None)?))
    }

    fn request(&self, method: &str, path: &str, object: Option<&Value>) -> Result<Value> {
        let mut answer = Vec::new();
        self.send(method, path, object)?
            .read_to_end(&mut answer)
            .with_context(|| format!("reading the answer to {method} {path}"))?;
        serde_json::from_slice(&answer).with_context(|| format!("the answer to {method} {path} is no JSON"))
    }

    /// Sends a request and returns the body of its answer. HTTP/1.0, so that the body is what comes until the end.
    fn send(&self, method: &str, path: &str, object: Option<&Value>) -> Result<BufReader<UnixStream>> {
        let what = || format!("asking the cluster for {method} {path}");
        let body = object.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = UnixStream::connect(&self.socket).with_context(what)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all((head + &body).as_bytes()).with_context(what)?;
        let mut answer = BufReader::new(stream);
        let mut status = String::new();
        answer.read_line(&mut status).with_context(what)?;
        let mut header = String::new();
        while answer.read_line(&mut header).with_context(what)? > 2 {
            header.clear();
        }
        if status.split(' ').nth(1).is_none_or(|code| !code.starts_with('2')) {
            let mut words = String::new();
            answer.read_to_string(&mut words).with_context(what)?;
            bail!("{}: {}: {}", what(), status.trim(), words.trim());
        }
        Ok(answer)
    }
}

/// Changes of objects, as they come.
pub(crate) struct Watch(BufReader<UnixStream>);

impl Watch {
    /// The next changed object.
    pub(crate) fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line).context("watching the cluster")? == 0 {
            bail!("the cluster ended a watch");
        }
        let mut event: Value = serde_json::from_str(&line).context("an event that is no JSON")?;
        Ok(event["object"].take())
    }
}
