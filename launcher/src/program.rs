//! The program to run: found before anything is made, and its environment.

use crate::cli::OnStatic;
use crate::exit::{Failure, Status};
use crate::uninjectable;
use crate::workload_environment::Variables;
use kinject_protocol::environment;
use kinject_protocol::executable::Runtime;
use kinject_protocol::session::Confidential;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders that execvp(3) looks into when PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Finds the program's file. One that does not exist or cannot be run is refused before a session is made for it.
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let candidates: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![PathBuf::from(program)]
    } else {
        std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .collect()
    };
    let mut found = None;
    for candidate in candidates {
        match verdict(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found = Some(error),
        }
    }
    Err(failure(
        program,
        &found.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
    ))
}

fn verdict(candidate: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(candidate)?;
    if metadata.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK)?;
    Ok(())
}

/// Says why a program did not start, with the status that a shell would give.
pub(crate) fn failure(program: &OsStr, error: &io::Error) -> Failure {
    let name = kinject_escape::bytes(program.as_bytes());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure {
            code: Status::NotFound,
            error: format!("{name}: command not found"),
            hint: Some(
                "check its spelling and that it is installed; for what the shell itself does (`cd`, `a | b`), use sh -c '...'"
                    .to_owned(),
            ),
        },
        io::ErrorKind::PermissionDenied => Failure {
            code: Status::CannotRun,
            error: format!("{name}: permission denied"),
            hint: Some(format!(
                "run `chmod +x {}` if it is a script",
                kinject_escape::word(&name)
            )),
        },
        _ => Failure {
            code: Status::CannotRun,
            error: format!("{name}: cannot be run: {error}"),
            hint: None,
        },
    }
}

/// What a session's programs find in their environment.
pub(crate) struct Environment {
    /// The path of the relay's control socket.
    pub(crate) socket: PathBuf,
    /// The relay's other address, and the session's token.
    pub(crate) control: Confidential,
    /// The library, as it can stand in LD_PRELOAD.
    pub(crate) library: PathBuf,
    /// The session's identifier.
    pub(crate) session: String,
    /// `CONTEXT/NAMESPACE`.
    pub(crate) target: String,
    /// What becomes of programs into which the session does not reach.
    pub(crate) on_static: OnStatic,
    /// What they find of a workload, and everything else.
    pub(crate) standing: Standing,
}

/// What programs find of the workload that they stand in for, if there is one, and of this machine.
pub(crate) struct Standing {
    /// The paths that are the workload's.
    pub(crate) paths: Option<OsString>,
    /// The host name that programs see in place of this machine's.
    pub(crate) hostname: Option<String>,
    /// Whether programs of the workload's files may be started.
    pub(crate) remote_exec: bool,
    /// The variables that other programs than the session's are told of.
    pub(crate) exported: Variables,
    /// A program's environment, kinject's own variables aside.
    pub(crate) program: Variables,
    /// kinject's own environment.
    pub(crate) machine: Variables,
}

impl Standing {
    /// The folder below which the paths of the workload stand: what the list of paths begins with.
    fn root(&self) -> Option<&OsStr> {
        let root = self
            .paths
            .as_ref()?
            .as_bytes()
            .split(|byte| *byte == b':')
            .next()?;
        Some(OsStr::from_bytes(root))
    }

    /// Changes an environment from this machine's to the program's. What the command sets already stays: a shell's
    /// start-up files are kinject's, for one.
    fn apply(&self, command: &mut Command) {
        let set_already: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        let is_free = |name: &OsString| !set_already.contains(name);
        for (name, value) in self.program.iter().filter(|(name, _)| is_free(name)) {
            if self.machine.get(name) != Some(value) {
                command.env(name, value);
            }
        }
        for name in self.machine.keys().filter(|name| is_free(name)) {
            if !self.program.contains_key(name) {
                command.env_remove(name);
            }
        }
        set_or_remove(command, environment::PATHS, self.paths.as_ref());
        set_or_remove(command, environment::ROOT, self.root());
        set_or_remove(command, environment::HOSTNAME, self.hostname.as_ref());
        set_or_remove(command, environment::REMOTE_EXEC, self.remote_exec.then_some("1"));
    }
}

/// Sets a variable; one without a value may be there from a session around this one.
fn set_or_remove(command: &mut Command, name: &str, value: Option<impl AsRef<OsStr>>) {
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
}

