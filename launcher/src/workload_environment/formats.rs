//! Environments as text for other programs.
//!
//! No two of these formats hold the same. A variable that one cannot hold is left out and named with the reason; none
//! is written so that its reader would get another value.

mod docker;
mod dotenv;
mod export;
mod json;
#[cfg(test)]
mod readers;

use super::Variables;
use super::names::shown;
use clap::ValueEnum;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// How an environment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A .env file.
    Dotenv,
    /// An object of strings.
    Json,
    /// Commands for a shell: `export NAME='VALUE'`.
    Export,
    /// A file for `docker run --env-file`.
    Docker,
    /// NAME=VALUE with a zero byte behind each, as `env -0` writes it.
    Null,
}

/// An environment in a format.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The text.
    pub(crate) text: Vec<u8>,
    format: Format,
    left_out: Vec<(OsString, Reason)>,
    ambiguous: Vec<OsString>,
}

/// The first line of a .env file that goes with its session.
pub(super) const HEADER: &str = "# Written by kinject, which removes this file when its session ends.\n";

/// Why a format cannot hold a variable.
type Reason = &'static str;

const NAME: Reason = "its name";
const NEWLINE: Reason = "a line break";
const NOT_UTF8: Reason = "bytes that are not UTF-8";

impl Format {
    /// Writes an environment.
    pub(crate) fn render(self, variables: &Variables) -> Rendered {
        let mut rendered = Rendered {
            text: Vec::new(),
            format: self,
            left_out: Vec::new(),
            ambiguous: Vec::new(),
        };
        match self {
            Self::Json => json::render(variables, &mut rendered),
            Self::Dotenv => rendered.extend(variables, |name, value| {
                dotenv::line(name, value).map(|(line, is_read_alike)| (line, !is_read_alike))
            }),
            Self::Export => rendered.extend(variables, |name, value| Ok((export::line(name, value)?, false))),
            Self::Docker => rendered.extend(variables, |name, value| Ok((docker::line(name, value)?, false))),
            Self::Null => rendered.extend(variables, |name, value| {
                Ok(([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat(), false))
            }),
        }
        rendered
    }

    /// Whether a file's content is what this format makes of some environment.
    pub(super) fn has_written(self, content: &[u8]) -> bool {
        match self {
            Self::Json => json::is_written_here(content),
            _ => content.starts_with(HEADER.as_bytes()),
        }
    }

    /// The format's name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Json => "json",
            Self::Export => "export",
            Self::Docker => "docker",
            Self::Null => "null",
        }
    }
}

impl Rendered {
    fn extend(
        &mut self,
        variables: &Variables,
        line: impl Fn(&OsStr, &OsStr) -> Result<(Vec<u8>, bool), Reason>,
    ) {
        for (name, value) in variables {
            match line(name, value) {
                Ok((line, is_ambiguous)) => {
                    self.text.extend(line);
                    if is_ambiguous {
                        self.ambiguous.push(name.clone());
                    }
                }
                Err(reason) => self.left_out.push((name.clone(), reason)),
            }
        }
    }

    /// What the format cannot hold, and what to do; none if it holds everything.
    pub(crate) fn incompleteness(&self) -> Option<(String, &'static str)> {
        if self.left_out.is_empty() {
            return None;
        }
        let names: Vec<String> = self
            .left_out
            .iter()
            .map(|(name, reason)| format!("{} ({reason})", shown(name)))
            .collect();
        Some((
            format!(
                "the format {} cannot hold all variables: {} left out",
                self.format.name(),
                names.join(", ")
            ),
            "leave them out with --env-exclude, or use `kinject env -o null`, which holds any",
        ))
    }

    /// What readers of the format disagree about, and what to do; none if they agree.
    pub(crate) fn ambiguity(&self) -> Option<(String, &'static str)> {
        if self.ambiguous.is_empty() {
            return None;
        }
        let names: Vec<String> = self.ambiguous.iter().map(|name| shown(name)).collect();
        Some((
            format!(
                "readers of .env files disagree about quotes, `$` and backslashes in the value of: {}",
                names.join(", ")
            ),
            "check how yours reads them, or use JSON (`kinject env -o json`, --env-json)",
        ))
    }
}

/// Whether a text is a name in the C locale's sense, or one of these bytes behind the first.
fn is_name(name: &OsStr, others: &[u8]) -> bool {
    let mut bytes = name.as_bytes().iter();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || others.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&[u8], &[u8])]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| {
                let text = |bytes| OsStr::from_bytes(bytes).to_owned();
                (text(name), text(value))
            })
            .collect()
    }

    #[test]
    fn variable_that_a_format_cannot_hold_is_left_out_and_named_with_the_reason() {
        let odd = variables(&[
            (b"MOTD", b"two\nlines"),
            (b"OK", b"plain"),
            (b"a b", b"x"),
            (b"RAW", b"\xff"),
        ]);
        for (format, text, named) in [
            (
                Format::Docker,
                "OK=plain\n",
                "MOTD (a line break), RAW (bytes that are not UTF-8), a b (its name) left out",
            ),
            (
                Format::Dotenv,
                "MOTD='two\nlines'\nOK=plain\n",
                "RAW (bytes that are not UTF-8), a b (its name) left out",
            ),
            (
                Format::Json,
                "{\n  \"MOTD\": \"two\\nlines\",\n  \"OK\": \"plain\",\n  \"a b\": \"x\"\n}\n",
                "RAW (bytes that are not UTF-8) left out",
            ),
        ] {
            let rendered = format.render(&odd);
            assert_eq!(String::from_utf8_lossy(&rendered.text), text);
            let (message, _) = rendered.incompleteness().expect("something is left out");
            assert!(message.ends_with(named), "{message}");
        }
        let rendered = Format::Export.render(&odd);
        assert_eq!(
            rendered.text,
            b"export MOTD='two\nlines'\nexport OK='plain'\nexport RAW='\xff'\n"
        );
        let rendered = Format::Null.render(&odd);
        assert_eq!(rendered.text, b"MOTD=two\nlines\0OK=plain\0RAW=\xff\0a b=x\0");
        assert_eq!(rendered.incompleteness(), None);
    }

    #[test]
    fn no_value_is_in_the_message_about_a_variable() {
        let rendered = Format::Docker.render(&variables(&[
            (b"KEY", b"secret\nhunter2"),
            (b"B", b"\xffhunter2"),
        ]));
        let (message, hint) = rendered.incompleteness().unwrap();
        assert!(!message.contains("hunter2") && !hint.contains("hunter2"));
        let rendered = Format::Dotenv.render(&variables(&[(b"KEY", b"${hunter2}")]));
        let (message, _) = rendered.ambiguity().unwrap();
        assert!(message.ends_with(": KEY"), "{message}");
    }
}
