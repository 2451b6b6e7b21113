//! resolv.conf(5) as glibc reads it.
//!
//! A line is a directive and its words; unknown ones are skipped. [`Directive`] parses one line, for callers that keep
//! the text, and [`ResolvConf`] the whole file.

use crate::PORT;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::SplitAsciiWhitespace;
use std::time::Duration;

/// glibc asks at most three name servers.
pub const MAX_SERVERS: usize = 3;

/// glibc's limit for `ndots`.
const MAX_NDOTS: usize = 15;

/// glibc's limits for `timeout`, in seconds, and for `attempts`; zero is raised to one.
const TIMEOUTS: (u32, u32) = (1, 30);
const ATTEMPTS: (u32, u32) = (1, 5);

/// One line of the file.
#[derive(Clone, Debug)]
pub enum Directive<'a> {
    /// `nameserver`; none if its address cannot be parsed.
    NameServer(Option<NameServer>),
    /// `search`, with its domains unchanged.
    Search(SplitAsciiWhitespace<'a>),
    /// `domain`, of whose words the first one is used.
    Domain(SplitAsciiWhitespace<'a>),
    /// `options`.
    Options(SplitAsciiWhitespace<'a>),
    /// A comment, or an unknown directive.
    Other,
}

/// The address of a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// The address.
    pub address: IpAddr,
    /// The interface that a link-local address names, by its name or number (RFC 4007, 11).
    pub zone: Option<String>,
}

/// The parsed file. Of a repeated directive other than `nameserver` the last one is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// All name servers that can be parsed, in order; [`Self::name_servers`] are those that are asked.
    pub servers: Vec<NameServer>,
    /// The domains to append, in order, in lower case and without a final dot.
    pub search: Vec<String>,
    /// A name with at least so many dots is first tried as given.
    pub ndots: usize,
    /// How long the first attempt waits for a server.
    pub timeout: Duration,
    /// How often the servers are asked.
    pub attempts: u32,
    /// Each question begins with another server.
    pub rotate: bool,
    /// Questions go over TCP alone.
    pub use_vc: bool,
}

impl<'a> Directive<'a> {
    /// Parses one line, with or without its newline.
    pub fn parse(line: &'a str) -> Self {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => Self::NameServer(words.next().and_then(NameServer::parse)),
            Some("search") => Self::Search(words),
            Some("domain") => Self::Domain(words),
            Some("options") => Self::Options(words),
            // a comment's first word begins with `#` or `;`
            _ => Self::Other,
        }
    }
}

impl NameServer {
    fn parse(word: &str) -> Option<Self> {
        if let Ok(address) = word.parse() {
            return Some(Self { address, zone: None });
        }
        let (address, zone) = word.split_once('%')?;
        Some(Self {
            address: IpAddr::V6(address.parse().ok()?),
            zone: Some(zone.to_owned()),
        })
    }

    fn socket_address(&self, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
        match (self.address, &self.zone) {
            (address, None) => Some(SocketAddr::new(address, PORT)),
            (IpAddr::V6(address), Some(zone)) => {
                Some(SocketAddrV6::new(address, PORT, 0, interface(zone)?).into())
            }
            (IpAddr::V4(_), Some(_)) => None,
        }
    }
}

impl Default for ResolvConf {
    /// The settings of an empty file.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_vc: false,
        }
    }
}

impl ResolvConf {
    /// Parses a file; unknown directives and options are skipped, as in libc.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            match Directive::parse(line) {
                Directive::NameServer(server) => conf.servers.extend(server),
                Directive::Search(words) => {
                    conf.search = words.map(domain).filter(|name| !name.is_empty()).collect();
                }
                Directive::Domain(words) => conf.search = words.take(1).map(domain).collect(),
                Directive::Options(words) => words.for_each(|option| conf.option(option)),
                Directive::Other => {}
            }
        }
        conf
    }

    /// The name servers that are asked: the first three, or the one on this host where the file names none.
    ///
    /// `interface` returns the index of an interface by its name or number. A link-local server of an unknown interface
    /// is skipped.
    pub fn name_servers(&self, interface: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
        let known = self
            .servers
            .iter()
            .filter_map(|server| server.socket_address(&interface));
        let mut servers: Vec<_> = known.take(MAX_SERVERS).collect();
        if servers.is_empty() {
            servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        servers
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            ("ndots", _) => self.ndots = value.parse().map_or(self.ndots, |ndots| MAX_NDOTS.min(ndots)),
            ("timeout", Some(seconds)) => {
                self.timeout = Duration::from_secs(seconds.clamp(TIMEOUTS.0, TIMEOUTS.1).into());
            }
            ("attempts", Some(attempts)) => self.attempts = attempts.clamp(ATTEMPTS.0, ATTEMPTS.1),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.use_vc = true,
            _ => {}
        }
    }
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_search_line_wins_and_ndots_has_glibcs_limit() {
        let conf = ResolvConf::parse("search a b\ndomain c.\noptions ndots:99 rotate\n");
        assert_eq!(
            conf,
            ResolvConf {
                search: vec!["c".into()],
                ndots: 15,
                rotate: true,
                ..ResolvConf::default()
            }
        );
        assert_eq!(
            ResolvConf::parse(""),
            ResolvConf {
                search: vec![],
                ndots: 1,
                servers: vec![],
                ..ResolvConf::default()
            }
        );
    }

    #[test]
    fn link_local_server_is_used_only_where_its_interface_is_known() {
        let conf = ResolvConf::parse(
            "nameserver fe80::1%eth0\nnameserver 1.1.1.1\nnameserver ::1\nnameserver 2.2.2.2\nnameserver 127.0.0.1%lo\n",
        );
        let known: Vec<_> = conf.name_servers(|zone| (zone == "eth0").then_some(7));
        let elsewhere: Vec<_> = conf.name_servers(|_| None);
        assert_eq!(
            known,
            ["[fe80::1%7]:53", "1.1.1.1:53", "[::1]:53"].map(|text| text.parse().unwrap())
        );
        assert_eq!(
            elsewhere,
            ["1.1.1.1:53", "[::1]:53", "2.2.2.2:53"].map(|text| text.parse().unwrap())
        );
    }

    #[test]
    fn comment_lines_are_ignored() {
        let text = "#search a\n; options ndots:3\n#nameserver 1.1.1.1\n  # nameserver 1.1.1.1\n";
        assert_eq!(ResolvConf::parse(text), ResolvConf::default());
    }

    proptest! {
        #[test]
        fn any_file_is_parsed_within_glibcs_limits(text in "((search|domain|nameserver|options)[ :%.a-z0-9]{0,40}\n?|.{0,20}\n){0,20}") {
            let conf = ResolvConf::parse(&text);
            prop_assert!(conf.ndots <= MAX_NDOTS && (1..=5).contains(&conf.attempts));
            prop_assert!((1..=MAX_SERVERS).contains(&conf.name_servers(|_| None).len()));
        }
    }
}
