//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use kinject_tunnel::{Endpoint, WIRE_VERSION};

use crate::listen::ListenerKind;

const HELP: &str = "\
Dials, asks name servers and tells for kinject sessions.

Usage:
  kinject-agent --listen unix:PATH|tcp:ADDRESS:PORT --key FILE

Options:
      --listen ENDPOINT     listen here for relays; may be given several times. On TCP all is in TLS
      --key FILE            secret of at least 32 bytes that relays must know, too; made by
                            (umask 077; head -c 32 /dev/urandom > FILE), readable by its owner alone
      --identity FILE       in a pod that kinject made, the keys of its session; instead of --key
      --files               give relays its environment and the files that it can read, too; in a pod
                            that kinject made it does so anyway
      --resolv-conf FILE    resolver configuration (default /etc/resolv.conf)
      --grace SECONDS       in a pod, end when no relay has spoken for so long (default 120)
      --listen-proxy ADDRESS:PORT
                            in a pod, listen here for the API server's proxy
      --listen-forward ADDRESS:PORT
                            in a pod, listen here for port-forward
      --version             print the version
  -h, --help                print this help
";

/// The command that was requested.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Options),
    Print(String),
}

#[derive(Debug)]
pub(crate) struct Options {
    /// The endpoints to listen on, by kind.
    pub(crate) listen: Vec<(ListenerKind, Endpoint)>,
    pub(crate) identity: Identity,
    pub(crate) resolv_conf: PathBuf,
    /// Whether it gives its environment and files away.
    pub(crate) files: bool,
    /// How long to run without a relay; `None` is without a limit.
    pub(crate) grace: Option<Duration>,
}

/// Where the agent's keys come from.
#[derive(Debug)]
pub(crate) enum Identity {
    /// A secret in this file, which relays read as well.
    Key(PathBuf),
    /// The keys of one session's agent in this file.
    Session(PathBuf),
}

/// Reads arguments, without the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command> {
    let (mut listen, mut key, mut session) = (Vec::new(), None, None);
    let mut resolv_conf = PathBuf::from("/etc/resolv.conf");
    let mut grace = Duration::from_secs(120);
    let mut files = false;

    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let text = argument
            .to_str()
            .ok_or_else(|| anyhow!("an argument is not readable text"))?;
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text, None),
        };
        match (name, &attached) {
            ("-h" | "--help", None) => return Ok(Command::Print(HELP.to_owned())),
            ("--version", None) => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Command::Print(format!(
                    "kinject-agent {version} (wire {WIRE_VERSION})\n"
                )));
            }
            ("--files", None) => {
                files = true;
                continue;
            }
            _ => {}
        }
        let known = [
            "--listen",
            "--listen-proxy",
            "--listen-forward",
            "--key",
            "--identity",
            "--resolv-conf",
            "--grace",
        ];
        if !known.contains(&name) {
            bail!("unknown argument `{text}`");
        }
        let value = attached
            .or_else(|| arguments.next())
            .ok_or_else(|| anyhow!("{name} needs a value after it"))?;
        let readable = || {
            value
                .to_str()
                .ok_or_else(|| anyhow!("the value of {name} is not readable text"))
        };
        match name {
            "--listen" => listen.push((ListenerKind::Direct, readable()?.parse()?)),
            "--listen-proxy" => listen.push((ListenerKind::Proxy, format!("tcp:{}", readable()?).parse()?)),
            "--listen-forward" => {
                listen.push((ListenerKind::PortForward, format!("tcp:{}", readable()?).parse()?))
            }
            "--key" => key = Some(PathBuf::from(value)),
            "--identity" => session = Some(PathBuf::from(value)),
            "--resolv-conf" => resolv_conf = PathBuf::from(value),
            _ => {
                let seconds = readable()?;
                let seconds = seconds
                    .parse()
                    .map_err(|_| anyhow!("`{seconds}` is not a number of seconds"))?;
                grace = Duration::from_secs(seconds);
            }
        }
    }

    if listen.is_empty() {
        bail!("it needs an endpoint to listen on");
    }
    let (identity, grace) = match (key, session) {
        (Some(_), Some(_)) => bail!("it takes --key FILE or --identity FILE, not both"),
        (Some(_), None) if listen.iter().any(|(kind, _)| matches!(kind, ListenerKind::Proxy)) => {
            bail!(
                "--listen-proxy and --key exclude each other: through the API server's proxy come relays of pods alone"
            );
        }
        (Some(key), None) => (Identity::Key(key), None),
        (None, Some(session)) => (Identity::Session(session), Some(grace)),
        (None, None) => bail!("it needs --key FILE, or --identity FILE in a pod"),
    };
    // whoever made the pod may read in it what its container can
    let files = files || matches!(identity, Identity::Session(_));
    Ok(Command::Serve(Options {
        listen,
        files,
        identity,
        resolv_conf,
        grace,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn options(line: &str) -> Options {
        match parsed(line).unwrap() {
            Command::Serve(options) => options,
            Command::Print(text) => panic!("printed {text}"),
        }
    }

    fn error_of(line: &str) -> String {
        parsed(line).unwrap_err().to_string()
    }

    #[test]
    fn agent_with_a_key_has_no_grace_period() {
        let options = options("--listen unix:/run/a --listen=tcp:127.0.0.1:7 --key k");
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.grace, None);
        assert!(!options.files);
        assert!(matches!(options.identity, Identity::Key(path) if path.as_os_str() == "k"));
        assert_eq!(options.resolv_conf, PathBuf::from("/etc/resolv.conf"));
    }

    #[test]
    fn agent_with_a_session_identity_has_a_grace_period() {
        let line =
            "--listen-forward 127.0.0.1:7 --listen-proxy 0.0.0.0:8 --identity i --grace 5 --resolv-conf /r";
        let options = options(line);
        assert_eq!(options.grace, Some(Duration::from_secs(5)));
        assert!(options.files);
        let [(ListenerKind::PortForward, forward), (ListenerKind::Proxy, proxy)] = options.listen.as_slice()
        else {
            panic!("{:?}", options.listen);
        };
        assert_eq!(
            (forward.to_string(), proxy.to_string()),
            ("tcp:127.0.0.1:7".into(), "tcp:0.0.0.0:8".into())
        );
        assert!(matches!(options.identity, Identity::Session(path) if path.as_os_str() == "i"));
        assert_eq!(options.resolv_conf, PathBuf::from("/r"));
    }

    #[test]
    fn missing_or_invalid_arguments_are_named_in_the_error() {
        assert_eq!(error_of("--key k"), "it needs an endpoint to listen on");
        assert!(error_of("--listen tcp:127.0.0.1:7").starts_with("it needs --key FILE"));
        assert_eq!(error_of("--listen"), "--listen needs a value after it");
        assert_eq!(error_of("serve"), "unknown argument `serve`");
        assert_eq!(error_of("--grace soon"), "`soon` is not a number of seconds");
        assert!(error_of("--listen /run/a --key k").contains("unix:PATH"));
        assert!(error_of("--listen-proxy 0.0.0.0:8 --key k").contains("exclude each other"));
        assert!(error_of("--listen tcp:127.0.0.1:7 --key k --identity i").ends_with("not both"));
    }

    #[test]
    fn help_and_version_are_printed() {
        assert!(matches!(parsed("--help").unwrap(), Command::Print(text) if text.contains("--listen")));
        assert!(
            matches!(parsed("--version").unwrap(), Command::Print(text) if text.contains(&format!("wire {WIRE_VERSION}")))
        );
    }
}
