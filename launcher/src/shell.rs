//! The user's own interactive shell, with its own start-up files and a mark on its prompt.

use crate::exit::Failure;
use crate::program::Environment;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A POSIX shell's own prompt.
const PLAIN_PROMPT: &str = "$ ";

/// `$SHELL`, or what every system has.
pub(crate) fn of_user() -> PathBuf {
    std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .map_or_else(|| "/bin/sh".into(), PathBuf::from)
}

/// The command that starts it inside the session.
pub(crate) fn command(shell: &Path, folder: &Path, environment: &Environment) -> Result<Command, Failure> {
    let mark = mark(&environment.target);
    let mut command = Command::new(shell);
    match shell.file_name().and_then(|name| name.to_str()) {
        Some("bash") => {
            let file = write(&folder.join("bashrc"), &bash(&mark))?;
            command.arg("--rcfile").arg(file).arg("-i");
        }
        Some("zsh") => {
            let home = std::env::var_os("ZDOTDIR")
                .or_else(|| std::env::var_os("HOME"))
                .unwrap_or_default();
            let dot = folder.join("zsh");
            std::fs::create_dir(&dot).map_err(|error| cannot_write(&dot, &error))?;
            for name in [".zshenv", ".zprofile", ".zlogin"] {
                write(
                    &dot.join(name),
                    &format!("[[ -r \"$KINJECT_ZDOTDIR/{name}\" ]] && . \"$KINJECT_ZDOTDIR/{name}\"\n"),
                )?;
            }
            write(&dot.join(".zshrc"), &zsh(&mark))?;
            command.env("KINJECT_ZDOTDIR", home).env("ZDOTDIR", dot).arg("-i");
        }
        Some("fish") => {
            command.arg("--init-command").arg(fish(&mark)).arg("-i");
        }
        _ => {
            // a POSIX shell takes its prompt from the environment, unless a file of the user's sets it
            command.env("PS1", format!("{mark}{PLAIN_PROMPT}"));
            if std::io::stdin().is_terminal() {
                command.arg("-i");
            }
        }
    }
    Ok(command)
}

/// The mark before the prompt; it contains nothing that a shell interprets.
fn mark(target: &str) -> String {
    let plain: String = target
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_./:@".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("[kinject {plain}] ")
}

/// A prompt without this target's mark, if it has the mark; empty if this launcher made the whole prompt.
pub(crate) fn unmarked<'a>(prompt: &'a str, target: &str) -> Option<&'a str> {
    let plain = prompt.strip_prefix(&mark(target))?;
    Some(if plain == PLAIN_PROMPT { "" } else { plain })
}

/// Sources the user's bashrc as bash -i does, then sets the mark, again after a PROMPT_COMMAND that rebuilds the
/// prompt. A newline joins ours to the user's PROMPT_COMMAND, which may end in a semicolon.
fn bash(mark: &str) -> String {
    format!(
        "[ -r /etc/bash.bashrc ] && . /etc/bash.bashrc\n\
         [ -r ~/.bashrc ] && . ~/.bashrc\n\
         __kinject_prompt() {{ case $PS1 in '{mark}'*) ;; *) PS1='{mark}'$PS1 ;; esac; }}\n\
         PROMPT_COMMAND=\"${{PROMPT_COMMAND-}}\n__kinject_prompt\"\n"
    )
}

fn zsh(mark: &str) -> String {
    format!(
        "ZDOTDIR=$KINJECT_ZDOTDIR\n\
         [[ -r $ZDOTDIR/.zshrc ]] && . $ZDOTDIR/.zshrc\n\
         __kinject_prompt() {{ [[ $PROMPT == '{mark}'* ]] || PROMPT='{mark}'$PROMPT }}\n\
         autoload -Uz add-zsh-hook && add-zsh-hook precmd __kinject_prompt\n\
         unset KINJECT_ZDOTDIR\n"
    )
}

fn fish(mark: &str) -> String {
    format!(
        "functions -q fish_prompt; and functions -c fish_prompt __kinject_inner_prompt; \
         function fish_prompt; echo -n '{mark}'; functions -q __kinject_inner_prompt; and __kinject_inner_prompt; end"
    )
}

fn write(path: &Path, text: &str) -> Result<PathBuf, Failure> {
    std::fs::write(path, text).map_err(|error| cannot_write(path, &error))?;
    Ok(path.to_owned())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::own(
        format!("cannot write {}: {error}", kinject_escape::path(path)),
        "check that the disk is not full",
    )
}

/// A shell with job control takes the terminal for its own process group and may die with it.
pub(crate) fn take_terminal_back() {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return;
    }
    // SIGTTOU is watched and so does not stop a process that is in the background for this moment
    let own = rustix::process::getpgrp();
    let _kept = rustix::termios::tcsetpgrp(stdin.as_fd(), own).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_command_ending_in_a_semicolon_stays_valid() {
        let file = bash("[kinject c/n] ");
        let script =
            format!("PROMPT_COMMAND='true;'\nPS1='$ '\n{file}eval \"$PROMPT_COMMAND\"\nprintf %s \"$PS1\"");
        let output = Command::new("bash")
            .arg("--norc")
            .arg("-c")
            .arg(script)
            .env("HOME", "/nonexistent")
            .output();
        let output = output.unwrap();
        assert!(output.stdout.starts_with(b"[kinject c/n] "));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    #[test]
    fn shell_code_in_a_context_name_is_inert_in_the_prompt() {
        assert_eq!(mark("kind-dev/default"), "[kinject kind-dev/default] ");
        assert_eq!(mark("a';$(reboot)\\u"), "[kinject a____reboot__u] ");
    }

    #[test]
    fn prompt_outside_loses_only_the_session_mark() {
        assert_eq!(unmarked("[kinject c/n] $ ", "c/n"), Some(""));
        assert_eq!(unmarked("[kinject c/n] mine> ", "c/n"), Some("mine> "));
        assert_eq!(unmarked("[kinject c/other] mine> ", "c/n"), None);
        assert_eq!(unmarked("mine> ", "c/n"), None);
    }
}
