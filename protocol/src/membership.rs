//! Which processes are in a session.
//!
//! There is no list of them, but each was started with the session's address in its environment, and
//! proc_pid_environ(5) shows it as long as the process does not overwrite that memory. A process that cannot be
//! inspected, as with `hidepid` or of another user, counts as outside.

use crate::environment;
use std::fs;
use std::io::Read;
use std::path::Path;

/// The most of an environment that is read: more than the kernel takes at an exec by default is not the session's.
const MAX_ENVIRONMENT: u64 = 8 << 20;

/// Whether the process with this folder in proc(5) began in the session with this `KINJECT_CONTROL`, and was not
/// started to be outside of it.
pub fn is_in_session(process: &Path, control: &str) -> bool {
    session_of(process) == Session::Of(control.as_bytes().to_vec())
}

/// The same, or it has the library and does not say of which session it is: programs that show a title of their own
/// (setproctitle(3)) write it over their environment.
pub fn may_be_in_session(process: &Path, control: &str, library: &Path) -> bool {
    match session_of(process) {
        Session::Of(its) => its == control.as_bytes(),
        Session::Unknown => has_mapped(process, library),
        Session::Left => false,
    }
}

/// Whether a file of the library's name is mapped there (proc_pid_maps(5)). In another root directory its path may be
/// another one.
pub fn has_mapped(process: &Path, library: &Path) -> bool {
    let (Ok(maps), Some(name)) = (fs::read(process.join("maps")), library.file_name()) else {
        return false;
    };
    let name = name.as_encoded_bytes();
    maps.split(|byte| *byte == b'\n').any(|line| line.ends_with(name))
}

/// What a process's environment says of its session.
#[derive(PartialEq, Eq)]
enum Session {
    /// This is its `KINJECT_CONTROL`.
    Of(Vec<u8>),
    /// It was started to be outside.
    Left,
    /// Nothing.
    Unknown,
}

fn session_of(process: &Path) -> Session {
    let mut environment = Vec::new();
    // one that cannot be read says nothing; a zombie's is empty
    let _read = fs::File::open(process.join("environ"))
        .and_then(|file| file.take(MAX_ENVIRONMENT).read_to_end(&mut environment));
    let value = |name: &str| {
        let mut entries = environment.split(|byte| *byte == 0);
        entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    match (value(environment::SOCKET), value(environment::CONTROL)) {
        (Some(b""), _) => Session::Left,
        (_, Some(control)) => Session::Of(control.to_vec()),
        (_, None) => Session::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const ADDRESS: (&str, &str) = ("KINJECT_CONTROL", "a:b:c");

    fn is_of_session(variables: &[(&str, &str)]) -> bool {
        holds_for_child(variables, |process| is_in_session(process, "a:b:c"))
    }

    /// Where every program has mapped the library, which the dynamic linker is here.
    fn may_be_of_session(variables: &[(&str, &str)], library: &str) -> bool {
        holds_for_child(variables, |process| {
            may_be_in_session(process, "a:b:c", Path::new(library))
        })
    }

    fn holds_for_child(variables: &[(&str, &str)], condition: impl FnOnce(&Path) -> bool) -> bool {
        // it has an environment, for others to see, by the time that it says something
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read -r line"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        let found = condition(Path::new(&format!("/proc/{}", child.id())));
        drop(child.stdin.take());
        child.wait().unwrap();
        found
    }

    #[test]
    fn process_belongs_to_the_session_of_its_initial_environment() {
        assert!(is_of_session(&[("KINJECT_CONTROL", "a:b:c")]));
        assert!(is_of_session(&[
            ("KINJECT_CONTROL", "a:b:c"),
            ("KINJECT_SOCKET", "/s")
        ]));
        assert!(!is_of_session(&[("KINJECT_CONTROL", "a:b:cd")]));
        assert!(!is_of_session(&[("OTHER", "KINJECT_CONTROL=a:b:c")]));
        assert!(!is_of_session(&[]));
        // `kinject outside`
        assert!(!is_of_session(&[
            ("KINJECT_CONTROL", "a:b:c"),
            ("KINJECT_SOCKET", "")
        ]));
        assert!(!is_in_session(Path::new("/proc/no-such-process"), "a:b:c"));
    }

    #[test]
    fn process_with_overwritten_environment_is_found_by_its_library() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut words = maps.split_whitespace();
        let linker = words.find(|word| word.contains("/ld-")).unwrap();
        assert!(may_be_of_session(&[], linker));
        assert!(!may_be_of_session(&[], "/no/such/library"));
        assert!(may_be_of_session(&[ADDRESS], "/no/such/library"));
        assert!(!may_be_of_session(&[("KINJECT_CONTROL", "another")], linker));
        assert!(!may_be_of_session(&[ADDRESS, ("KINJECT_SOCKET", "")], linker));
    }
}
