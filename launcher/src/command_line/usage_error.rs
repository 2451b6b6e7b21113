//! clap's errors in the form of kinject's own: what is wrong, and what to write instead.

use crate::exit::Failure;
use clap::Arg;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use kinject_escape::{bytes, word};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The failure that an error of clap's is.
pub(super) fn failure(error: &clap::Error, words: &[OsString], root: &clap::Command) -> Failure {
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

/// Whether this is how the option is written, without a value.
fn is_spelt(text: &str, known: &Arg) -> bool {
    let long = text
        .strip_prefix("--")
        .filter(|name| known.get_long() == Some(name));
    let short = text.strip_prefix('-').and_then(|rest| rest.chars().next());
    long.is_some() || (!text.starts_with("--") && short.is_some() && short == known.get_short())
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
    use crate::command_line::parse;
    use crate::exit::Failure;
    use std::ffi::OsString;

    fn error_of(line: &str) -> String {
        let words = std::iter::once("kinject").chain(line.split_whitespace());
        let Failure { error, hint, .. } = parse(words.map(OsString::from)).expect_err("it makes no sense");
        format!("{error}; hint: {}", hint.expect("there is one"))
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
            "run --workload x curl",
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
                "--workload x run curl",
                "unknown option `--workload`; hint: `kinject --help` lists the commands",
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
                "run --workload x curl",
                "unknown option `--workload`; hint: `kinject run --help` lists its options",
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
                "run --agent unix:/a --agent-key k -t web curl",
                "--agent ENDPOINT and --target TYPE/NAME exclude each other; hint: leave one of them out",
            ),
            (
                "run -t web --deployment web curl",
                "--target TYPE/NAME and --deployment NAME[:CONTAINER] exclude each other; hint: leave one of them out",
            ),
            (
                "run -t web --env A=b curl",
                "invalid value `A=b` for --env; hint: choose one of: none, workload",
            ),
            (
                "env -t web -o yaml",
                "invalid value `yaml` for --output; hint: choose one of: dotenv, json, export, docker, null",
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
