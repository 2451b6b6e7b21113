//! Parses the command line.

mod usage_error;

use crate::cli::Cli;
use crate::exit::Failure;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};
use clap_lex::{ParsedArg, RawArgs};
use std::ffi::OsString;
use std::path::Path;
use usage_error::failure;

/// Parses the command line. Prints help or version where they were asked for, and returns none then.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Option<Cli>, Failure> {
    let mut root = Cli::command();
    root.build();
    let words = options_last(words.collect(), &root);
    match root.clone().try_get_matches_from(&words) {
        Ok(matches) => Cli::from_arg_matches(&matches)
            .map(Some)
            .map_err(|error| failure(&error, &words, &root)),
        Err(error) if is_help(error.kind()) => {
            error.print().map_err(|error| {
                Failure::own(
                    format!("cannot write the help: {error}"),
                    "check that the disk is not full and the pipe not closed",
                )
            })?;
            Ok(None)
        }
        Err(error) => Err(failure(&error, &words, &root)),
    }
}

fn is_help(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// Puts options that stand before the command behind it, where they are known: `kinject -n NAME run` is `kinject run -n
/// NAME`.
fn options_last(words: Vec<OsString>, root: &clap::Command) -> Vec<OsString> {
    let raw = RawArgs::new(words.iter());
    let mut cursor = raw.cursor();
    raw.next(&mut cursor);
    let mut options = 0;
    while let Some(next) = raw.peek(&cursor) {
        if next.is_escape() || is_roots_own(&next, root) {
            return words;
        }
        if !(next.is_long() || next.is_short()) {
            break;
        }
        if !is_known(&next, root) {
            return words;
        }
        raw.next(&mut cursor);
        options += 1;
        if takes_next_word(&next, root) && raw.next(&mut cursor).is_some() {
            options += 1;
        }
    }
    let mut words = words;
    // the program's own name, the options, the command
    if let Some(front) = words.get_mut(1..options + 2) {
        front.rotate_right(1);
    }
    words
}

/// Refuses a file whose name begins with `~`: a shell expands that only at the beginning of a word, so behind `=`, or
/// in quotes, it reaches kinject as it is.
pub(crate) fn check_home(files: &[(&'static str, &Path)]) -> Result<(), Failure> {
    for (option, file) in files {
        let Ok(rest) = file.strip_prefix("~") else {
            continue;
        };
        if !Path::new("~").exists() {
            let rest = Path::new("$HOME").join(rest);
            return Err(Failure::own(
                format!(
                    "{option} {}: the shell has not replaced ~",
                    kinject_escape::path(file)
                ),
                &format!(
                    "it does at the beginning of a word alone: write {}",
                    rest.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Help and version of kinject as a whole.
fn is_roots_own(word: &ParsedArg<'_>, root: &clap::Command) -> bool {
    root.get_arguments().any(|known| names(word, known))
}

fn names(word: &ParsedArg<'_>, known: &Arg) -> bool {
    let by_long = word
        .to_long()
        .and_then(|(name, _)| name.ok())
        .is_some_and(|name| known.get_long() == Some(name));
    let by_short = word
        .to_short()
        .and_then(|mut letters| letters.next_flag()?.ok())
        .is_some_and(|letter| known.get_short() == Some(letter));
    by_long || by_short
}

/// Whether a command has this option.
fn is_known(option: &ParsedArg<'_>, root: &clap::Command) -> bool {
    root.get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .any(|known| names(option, known))
}

/// Whether this option's value is the next word.
fn takes_next_word(option: &ParsedArg<'_>, root: &clap::Command) -> bool {
    let takes_value = |is_it: &dyn Fn(&Arg) -> bool| {
        root.get_subcommands()
            .flat_map(clap::Command::get_arguments)
            .find(|known| is_it(known))
            .is_some_and(|known| matches!(known.get_action(), ArgAction::Set | ArgAction::Append))
    };
    if let Some((name, value)) = option.to_long() {
        return value.is_none()
            && name.is_ok_and(|name| takes_value(&|known| known.get_long() == Some(name)));
    }
    let Some(mut letters) = option.to_short() else {
        return false;
    };
    while let Some(Ok(letter)) = letters.next_flag() {
        if takes_value(&|known| known.get_short() == Some(letter)) {
            return letters.next_value_os().is_none();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, SessionCommand};

    fn parsed(line: &str) -> Result<Cli, Failure> {
        let words = std::iter::once("kinject").chain(line.split_whitespace());
        parse(words.map(OsString::from)).map(|cli| cli.expect("it asks for more than help"))
    }

    #[test]
    fn options_before_the_subcommand_are_accepted() {
        for line in [
            "-n held run -q curl -n x",
            "-nheld -q run curl -n x",
            "--namespace held run -q curl -n x",
            "--namespace=held -q run curl -n x",
            "-qn held run -- curl -n x",
            "-n other run -qn held curl -n x",
        ] {
            let Command::Session(SessionCommand::Run { session, command }) = parsed(line).unwrap().command
            else {
                panic!("{line}: run is run")
            };
            assert_eq!(command, ["curl", "-n", "x"], "{line}");
            assert!(session.output.quiet, "{line}");
            let namespace = match session.connection.target().unwrap() {
                kinject_protocol::session::Target::Kubernetes(target) => target.namespace,
                other => panic!("{other:?}"),
            };
            assert_eq!(namespace.as_deref(), Some("held"), "{line}");
        }
        let traced = parsed("-o file trace curl").unwrap().command;
        assert!(matches!(
            traced,
            Command::Session(SessionCommand::Trace { output: Some(_), .. })
        ));
        assert!(matches!(
            parsed("version").unwrap().command,
            Command::Version { output: None }
        ));
    }

    #[test]
    fn unexpanded_tilde_in_a_path_is_an_error() {
        for (line, words) in [
            (
                "run --kubeconfig=~/x curl",
                "--kubeconfig ~/x: the shell has not replaced ~",
            ),
            (
                "shell --rules=~/x/y",
                "--rules ~/x/y: the shell has not replaced ~",
            ),
            (
                "trace --output=~/x curl",
                "--output ~/x: the shell has not replaced ~",
            ),
            (
                "shell --agent unix:~/x --agent-key k",
                "--agent ~/x: the shell has not replaced ~",
            ),
        ] {
            let Command::Session(command) = parsed(line).unwrap().command else {
                panic!("{line} is a session")
            };
            let failure = check_home(&command.files()).unwrap_err();
            assert_eq!(failure.error, words);
            assert!(failure.hint.unwrap().contains("write $HOME/x"));
        }
        let Command::Session(command) = parsed("run --kubeconfig x/~/y curl").unwrap().command else {
            panic!("run is run")
        };
        assert!(check_home(&command.files()).is_ok());
    }
}
