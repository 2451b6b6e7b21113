//! Programs that outlive the command: they still run in the session when it ends, and lose the cluster.
//!
//! A background job of a script, or a daemon, keeps the library and asks a relay that is gone: its next network call
//! fails, when the user may not look any more. So kinject names them when the session ends: the processes of the
//! session that have mapped the library (proc_pid_maps(5)).

use kinject_protocol::membership::{has_mapped, is_in_session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a program may take to end with the command, as the background jobs of a shell do that get its SIGHUP.
const ENDING: Duration = Duration::from_millis(300);

/// How many programs are named.
const MAX_NAMED: usize = 5;

/// Processes with a session's environment that were there when its command had ended.
pub(crate) struct Survivors(Vec<Survivor>);

struct Survivor {
    pid: Pid,
    /// A pidfd, which is readable once the process has ended; the PID could be reused by then.
    handle: OwnedFd,
}

impl Survivors {
    /// Finds them: `control` is the session's `KINJECT_CONTROL`.
    pub(crate) fn find(control: &str) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let network = fs::read_link("/proc/self/ns/net").ok();
        // without proc(5) no process can be found
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let process = entry.path();
            let is_of_session = entry.metadata().ok()?.uid() == user
                && is_in_session(&process, control)
                // a process in another network namespace never had the cluster
                && fs::read_link(process.join("ns/net")).ok() == network;
            let handle = is_of_session
                .then(|| pidfd_open(pid, PidfdFlags::empty()))?
                .ok()?;
            Some(Survivor { pid, handle })
        });
        Self(found.collect())
    }

    /// A line for the user about those that do not end with the command, and what to do about it; none if there are
    /// none.
    pub(crate) fn report(mut self, library: &Path) -> Option<(String, &'static str)> {
        self.wait_for_a_moment();
        // a process that had just started has mapped the library by then
        self.0
            .retain(|survivor| has_mapped(&survivor.folder(), library) && !is_kinject(&survivor.folder()));
        let count = self.0.len();
        let (are, run, have) = match count {
            0 => return None,
            1 => ("program", "runs", "has"),
            _ => ("programs", "run", "have"),
        };
        let mut named: Vec<String> = self.0.iter().take(MAX_NAMED).map(Survivor::to_string).collect();
        if count > MAX_NAMED {
            named.push("...".to_owned());
        }
        let message = format!(
            "{count} {are} of the session still {run} and no longer {have} the cluster: {}",
            named.join(", ")
        );
        Some((
            message,
            "let the command wait for what it starts in the background, or start that by `kinject run`",
        ))
    }

    /// Drops those that end with the command.
    fn wait_for_a_moment(&mut self) {
        let deadline = Instant::now() + ENDING;
        while !self.0.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut has_ended = self.wait(left).into_iter();
            self.0.retain(|_| has_ended.next() != Some(true));
            if left.is_zero() {
                return;
            }
        }
    }

    /// Waits until one ends, and returns those that have.
    fn wait(&self, limit: Duration) -> Vec<bool> {
        let mut handles: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|survivor| PollFd::new(&survivor.handle, PollFlags::IN))
            .collect();
        let limit = Timespec {
            tv_sec: limit.as_secs() as _,
            tv_nsec: limit.subsec_nanos().into(),
        };
        // after a signal or a failure the next poll decides
        let _ready = poll(&mut handles, Some(&limit)).unwrap_or_default();
        handles
            .iter()
            .map(|handle| !handle.revents().is_empty())
            .collect()
    }
}

impl Survivor {
    fn folder(&self) -> PathBuf {
        format!("/proc/{}", self.pid.as_raw_nonzero()).into()
    }
}

impl std::fmt::Display for Survivor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a process that ends at this moment has no name
        let name = fs::read(self.folder().join("comm")).unwrap_or_default();
        let name = kinject_escape::bytes(name.trim_ascii_end());
        write!(f, "{name} (pid {})", self.pid.as_raw_nonzero())
    }
}

/// Whether it is a launcher or relay of a nested session, which does not use this one.
fn is_kinject(process: &Path) -> bool {
    let program = |process: &Path| fs::read_link(process.join("exe")).ok();
    let (Some(its), Some(ours)) = (program(process), program(Path::new("/proc/self"))) else {
        return false;
    };
    its == ours || its == ours.with_file_name("kinject-relay")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::environment;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    const CONTROL: &str = "0123456789abcdef0123456789abcdef:0000000000000001:kinject-survivors-test";

    fn sleeper(control: &str) -> Child {
        // it prints a line once it runs, and ends with its standard input
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read -r line"])
            .env(environment::CONTROL, control)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        child
    }

    /// Every program has mapped the dynamic linker.
    fn mapped() -> PathBuf {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut paths = maps
            .lines()
            .filter_map(|line| line.find('/').and_then(|start| line.get(start..)));
        paths.find(|path| path.contains("/ld-")).unwrap().into()
    }

    #[test]
    fn only_programs_of_the_session_are_listed_as_survivors() {
        let control = format!("{CONTROL}-{}-one", std::process::id());
        let (mut ours, mut other) = (sleeper(&control), sleeper(&format!("{control}-other")));
        let (message, _) = Survivors::find(&control).report(&mapped()).unwrap();
        assert!(
            message.starts_with("1 program of the session still runs and no longer has the cluster: "),
            "{message}"
        );
        assert!(message.ends_with(&format!(" (pid {})", ours.id())), "{message}");
        // a process without the library was never in the session
        let without = Survivors::find(&control).report(Path::new("/no/such/library"));
        assert!(without.is_none());
        for child in [&mut ours, &mut other] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert!(Survivors::find(&control).report(&mapped()).is_none());
    }

    #[test]
    fn program_that_ended_meanwhile_is_not_listed() {
        let control = format!("{CONTROL}-{}-two", std::process::id());
        let mut child = sleeper(&control);
        let found = Survivors::find(&control);
        assert_eq!(found.0.len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.report(&mapped()).is_none());
    }

    #[test]
    fn long_list_of_programs_is_shortened() {
        let control = format!("{CONTROL}-{}-three", std::process::id());
        let mut children: Vec<Child> = (0..MAX_NAMED + 2).map(|_| sleeper(&control)).collect();
        let (message, _) = Survivors::find(&control).report(&mapped()).unwrap();
        assert!(
            message.starts_with("7 programs of the session still run and no longer have the cluster: "),
            "{message}"
        );
        assert_eq!(message.matches("(pid ").count(), MAX_NAMED, "{message}");
        assert!(message.ends_with(", ..."), "{message}");
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
