//! The trace: a line for each decision, with call, target, rule, egress, result and time.
//!
//! ```text
//! lookup   web                            default            cluster  10.96.10.1             0.9 ms
//! connect  10.96.10.1:80                  default            cluster  connected              1.2 ms
//! connect  10.20.0.7:443 (wiki.office)    --local *.office   local    left to this machine   0.0 ms
//! ```
//!
//! A line for a terminal is fitted into its window.
//!
//! Without `--trace` nothing is written, measured or copied. Names come from the cluster and from programs: they are
//! escaped, and a space in one does not begin another column.

mod row;

use crate::routes::{Cause, Routes, Transport};
use crate::{log, words};
use kinject_dns::message::Code;
use kinject_protocol::control::{Purpose, Reply};
use kinject_protocol::rules::Egress;
use kinject_protocol::session;
use row::Row;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

/// The session's trace.
pub(crate) struct Trace {
    output: Option<Output>,
    routes: Rc<Routes>,
}

enum Output {
    Stderr,
    File(parking_lot::Mutex<File>),
}

/// A call in progress; none if the trace is disabled.
#[must_use]
pub(crate) struct Traced<'a>(Option<Call<'a>>);

struct Call<'a> {
    trace: &'a Trace,
    started: Instant,
    call: &'static str,
    target: String,
    rule: String,
    egress: Egress,
    /// An addition to the result.
    remark: String,
}

impl Trace {
    /// Opens the output.
    pub(crate) fn open(wanted: Option<&session::Trace>, routes: Rc<Routes>) -> io::Result<Self> {
        let output = match wanted {
            None => None,
            Some(session::Trace::Stderr) => Some(Output::Stderr),
            Some(session::Trace::File(path)) => {
                let file = File::options().append(true).open(path)?;
                Some(Output::File(parking_lot::Mutex::new(file)))
            }
        };
        Ok(Self { output, routes })
    }

    /// The session's routes.
    pub(crate) fn routes(&self) -> &Rc<Routes> {
        &self.routes
    }

    /// Begins a connect or a datagram, whose egress the routes decide.
    pub(crate) fn target(&self, transport: Transport, target: SocketAddr) -> Traced<'_> {
        self.begin(|| {
            let decision = self.routes.decide(target, transport);
            let target = SocketAddr::new(target.ip().to_canonical(), target.port());
            let target = match &decision.name {
                Some(name) => format!("{target} ({})", column(name)),
                None => target.to_string(),
            };
            (
                transport.call(),
                target,
                decision.cause.to_string(),
                decision.egress,
            )
        })
    }

    /// Begins a lookup.
    pub(crate) fn lookup(&self, name: &[u8]) -> Traced<'_> {
        self.begin(|| {
            let rule = self.routes.rule_for_name(&String::from_utf8_lossy(name));
            let name = column(&kinject_escape::bytes(name));
            let egress = rule.map_or(Egress::Remote, |rule| rule.egress);
            let rule = rule.map_or_else(|| "default".to_owned(), ToString::to_string);
            ("lookup", name, rule, egress)
        })
    }

    /// Begins a lookup of the name of an address that is resolved locally, for this cause.
    pub(crate) fn local_reverse_lookup(&self, name: &[u8], cause: &Cause<'_>) -> Traced<'_> {
        self.begin(|| {
            let name = column(&kinject_escape::bytes(name));
            ("lookup", name, cause.to_string(), Egress::Local)
        })
    }

    fn begin(&self, about: impl FnOnce() -> (&'static str, String, String, Egress)) -> Traced<'_> {
        Traced(self.output.as_ref().map(|_| {
            let (call, target, rule, egress) = about();
            Call {
                trace: self,
                started: Instant::now(),
                call,
                target,
                rule,
                egress,
                remark: String::new(),
            }
        }))
    }
}

impl Traced<'_> {
    /// Adds a remark to the result.
    pub(crate) fn remark(&mut self, remark: impl Display) {
        if let Some(call) = &mut self.0 {
            call.remark = format!(" ({remark})");
        }
    }

    /// Writes the line.
    pub(crate) fn ended(mut self, result: impl Display) {
        if let Some(call) = self.0.take() {
            call.write(&result.to_string());
        }
    }

    /// Writes the line of a lookup by its reply, with the error's name of the calling function.
    pub(crate) fn answered(mut self, reply: &Reply, purpose: Purpose) {
        let Some(call) = self.0.take() else { return };
        match reply {
            Reply::Addresses { addresses, .. } => call.found(addresses),
            Reply::NameFailed(failure) => call.write(words::name_failure(*failure, purpose)),
            _ => call.write("answered"),
        }
    }

    /// Writes the line of a DNS message by its answer's code and addresses.
    pub(crate) fn exchanged(mut self, code: Code, addresses: &[IpAddr]) {
        match self.0.take() {
            Some(call) if addresses.is_empty() => call.write(words::dns_code(code)),
            Some(call) => call.found(addresses),
            None => {}
        }
    }
}

impl Drop for Traced<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call.write("given up");
        }
    }
}

