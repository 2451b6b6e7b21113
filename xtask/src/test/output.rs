//! Shows the output of other programs as it comes.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

/// Writes to standard output.
pub(crate) fn show(text: &[u8]) {
    let mut out = io::stdout().lock();
    // the reader has closed the pipe; the exit status still tells the result
    let _unread = out.write_all(text).and_then(|()| out.flush()).is_err();
}

/// A command whose output is shown line by line, each behind a prefix.
pub(crate) struct Named {
    child: Child,
    reader: JoinHandle<()>,
}

impl Named {
    /// Starts the command.
    pub(crate) fn start(name: &str, mut command: Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?;
        // it holds this process's copies of the pipe's other end
        drop(command);
        let name = name.to_owned();
        let reader = thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line);
                show(format!("{name} | {}\n", text.trim_end()).as_bytes());
                line.clear();
            }
        });
        Ok(Self { child, reader })
    }

    /// Waits until it has ended and all its output is shown.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        if self.reader.join().is_err() {
            return Err(io::Error::other("the reader of its output panicked"));
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_command_keeps_its_exit_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo words; exit 3"]);
        let status = Named::start("shell", command).unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(3));
    }
}
