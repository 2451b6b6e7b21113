//! Parses the command line, and puts clap's errors into the form of kinject's own.

use crate::cli::Cli;
use crate::exit::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};
use clap_lex::{ParsedArg, RawArgs};
use kinject_escape::{bytes, word};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// Whether this is how the option is written, without a value.
fn is_spelt(text: &str, known: &Arg) -> bool {
    let long = text
        .strip_prefix("--")
        .filter(|name| known.get_long() == Some(name));
    let short = text.strip_prefix('-').and_then(|rest| rest.chars().next());
    long.is_some() || (!text.starts_with("--") && short.is_some() && short == known.get_short())
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

/// Puts clap's error into words of the form that all errors have.
fn failure(error: &clap::Error, words: &[OsString], root: &clap::Command) -> Failure {
    let context = |kind| error.get(kind).map(spelt).unwrap_or_default();
    let (argument, value) = (
        context(ContextKind::InvalidArg),
        context(ContextKind::InvalidValue),
    );
    let (path, command) = deepest(words, root);
    let help = match command {
        Some(command) if command.has_subcommands() => format!("`kinject {path} --help` lists its commands"),
        Some(_) => format!("`kinject {path} --help` lists its options"),
        None => "`kinject --help` lists the commands".to_owned(),
    };
    let no_command = || {
        (
            "no command given".to_owned(),
            "run a program with `kinject run -- PROGRAM`; `kinject --help` lists the commands".to_owned(),
        )
    };
    let (message, hint) = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => match command {
            Some(_) => (format!("`kinject {path}` needs a command"), help),
            None => no_command(),
        },
        ErrorKind::InvalidSubcommand if let Some(command) = command => {
            let given = context(ContextKind::InvalidSubcommand);
            let hint = match nearest(&given, command.get_subcommands().map(clap::Command::get_name)) {
                Some(meant) => format!("try `kinject {path} {meant}`"),
                None => help,
            };
            (format!("unknown command `{path} {given}`"), hint)
        }
        ErrorKind::InvalidSubcommand => {
            let given = context(ContextKind::InvalidSubcommand);
            let known = root.get_subcommands().map(clap::Command::get_name);
            let hint = match nearest(&given, known) {
                Some(suggestion) => format!("try `kinject {suggestion}`"),
                None => format!("run a program with `kinject run -- {}`; {help}", word(&given)),
            };
            (format!("unknown command `{given}`"), hint)
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let given = argument.split('=').next().unwrap_or_default();
            // without a command it may be an option of any of them
            let commands: Vec<&clap::Command> = match command {
                Some(command) => vec![command],
                None => root.get_subcommands().collect(),
            };
            let arguments: Vec<&Arg> = commands
                .into_iter()
                .flat_map(clap::Command::get_arguments)
                .collect();
            if command.is_none() && arguments.iter().any(|known| is_spelt(given, known)) {
                let (message, hint) = no_command();
                return Failure::own(message, &hint);
            }
            let known: Vec<String> = arguments
                .iter()
                .filter_map(|known| Some(format!("--{}", known.get_long()?)))
                .collect();
            let hint = match nearest(given, known.iter().map(String::as_str)) {
                Some(suggestion) => format!("try `{suggestion}`"),
                None => help,
            };
            (format!("unknown option `{given}`"), hint)
        }
        ErrorKind::UnknownArgument => (format!("unexpected argument `{argument}`"), help),
        ErrorKind::InvalidValue if value.is_empty() => {
            (format!("{argument} needs a value"), choice(error).unwrap_or(help))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => (
            format!("invalid value `{value}` for {}", source(&argument, &value, words)),
            choice(error).unwrap_or(help),
        ),
        ErrorKind::MissingRequiredArgument if argument.starts_with("COMMAND") => (
            "no program given".to_owned(),
            format!(
                "run one with `kinject {} -- PROGRAM`",
                command.map_or("run", clap::Command::get_name)
            ),
        ),
        ErrorKind::MissingRequiredArgument if !argument.starts_with('-') => {
            (format!("{argument} is missing"), help)
        }
        ErrorKind::MissingRequiredArgument => (
            format!("an option given here needs {argument}, too"),
            help.replace("lists its options", "tells what it is"),
        ),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            (
                format!("{argument} and {other} exclude each other"),
                "leave one of them out".to_owned(),
            )
        }
        ErrorKind::TooManyValues => (format!("{argument} takes no value"), help),
        ErrorKind::InvalidUtf8 => (
            "a word of the command line, or a variable that stands for one, is not UTF-8".to_owned(),
            help,
        ),
        _ => (first_line(error), help),
    };
    Failure::own(message, &hint)
}

/// The command that the words name, `agent image save` for one, with its name; none where the first names none.
fn deepest<'a>(words: &[OsString], root: &'a clap::Command) -> (String, Option<&'a clap::Command>) {
    let mut names = Vec::new();
    let mut found = None;
    for word in words.iter().skip(1) {
        let Some(command) = found.unwrap_or(root).find_subcommand(word) else {
            break;
        };
        names.push(command.get_name());
        found = Some(command);
    }
    (names.join(" "), found)
}

/// What the error's words are about, as docs/reference.md writes it.
fn spelt(value: &ContextValue) -> String {
    let plain = |text: &str| text.replace(['<', '>'], "").replace("...", "");
    match value {
        ContextValue::String(text) => plain(text),
        ContextValue::Strings(texts) => texts
            .iter()
            .map(|text| plain(text))
            .collect::<Vec<_>>()
            .join(" and "),
        other => other.to_string(),
    }
}