impl Call<'_> {
    fn found(mut self, addresses: &[IpAddr]) {
        // a name that does not exist in the cluster was looked up here
        if addresses
            .first()
            .is_some_and(|address| self.trace.routes.is_learned_locally(*address))
        {
            self.egress = Egress::Local;
        }
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.write(&addresses.join(","));
    }

    fn write(&self, result: &str) {
        let egress = match self.egress {
            Egress::Remote => "cluster",
            Egress::Local => "local",
        };
        let time = self.started.elapsed().as_secs_f64() * 1000.0;
        let result = result.to_owned() + &self.remark;
        let texts = [self.call, &self.target, &self.rule, egress, &result].map(kinject_escape::line);
        let [call, target, rule, egress, result] = texts;
        let row = Row([call, target, rule, egress, result, format!("{time:.1} ms")]);
        if let Some(output) = &self.trace.output
            && let Err(error) = output.write(row)
        {
            log::warn!("cannot write the trace: {error}");
        }
    }
}

impl Output {
    fn write(&self, row: Row) -> io::Result<()> {
        match self {
            Self::Stderr => {
                let mut stderr = io::stderr().lock();
                let line = row.line(window(&stderr)) + "\n";
                stderr.write_all(line.as_bytes())
            }
            Self::File(file) => file.lock().write_all((row.line(None) + "\n").as_bytes()),
        }
    }
}

/// The number of columns of the window, if this is a terminal. It is read for each line, since it may change.
fn window(stream: &io::StderrLock<'_>) -> Option<usize> {
    let size = stream
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(stream).ok())??;
    // a terminal that does not know its size reports zero
    Some(usize::from(size.ws_col)).filter(|columns| *columns != 0)
}

/// A name as one column of a line.
fn column(name: &str) -> String {
    name.replace(' ', r"\u{20}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::NameFailure;
    use kinject_protocol::rules::Rule;

    #[test]
    fn trace_line_holds_call_target_rule_egress_and_result() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rule = Rule::new(Egress::Local, "*.office.test", None).unwrap();
        let routes = Rc::new(Routes::new(vec![rule]));
        routes.learned_locally("wiki.office.test", &["10.20.0.7".parse().unwrap()]);
        let wanted = session::Trace::File(file.path().to_owned());
        let trace = Trace::open(Some(&wanted), routes).unwrap();
        trace
            .target(Transport::Tcp, "10.96.10.1:80".parse().unwrap())
            .ended("connected");
        trace
            .target(Transport::Tcp, "[::ffff:10.20.0.7]:80".parse().unwrap())
            .ended("left to this machine");
        drop(trace.target(Transport::Tcp, "10.96.10.1:81".parse().unwrap()));
        trace
            .lookup(b"a\nb")
            .answered(&Reply::NameFailed(NameFailure::NotFound), Purpose::AddressInfo);
        let lines = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<Vec<&str>> = lines
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0][..5],
            ["connect", "10.96.10.1:80", "default", "cluster", "connected"]
        );
        assert_eq!(
            lines[1][..6],
            [
                "connect",
                "10.20.0.7:80",
                "(wiki.office.test)",
                "--local",
                "*.office.test",
                "local"
            ]
        );
        assert_eq!(
            lines[2][..6],
            ["connect", "10.96.10.1:81", "default", "cluster", "given", "up"]
        );
        assert_eq!(
            lines[3][..5],
            ["lookup", "a\\nb", "default", "cluster", "EAI_NONAME"]
        );
        assert_eq!(lines[3][6..], ["ms"]);
    }

    #[test]
    fn name_of_any_bytes_is_escaped_to_one_column() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // names are only kept if there are rules
        let rule = Rule::new(Egress::Remote, "10.96.0.0/16", None).unwrap();
        let routes = Rc::new(Routes::new(vec![rule]));
        let name = "web\x1b[2J  default  local\nlookup \u{202e}";
        routes.learned_from_cluster(name, &["10.96.0.7".parse().unwrap()]);
        let wanted = session::Trace::File(file.path().to_owned());
        let trace = Trace::open(Some(&wanted), routes).unwrap();
        trace.lookup(b"\xff \x9b\r\n").ended("found\x07");
        trace
            .target(Transport::Tcp, "10.96.0.7:80".parse().unwrap())
            .ended("connected");
        let lines = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<Vec<&str>> = lines
            .split_terminator('\n')
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0][..5],
            [
                "lookup",
                r"\xff\u{20}\x9b\r\n",
                "default",
                "cluster",
                r"found\u{7}"
            ]
        );
        let shown = r"(web\u{1b}[2J\u{20}\u{20}default\u{20}\u{20}local\nlookup\u{20}\u{202e})";
        assert_eq!(lines[1][..3], ["connect", "10.96.0.7:80", shown]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn disabled_trace_records_nothing() {
        let trace = Trace::open(None, Rc::default()).unwrap();
        assert!(trace.lookup(b"web").0.is_none());
        trace
            .target(Transport::Tcp, "10.96.10.1:80".parse().unwrap())
            .ended("connected");
    }
}
