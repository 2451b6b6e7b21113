//! Processes as `/proc` shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// All processes that there are.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// The name of a process.
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The file that a process executes, as `readlink` shows it.
pub fn executable(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// The network namespace of a process, as `readlink` shows it.
pub fn network(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The state of a process: `R`, `S`, `T` and so on (proc(5)).
pub fn state(pid: u32) -> Option<char> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit_once(") ")?.1.chars().next()
}

/// Kills processes of which none is to learn of another's end: all are stopped first.
pub fn kill_at_once(processes: &[u32]) {
    for signal in [Signal::STOP, Signal::KILL] {
        for process in processes {
            let pid = i32::try_from(*process).ok().and_then(Pid::from_raw);
            let sent = kill_process(pid.expect("a process has a positive number"), signal);
            sent.unwrap_or_else(|error| panic!("cannot send a signal to process {process}: {error}"));
        }
    }
}

/// What a process has open, as `readlink` shows it.
pub fn descriptors(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let entries = entries.unwrap_or_else(|error| panic!("cannot look into process {pid}: {error}"));
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect()
}

/// How many sockets a process has open.
pub fn sockets(pid: u32) -> usize {
    descriptors(pid).iter().filter(|link| is_socket(link)).count()
}

/// The memory of a process that is in use, in bytes.
pub fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap_or_else(|error| panic!("cannot look at process {pid}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.expect("a living process has memory") * 1024
}

fn is_socket(link: &Path) -> bool {
    link.to_str().is_some_and(|link| link.starts_with("socket:"))
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let of_threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = of_threads.into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let parse = |list: String| {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<_>>()
    };
    lists.flat_map(parse).collect()
}

/// How long ago a process was started.
pub fn age(pid: u32) -> Duration {
    let started = fs::metadata(format!("/proc/{pid}")).and_then(|entry| entry.modified());
    started
        .ok()
        .and_then(|started| started.elapsed().ok())
        .unwrap_or_default()
}
