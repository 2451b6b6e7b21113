//! Compiles the programs of `c-tests` and runs them.

use crate::relay::Relay;
use kinject_protocol::control::{ControlAddress, Token};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;
use std::{env, thread};

/// Longer than any program takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The library with which programs are run: cargo's, or another build that has to pass the same tests.
pub(crate) fn library() -> PathBuf {
    env::var_os("KINJECT_TEST_LIBRARY").map_or_else(built_library, PathBuf::from)
}

/// The library as cargo built it for these tests.
pub(crate) fn built_library() -> PathBuf {
    let test = env::current_exe().expect("this program");
    test.parent().expect("a folder").join("libkinject_preload.so")
}

/// One of `c-tests`, compiled.
pub(crate) fn compiled(name: &str) -> PathBuf {
    compiled_with(name, &[])
}

/// The same with flags of the linker; they are part of its file's name.
pub(crate) fn compiled_with(name: &str, flags: &[&str]) -> PathBuf {
    static PROGRAMS: OnceLock<Mutex<HashMap<String, Arc<OnceLock<PathBuf>>>>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(Mutex::default);
    let entry = programs
        .lock()
        .expect("no panic holds it")
        .entry(format!("{name}{}", flags.concat()))
        .or_default()
        .clone();
    entry.get_or_init(|| compile(name, flags)).clone()
}

fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../c-tests")
        .join(name)
        .with_extension("c");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-tests");
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join(format!("{name}{}", flags.concat()));
    // another run of these tests may be running the existing one
    let fresh = folder.join(format!("{name}{}.{}", flags.concat(), std::process::id()));
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args([
            "-std=gnu11",
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-o",
        ])
        .args([&fresh, &source])
        .args(flags)
        .status()
        .expect("a C compiler");
    assert!(status.success(), "{name} does not compile");
    std::fs::rename(&fresh, &program).expect("it was just made");
    program
}

/// The token of all sessions here.
pub(crate) const TOKEN: &Token = b"0123456789abcdef0123456789abcdef";

/// The value of `KINJECT_CONTROL` for a relay of that abstract name; with an empty one the relay has a path alone.
pub(crate) fn control_address(name: &str, network: Option<u64>) -> String {
    let address = ControlAddress {
        name: name.as_bytes(),
        token: TOKEN,
        network,
    };
    String::from_utf8(address.to_bytes()).expect("digits and a name of ours")
}

/// A program to run; `env` and `args` as in [`Command`].
pub(crate) struct Program {
    command: Command,
}

impl Program {
    pub(crate) fn bare(name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(compiled(name));
        command.args(args).env_remove("LD_PRELOAD");
        Self { command }
    }

    /// In the session of a relay, compiled with these flags, and started by another program of the session.
    pub(crate) fn started(relay: &Relay, name: &str, flags: &[&str], args: &[&str]) -> Self {
        let mut program = Self::injected(relay, name, args);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\""]);
        command.arg(compiled_with(name, flags)).args(args);
        for (name, value) in program.command.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        program.command = command;
        program
    }

    /// In the session of a relay.
    pub(crate) fn injected(relay: &Relay, name: &str, args: &[&str]) -> Self {
        Self::with_socket(&relay.socket(), name, args).env("KINJECT_CONTROL", relay.control())
    }

    /// In a session whose relay has at most that abstract name, and no path.
    pub(crate) fn with_name(control: &str, name: &str, args: &[&str]) -> Self {
        Self::with_socket(Path::new("/nonexistent/control"), name, args).env("KINJECT_CONTROL", control)
    }

    /// In a session whose relay has at most this path.
    pub(crate) fn with_socket(socket: &Path, name: &str, args: &[&str]) -> Self {
        Self::bare(name, args)
            .env("LD_PRELOAD", library())
            .env("KINJECT_LIBRARY", library())
            .env("KINJECT_SOCKET", socket)
            .env("KINJECT_CONTROL", control_address("", None))
            .env("KINJECT_SESSION", "0123abcd")
            .env("KINJECT_TARGET", "context/namespace")
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it under another program, which gets these arguments before the program's own.
    pub(crate) fn under(self, wrapper: &str, args: &[&str]) -> Self {
        let mut command = Command::new(wrapper);
        command
            .args(args)
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command }
    }

    /// Without a network, for programs in which libc may ask a name server.
    pub(crate) fn offline(self) -> Self {
        if rustix::process::geteuid().is_root() {
            self.under("unshare", &["--net"])
        } else {
            self.under("unshare", &["--net", "--user", "--map-current-user"])
        }
    }

    /// Runs it to its end, which has to be exit status 0; returns its standard output.
    pub(crate) fn output(self) -> String {
        self.output_within(TIMEOUT)
    }

    /// The same with another timeout.
    pub(crate) fn output_within(mut self, timeout: Duration) -> String {
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program starts");
        let (send, receive) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reader = thread::spawn(move || {
            let errors = thread::spawn(move || read(stderr));
            let output = read(stdout);
            // the receiver is gone when the program took too long
            let _received = send.send(());
            (output, errors.join().expect("no panic"))
        });
        let is_late = receive.recv_timeout(timeout).is_err();
        if is_late {
            child.kill().expect("the program is still there");
        }
        let status = wait(&mut child);
        let (output, errors) = reader.join().expect("no panic");
        assert!(
            status == Some(0) && !is_late,
            "{:?}: status {status:?}{}\n{output}\n{errors}",
            self.command,
            if is_late {
                ", killed for taking too long"
            } else {
                ""
            },
        );
        output
    }
}

fn read(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    stream
        .expect("a pipe")
        .read_to_end(&mut bytes)
        .expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The exit code, or the negated number of the signal.
fn wait(child: &mut Child) -> Option<i32> {
    let status = child.wait().expect("a child");
    status.code().or(status.signal().map(|signal| -signal))
}

/// Runs a program in a session and returns its output.
pub(crate) fn run(relay: &Relay, name: &str, args: &[&str]) -> String {
    Program::injected(relay, name, args).output()
}
