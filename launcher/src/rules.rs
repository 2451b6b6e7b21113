//! `--local`, `--remote` and `--rules`: one list, in the order in which they stand on the command line.

use crate::exit::Failure;
use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches, value_parser};
use kinject_protocol::rules::{Egress, Rule, parse_file};
use std::path::{Path, PathBuf};

const HINT: &str = "a pattern is an address, a network, a host name, *.suffix or *, with :PORT behind it if it is for one port alone";

/// What the flags give, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleOptions(Vec<Source>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Pattern(Egress, String),
    File(PathBuf),
}

impl RuleOptions {
    /// The files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Pattern(..) => None,
        })
    }

    /// Reads the rules, files included; an error names the location of an invalid rule.
    pub(crate) fn read(&self) -> Result<Vec<Rule>, Failure> {
        let mut rules = Vec::new();
        for source in &self.0 {
            match source {
                Source::Pattern(egress, pattern) => {
                    let rule = Rule::new(*egress, pattern, None).map_err(|error| {
                        Failure::own(format!("--{} `{pattern}`: {error}", egress.word()), HINT)
                    })?;
                    rules.push(rule);
                }
                Source::File(path) => {
                    let name = kinject_escape::path(path);
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        Failure::own(
                            format!("cannot read the rules in {name}: {error}"),
                            "each line is `local PATTERN` or `remote PATTERN`",
                        )
                    })?;
                    let more = parse_file(&name, &text).map_err(|error| {
                        Failure::own(format!("{}: {}", error.location, error.reason), HINT)
                    })?;
                    rules.extend(more);
                }
            }
        }
        Ok(rules)
    }
}

impl clap::Args for RuleOptions {
    fn augment_args(command: Command) -> Command {
        let pattern = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("PATTERN")
                .action(ArgAction::Append)
                .help(help)
        };
        command
            .arg(pattern(
                "local",
                "Reach what matches over this machine's own network: an address, a CIDR, a host name, *.suffix or *, with \
                 :PORT if for one port alone; of all rules the first that matches counts",
            ))
            .arg(pattern(
                "remote",
                "Reach what matches through the cluster; a host name is looked up there alone",
            ))
            .arg(
                Arg::new("rules")
                    .long("rules")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .action(ArgAction::Append)
                    .help("Read such rules from a file, a line each: `local PATTERN` or `remote PATTERN`"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RuleOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut sources = Vec::new();
        for (name, egress) in [("local", Egress::Local), ("remote", Egress::Remote)] {
            let patterns = matches.get_many::<String>(name).into_iter().flatten().cloned();
            let indices = matches.indices_of(name).into_iter().flatten();
            sources.extend(indices.zip(patterns.map(|pattern| Source::Pattern(egress, pattern))));
        }
        let files = matches
            .get_many::<PathBuf>("rules")
            .into_iter()
            .flatten()
            .cloned();
        let indices = matches.indices_of("rules").into_iter().flatten();
        sources.extend(indices.zip(files.map(Source::File)));
        sources.sort_by_key(|(index, _)| *index);
        Ok(Self(sources.into_iter().map(|(_, source)| source).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;

    fn options(arguments: &[&str]) -> RuleOptions {
        let command = RuleOptions::augment_args(Command::new("kinject"));
        let matches = command
            .try_get_matches_from([&["kinject"], arguments].concat())
            .unwrap();
        RuleOptions::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn rules_keep_the_order_of_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules");
        std::fs::write(&file, "remote c\n").unwrap();
        let flags = [
            "--remote",
            "a",
            "--local=b",
            "--rules",
            file.to_str().unwrap(),
            "--remote",
            "d",
            "--local",
            "e:1",
        ];
        let rules = options(&flags).read().unwrap();
        let shown: Vec<String> = rules
            .iter()
            .map(|rule| format!("{} {}", rule.egress.word(), rule.pattern))
            .collect();
        assert_eq!(
            shown,
            ["remote a", "local b", "remote c", "remote d", "local e:1"]
        );
        assert_eq!(options(&[]).read().unwrap(), []);
    }

    #[test]
    fn invalid_rule_is_reported_with_its_location() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules");
        std::fs::write(&file, "local a\n\nremote a*b\n").unwrap();
        let error = |arguments: &[&str]| options(arguments).read().unwrap_err().error;
        assert_eq!(
            error(&["--local", "10.0.0.0/40"]),
            "--local `10.0.0.0/40`: a prefix of IPv4 has at most 32 bits"
        );
        let name = file.to_str().unwrap();
        assert!(error(&["--rules", name]).starts_with(&format!("{name}:3: `a*b`: a star stands for")));
        assert!(error(&["--rules", "/nonexistent"]).starts_with("cannot read the rules in /nonexistent: "));
    }
}
