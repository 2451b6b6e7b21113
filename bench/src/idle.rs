//! Many connections that are open and idle.

use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::connections::{connect, exchange};

/// Opens the connections, uses each once, prints a line, and uses all of them again after a line on standard input.
pub(crate) fn run(address: SocketAddr, count: usize) -> Result<Value> {
    raise_descriptor_limit()?;
    let mut errors = Errors::default();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let opened = connect(address).and_then(|mut stream| exchange(&mut stream).map(|()| stream));
        open.extend(errors.count(opened));
    }
    println!("{}", json!({ "open": open.len() }));
    io::stdout().flush().context("writing")?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("waiting for a line")?;
    // All at once: every byte is sent before the first echo is read.
    let mut stay = Vec::with_capacity(open.len());
    for mut stream in open {
        let sent = stream.write_all(b"e").context("sending a byte");
        stay.extend(errors.count(sent.map(|()| stream)));
    }
    for stream in stay {
        let _echoed: Option<()> = errors.count(read_echo(stream));
    }
    Ok(json!({ "errors": errors.count, "first_error": errors.first }))
}

#[derive(Default)]
struct Errors {
    count: usize,
    first: Option<String>,
}

impl Errors {
    fn count<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.count += 1;
                self.first.get_or_insert_with(|| format!("{error:#}"));
                None
            }
        }
    }
}

fn read_echo(mut stream: TcpStream) -> Result<()> {
    io::Read::read_exact(&mut stream, &mut [0]).context("reading the byte's echo")
}

fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}
