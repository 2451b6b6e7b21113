//! Running other programs, with errors that quote their output, and waiting for conditions.

use std::io::{self, ErrorKind, Write};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

pub(crate) use kinject_test_support::waiting::wait_for;

/// Runs a command to its end and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_start(command, error))?;
    stdout_of(command, output)
}

/// Runs a command that reads `input`, and returns its standard output.
pub(crate) fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, error))?;
    let mut stdin = child.stdin.take().context("the child has no standard input")?;
    match stdin.write_all(input) {
        // A child that closes its input early reports why on its standard error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        _ => drop(stdin),
    }
    stdout_of(command, child.wait_with_output()?)
}

/// Runs a command whose output is for the user to see, and fails when it does.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| cannot_start(command, error))?;
    if !status.success() {
        bail!("`{}` failed with {status}", line(command));
    }
    Ok(())
}

fn stdout_of(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed with {}: {}",
            line(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cannot_start(command: &Command, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!(
        "cannot start `{}`",
        command.get_program().to_string_lossy()
    ))
}

/// A command as one would type it, for messages.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn failed_command_is_reported_with_its_output() {
        let error = output(Command::new("sh").args(["-c", "echo too bad >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.ends_with("too bad"),
            "{error}"
        );
    }

    #[test]
    fn missing_program_is_named() {
        let error = output(&mut Command::new("/no/such/program"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot start `/no/such/program`");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(
            output_with_input(&mut Command::new("cat"), b"words").unwrap(),
            "words"
        );
    }

    #[test]
    fn timed_out_condition_is_named() {
        let never = wait_for("the moon", Duration::ZERO, || Ok(None::<()>));
        assert_eq!(never.unwrap_err().to_string(), "the moon: not within 0 s");
    }
}