/// The values that the option has.
fn choice(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::ValidValue)? {
        ContextValue::Strings(values) if !values.is_empty() => {
            Some(format!("choose one of: {}", values.join(", ")))
        }
        _ => None,
    }
}

/// The source of the value: the option, or its environment variable.
fn source(argument: &str, value: &str, words: &[OsString]) -> String {
    const VARIABLE: &str = "KINJECT_LOG";
    let option = argument.split(' ').next().unwrap_or_default();
    let is_given = words
        .iter()
        .any(|word| bytes(word.as_bytes()).starts_with(option));
    if !is_given && option == "--log" && std::env::var(VARIABLE).is_ok_and(|set| set == value) {
        return VARIABLE.to_owned();
    }
    option.to_owned()
}

/// The closest candidate, if it differs by one or two letters and by less than half of them.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |name: &str| name.trim_start_matches('-').chars().count();
    let slips = |name: &str| strsim::damerau_levenshtein(given, name);
    known
        .filter(|name| slips(name) <= (letters(name) / 3).min(2))
        .min_by_key(|name| slips(name))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, SessionCommand};

    fn parsed(line: &str) -> Result<Cli, Failure> {
        let words = std::iter::once("kinject").chain(line.split_whitespace());
        parse(words.map(OsString::from)).map(|cli| cli.expect("it asks for more than help"))
    }

    fn error_of(line: &str) -> String {
        let Failure { error, hint, .. } = parsed(line).expect_err("it makes no sense");
        format!("{error}; hint: {}", hint.expect("there is one"))
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
            assert!(session.quiet, "{line}");
            let namespace = match session.target().unwrap() {
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

    #[test]
    fn typo_gets_a_suggestion_and_unrelated_word_gets_none() {
        for (line, suggestion) in [
            ("rnu curl", "`kinject run`"),
            ("shel", "`kinject shell`"),
            ("tarce curl", "`kinject trace`"),
            ("-n held rnu curl", "`kinject run`"),
            ("run --namspace x curl", "`--namespace`"),
            ("run --kube-config=x curl", "`--kubeconfig`"),
            ("run --verbsoe curl", "`--verbose`"),
        ] {
            assert!(
                error_of(line).ends_with(&format!("; hint: try {suggestion}")),
                "{}",
                error_of(line)
            );
        }
        for line in [
            "curl http://web/",
            "run --target x curl",
            "run --ns x curl",
            "run -x curl",
            "shell --port 1",
        ] {
            assert!(!error_of(line).contains("try `"), "{}", error_of(line));
        }
    }

    #[test]
    fn every_error_names_what_is_wrong_and_what_to_do() {
        for (line, words) in [
            (
                "",
                "no command given; hint: run a program with `kinject run -- PROGRAM`; `kinject --help` lists the commands",
            ),
            (
                "-n held",
                "no command given; hint: run a program with `kinject run -- PROGRAM`; `kinject --help` lists the commands",
            ),
            (
                "--target x run curl",
                "unknown option `--target`; hint: `kinject --help` lists the commands",
            ),
            (
                "--namspace x run curl",
                "unknown option `--namspace`; hint: try `--namespace`",
            ),
            (
                "curl http://web/",
                "unknown command `curl`; hint: run a program with `kinject run -- curl`; `kinject --help` lists the commands",
            ),
            (
                "run --target x curl",
                "unknown option `--target`; hint: `kinject run --help` lists its options",
            ),
            (
                "-n held outside curl",
                "unknown option `-n`; hint: `kinject outside --help` lists its options",
            ),
            (
                "shell curl",
                "unexpected argument `curl`; hint: `kinject shell --help` lists its options",
            ),
            (
                "run",
                "no program given; hint: run one with `kinject run -- PROGRAM`",
            ),
            (
                "outside",
                "no program given; hint: run one with `kinject outside -- PROGRAM`",
            ),
            (
                "completion",
                "SHELL is missing; hint: `kinject completion --help` lists its options",
            ),
            (
                "agent",
                "`kinject agent` needs a command; hint: `kinject agent --help` lists its commands",
            ),
            (
                "agent image svae x",
                "unknown command `agent image svae`; hint: try `kinject agent image save`",
            ),
            (
                "agent image save",
                "FILE is missing; hint: `kinject agent image save --help` lists its options",
            ),
            (
                "agent image push --plain-htp x",
                "unknown option `--plain-htp`; hint: try `--plain-http`",
            ),
            (
                "completion csh",
                "invalid value `csh` for SHELL; hint: choose one of: bash, zsh, fish",
            ),
            (
                "run --tls never curl",
                "invalid value `never` for --tls; hint: choose one of: auto, always",
            ),
            (
                "run --namespace",
                "--namespace NAMESPACE needs a value; hint: `kinject run --help` lists its options",
            ),
            (
                "run --quiet=yes curl",
                "--quiet takes no value; hint: `kinject run --help` lists its options",
            ),
            (
                "run -q -v curl",
                "--quiet and --verbose exclude each other; hint: leave one of them out",
            ),
            (
                "run --agent unix:/a curl",
                "an option given here needs --agent-key FILE, too; hint: `kinject run --help` tells what it is",
            ),
            (
                "run --agent unix:/a --agent-key k --context c curl",
                "--agent ENDPOINT and --context CONTEXT exclude each other; hint: leave one of them out",
            ),
        ] {
            assert_eq!(error_of(line), words, "{line}");
        }
    }
}
