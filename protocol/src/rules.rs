//! Routing rules: which targets go through the cluster and which over this machine's own network.
//!
//! A session has one list of them, in the order of the command line, and the first that matches counts. A pattern is
//! an address, a network, a host name or `*.suffix`, or `*` for everything; each may be followed by a port.

mod pattern;

pub use pattern::{Pattern, PatternError};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The network that a target is reached over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// Through the cluster.
    Remote,
    /// Over this machine's own network.
    Local,
}

impl Egress {
    /// The word for it in rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local => "local",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Where its targets are routed.
    pub egress: Egress,
    /// Which targets these are.
    pub pattern: Pattern,
    /// The file and line that it stands in; none on the command line.
    pub location: Option<String>,
}

impl Rule {
    /// The rule for a pattern.
    pub fn new(egress: Egress, pattern: &str, location: Option<String>) -> Result<Self, PatternError> {
        let pattern: Pattern = pattern.parse()?;
        // the library never asks about those
        if egress == Egress::Remote && pattern.is_loopback() {
            return Err(PatternError::Loopback);
        }
        Ok(Self {
            egress,
            pattern,
            location,
        })
    }

    /// Whether it says where this name is looked up: a rule for one port says nothing of names.
    pub fn covers_name(&self, name: &str) -> bool {
        self.pattern.port().is_none() && self.pattern.covers_name(name)
    }

    /// Whether it says how this address is reached, which was learnt for this name, at this port if there is one.
    pub fn covers(&self, address: IpAddr, name: Option<&str>, port: Option<u16>) -> bool {
        let has_port = match (self.pattern.port(), port) {
            (None, _) => true,
            (Some(only), Some(port)) => only == port,
            (Some(_), None) => false,
        };
        has_port
            && (self.pattern.covers_address(address)
                || name.is_some_and(|name| self.pattern.covers_name(name)))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(formatter, "{location} {} {}", self.egress.word(), self.pattern),
            None => write!(formatter, "--{} {}", self.egress.word(), self.pattern),
        }
    }
}

/// Why a file of rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// `FILE:LINE`.
    pub location: String,
    /// What is wrong with the line.
    pub reason: String,
}

/// Reads the rules of a file: `local PATTERN` or `remote PATTERN` in each line; what follows a `#` is a comment.
pub fn parse_file(name: &str, text: &str) -> Result<Vec<Rule>, LineError> {
    let mut rules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let location = format!("{name}:{}", index + 1);
        let wrong = |reason: &str| LineError {
            location: location.clone(),
            reason: reason.to_owned(),
        };
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let egress = match words.next() {
            None => continue,
            Some("local") => Egress::Local,
            Some("remote") => Egress::Remote,
            Some(other) => return Err(wrong(&format!("`{other}` is neither local nor remote"))),
        };
        let (Some(pattern), None) = (words.next(), words.next()) else {
            return Err(wrong("one pattern belongs behind local or remote"));
        };
        let rule = Rule::new(egress, pattern, Some(location.clone()));
        rules.push(rule.map_err(|error| wrong(&format!("`{pattern}`: {error}")))?);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_file_holds_rules_and_comments() {
        let rules = parse_file(
            "r",
            "# mine\n\nlocal 10.0.0.0/8 # office\n\tremote  *.example.com:443\r\n",
        )
        .unwrap();
        let shown: Vec<String> = rules.iter().map(Rule::to_string).collect();
        assert_eq!(shown, ["r:3 local 10.0.0.0/8", "r:4 remote *.example.com:443"]);
        assert_eq!(parse_file("r", ""), Ok(Vec::new()));
    }

    #[test]
    fn invalid_rule_line_is_reported_with_its_location() {
        for (text, location, reason) in [
            ("local a\nallow b", "r:2", "`allow` is neither local nor remote"),
            ("local", "r:1", "one pattern belongs behind local or remote"),
            (
                "\n\nlocal a b",
                "r:3",
                "one pattern belongs behind local or remote",
            ),
            (
                "remote 10.0.0.0/33",
                "r:1",
                "`10.0.0.0/33`: a prefix of IPv4 has at most 32 bits",
            ),
            (
                "remote localhost",
                "r:1",
                "`localhost`: loopback is always this machine's",
            ),
        ] {
            let error = parse_file("r", text).unwrap_err();
            assert_eq!(
                (error.location.as_str(), error.reason.as_str()),
                (location, reason)
            );
        }
    }

    #[test]
    fn port_rule_matches_only_connections_to_that_port() {
        let rule = Rule::new(Egress::Local, "db.example.com:5432", None).unwrap();
        let address = "203.0.113.10".parse().unwrap();
        assert!(rule.covers(address, Some("DB.example.com."), Some(5432)));
        assert!(!rule.covers(address, Some("db.example.com"), Some(80)));
        assert!(!rule.covers(address, None, Some(5432)));
        assert!(!rule.covers_name("db.example.com"));
        assert_eq!(rule.to_string(), "--local db.example.com:5432");
        let rule = Rule::new(Egress::Remote, "203.0.113.0/24", None).unwrap();
        assert!(rule.covers(address, None, None) && !rule.covers_name("db.example.com"));
    }

    #[test]
    fn rules_round_trip_through_json() {
        for pattern in [
            "*",
            "*:80",
            "10.0.0.0/8",
            "[fd00::/8]:53",
            "fd00::1",
            "web",
            "*.test:1",
        ] {
            let rule = Rule::new(Egress::Local, pattern, None).unwrap();
            let text = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
        }
    }
}
