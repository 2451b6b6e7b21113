//! Which processes are of a session.
//!
//! Nobody keeps a list of them, but each began with the session's address in its environment (proc_pid_environ(5)). What cannot be
//! seen, as with `hidepid` or in another user's processes, counts as none of them.

use crate::environment;
use std::fs;
use std::io::Read;
use std::path::Path;

/// The most of an environment that is read: more than the kernel takes at an exec by default is not the session's.
const MOST_ENVIRONMENT: u64 = 8 << 20;

/// Whether the process with this folder in proc(5) began in the session with this `KINJECT_CONTROL`, and was not started to
/// be outside of it.
pub fn is_in_session(process: &Path, control: &str) -> bool {
    let mut environment = Vec::new();
    let read = fs::File::open(process.join("environ"))
        .and_then(|file| file.take(MOST_ENVIRONMENT).read_to_end(&mut environment));
    let address = [environment::CONTROL, "=", control].concat();
    let departure = [environment::SOCKET, "="].concat();
    let has = |wanted: &str| {
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    };
    // a zombie's is empty
    read.is_ok() && has(&address) && !has(&departure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn is_of_session(variables: &[(&str, &str)]) -> bool {
        // it has an environment, for others to see, by the time that it says something
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read -r line"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        let found = is_in_session(Path::new(&format!("/proc/{}", child.id())), "a:b:c");
        drop(child.stdin.take());
        child.wait().unwrap();
        found
    }

    #[test]
    fn a_process_is_of_the_session_whose_address_it_began_with() {
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
}