impl Environment {
    /// Puts a program into the session.
    pub(crate) fn apply(&self, command: &mut Command) {
        let program = find(command.get_program()).ok();
        let runtime = program.and_then(|program| uninjectable::runtime(&program));
        self.standing.apply(command);
        command
            .env(environment::SOCKET, &self.socket)
            .env(environment::CONTROL, &self.control.0)
            .env(environment::LIBRARY, &self.library)
            .env(environment::SESSION, &self.session)
            .env(environment::TARGET, &self.target)
            .env(
                environment::LD_PRELOAD,
                preload(
                    self.standing
                        .program
                        .get(OsStr::new(environment::LD_PRELOAD))
                        .cloned(),
                    runtime.as_ref(),
                    &self.library,
                ),
            );
        match self.on_static {
            OnStatic::Warn => command.env_remove(environment::ON_STATIC),
            OnStatic::Fail => command.env(environment::ON_STATIC, environment::FAIL),
            OnStatic::Ignore => command.env(environment::ON_STATIC, environment::IGNORE),
        };
    }
}

/// Appends the library to what is preloaded already: an allocator that has to be first stays first. A sanitizer's
/// runtime stands directly before it and is followed by a space, by which the library recognizes it.
fn preload(present: Option<OsString>, runtime: Option<&Runtime>, library: &Path) -> OsString {
    let mut list = present.unwrap_or_default();
    let is_missing = |runtime: &&Runtime| {
        let mut names = list.as_bytes().split(|byte| matches!(byte, b':' | b' '));
        !names.any(|name| name == runtime.name())
    };
    let runtime = runtime.filter(is_missing);
    if !list.is_empty() {
        list.push(":");
    }
    if let Some(runtime) = runtime {
        list.push(OsStr::from_bytes(runtime.name()));
        list.push(" ");
    }
    list.push(library);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn already_preloaded_library_stays_first() {
        let library = Path::new("/lib/k.so");
        assert_eq!(preload(None, None, library), "/lib/k.so");
        assert_eq!(preload(Some("".into()), None, library), "/lib/k.so");
        assert_eq!(
            preload(Some("libjemalloc.so".into()), None, library),
            "libjemalloc.so:/lib/k.so"
        );
    }

    fn environment_of(standing: &Standing, command: &mut Command) -> Vec<(String, Option<String>)> {
        standing.apply(command);
        let text = |text: &OsStr| text.to_str().unwrap().to_owned();
        let envs = command.get_envs();
        envs.map(|(name, value)| (text(name), value.map(text))).collect()
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn program_gets_the_workloads_variables_paths_root_and_hostname() {
        let standing = Standing {
            paths: Some("/run/root:m/etc/config".into()),
            hostname: Some("web-0".into()),
            remote_exec: true,
            exported: Variables::new(),
            program: variables(&[("A", "there"), ("SAME", "x"), ("ZDOTDIR", "/there")]),
            machine: variables(&[("A", "here"), ("SAME", "x"), ("GONE", "y")]),
        };
        let mut command = Command::new("true");
        command.env("ZDOTDIR", "/of/kinject");
        let found = environment_of(&standing, &mut command);
        for (name, value) in [
            ("A", Some("there")),
            ("GONE", None),
            ("ZDOTDIR", Some("/of/kinject")),
            ("KINJECT_PATHS", Some("/run/root:m/etc/config")),
            ("KINJECT_ROOT", Some("/run/root")),
            ("KINJECT_HOSTNAME", Some("web-0")),
            ("KINJECT_REMOTE_EXEC", Some("1")),
        ] {
            assert!(
                found.contains(&(name.to_owned(), value.map(str::to_owned))),
                "{name}: {found:?}"
            );
        }
        assert!(!found.iter().any(|(name, _)| name == "SAME"));
    }

    #[test]
    fn session_without_workload_removes_the_variables_of_one_around_it() {
        let standing = Standing {
            paths: None,
            hostname: None,
            remote_exec: false,
            exported: Variables::new(),
            program: variables(&[("A", "x")]),
            machine: variables(&[("A", "x")]),
        };
        let found = environment_of(&standing, &mut Command::new("true"));
        let names: Vec<&str> = found
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "KINJECT_HOSTNAME",
                "KINJECT_PATHS",
                "KINJECT_REMOTE_EXEC",
                "KINJECT_ROOT"
            ]
        );
        assert_eq!(found.len(), names.len());
    }

    #[test]
    fn missing_program_exits_127_and_unrunnable_program_126() {
        assert_eq!(
            find(OsStr::new("no-such-program-here")).unwrap_err().code,
            Status::NotFound
        );
        assert_eq!(
            find(OsStr::new("/etc/passwd")).unwrap_err().code,
            Status::CannotRun
        );
        assert_eq!(find(OsStr::new("/etc")).unwrap_err().code, Status::CannotRun);
        assert_eq!(
            find(OsStr::new("/etc/passwd/x")).unwrap_err().code,
            Status::NotFound
        );
        assert!(find(OsStr::new("sh")).is_ok());
    }
}
