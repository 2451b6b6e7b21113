//! `cargo xtask demo`: a first session with kinject, in a sandbox that needs neither Kubernetes nor root.
//!
//! [`story`] holds the commands and the expected output, [`terminal`] runs them on a pseudo terminal, [`sandbox`] is
//! what they connect to, [`page`] formats the output. The demo shows the commands and their output unchanged; a step
//! with other output makes the exit status 1, so that CI can run the demo, too.

mod page;
mod sandbox;
mod story;
mod terminal;

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use self::page::Page;
use self::sandbox::Sandbox;
use self::story::Programs;
use self::terminal::Terminal;
use crate::{cargo, hint, process, workspace};

/// A first session with kinject, in a sandbox: no Kubernetes, no root
///
/// Builds kinject, starts its real agent with sample services in a user and network namespace of their own, and runs
/// programs of this machine against them. It shows each command line and what came back.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Open your own shell inside the sandbox's cluster instead, to try things out
    #[arg(long)]
    shell: bool,

    /// Build without optimisation, which takes less time where tests have built the same already
    #[arg(long)]
    debug: bool,
}

/// Variables that would send a program's HTTP requests somewhere else.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Set inside of a session.
const SESSION: &str = "KINJECT_SOCKET";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if env::var_os(SESSION).is_some() {
        return Err(hint::error(
            "this shell is inside a session of kinject already",
            "leave it with `exit` first",
        ));
    }
    let mut page = Page::new();
    page.title("kinject: a first session");
    page.prose("Building kinject, its agent and the sandbox. The first time this takes a few minutes.");
    let programs = match args.debug {
        true => cargo::build_programs(),
        false => build_release(),
    };
    let programs = programs.map_err(|error| {
        hint::error(
            format!("kinject cannot be built: {error:#}"),
            "a C compiler is needed besides Rust; on Debian: apt-get install build-essential",
        )
    })?;
    let sandbox = Sandbox::start(&programs)?;
    let flags = format!(
        "--agent unix:{} --agent-key {}",
        sandbox.socket.display(),
        sandbox.key.display()
    );
    if args.shell {
        return shell(&mut page, &sandbox, &programs, &flags);
    }
    tell(&mut page, &sandbox, &programs, &flags)
}

/// Builds the release of what a session needs and returns the folder with the programs.
fn build_release() -> Result<PathBuf> {
    let mut cargo = cargo::command();
    cargo.args(["build", "--release"]);
    for package in [
        "kinject",
        "kinject-relay",
        "kinject-preload",
        "kinject-agent",
        "kinject-sandbox",
    ] {
        cargo.args(["--package", package]);
    }
    process::visible(&mut cargo)?;
    Ok(workspace::target().join("release"))
}

/// Runs every step and compares its output with the expected one.
fn tell(page: &mut Page, sandbox: &Sandbox, folder: &Path, flags: &str) -> Result<ExitCode> {
    let quiet = format!("-q {flags}");
    let mut terminal = Terminal::new();
    terminal.set("PATH", &path_with(folder)?);
    terminal.set("SANDBOX", &quiet);
    let mut preparation = vec![format!("export PATH={}:$PATH", quoted(folder))];
    let proxies: Vec<_> = PROXIES
        .into_iter()
        .filter(|name| env::var_os(name).is_some())
        .collect();
    if !proxies.is_empty() {
        preparation.push(format!("unset {}", proxies.join(" ")));
        proxies.iter().for_each(|name| terminal.unset(name));
    }

    page.prose(story::OPENING);
    preparation.iter().for_each(|line| page.command(line));

    let mut differences = Vec::new();
    for chapter in story::chapters(&Programs::found(), flags, &quiet) {
        page.heading(chapter.title);
        for step in chapter.steps {
            page.prose(step.why);
            page.command(&step.line);
            if step.is_setting {
                continue;
            }
            let captured = terminal.run(&step.line)?;
            page.output(&captured.text, captured.status);
            if let Some(difference) = step.expected.difference(&captured) {
                page.complaint(&difference);
                differences.push((step.line, difference));
            }
        }
    }
    if differences.is_empty() {
        page.heading("On your own cluster");
        page.prose(story::ENDING);
        let lines = story::own_cluster(&quoted(folder));
        lines.iter().for_each(|line| page.command(line));
        page.prose(story::MORE);
        return Ok(ExitCode::SUCCESS);
    }
    page.heading("Not everything came out as it should");
    for (line, difference) in &differences {
        page.command(line);
        page.complaint(difference);
    }
    page.prose("What the sandbox and its agent said meanwhile:");
    page.output(&sandbox.log()?, Some(0));
    Ok(ExitCode::FAILURE)
}

/// The user's own shell in a session.
fn shell(page: &mut Page, sandbox: &Sandbox, folder: &Path, flags: &str) -> Result<ExitCode> {
    page.prose(story::SHELL);
    page.names(&sandbox.names);
    page.command(&format!("kinject shell {flags}"));
    let status = Command::new(folder.join("kinject"))
        .arg("shell")
        .args(flags.split(' '))
        .env("PATH", path_with(folder)?)
        .status()
        .context("cannot start kinject")?;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// PATH with the built programs first.
fn path_with(folder: &Path) -> Result<String> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&rest));
    let path = env::join_paths(folders).map_err(|error| {
        hint::error(
            format!("the folder {} cannot stand in PATH: {error}", folder.display()),
            "clone the repository to a folder without a colon in its name",
        )
    })?;
    path.into_string()
        .ok()
        .context("PATH holds something that is not UTF-8")
}

/// A path as one types it in a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_quoted_only_where_a_shell_would_split_it() {
        assert_eq!(quoted(Path::new("/home/me/kinject")), "/home/me/kinject");
        assert_eq!(quoted(Path::new("/home/my code")), "'/home/my code'");
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
