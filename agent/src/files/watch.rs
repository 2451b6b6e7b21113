//! Reports snapshots of paths, one at first and another after each change.
//!
//! A kubelet writes a config map or secret into a new folder and renames the link `..data` to it. That rename is an
//! event of the mount's own folder, so only this folder is watched. Where the kernel reports no changes that another one
//! makes, as in a virtual machine that shares a folder of its host, the folder's times are looked at.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::future::pending;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytes::Bytes;
use kinject_tunnel::files::WatchEvent;
use kinject_tunnel::http2::WatchSender;
use nix::errno::Errno;
use nix::sys::stat::stat;
use ring::digest;
use tokio::time::{Instant, sleep, timeout_at};

use super::inotify::Changes;
use super::snapshot::{self, Failed};
use super::{Files, Withheld};
use crate::log::log;

/// Changes that follow each other this closely are one.
const QUIET: Duration = Duration::from_millis(10);
/// How long a change may be held back for those that follow.
const MAX_QUIET: Duration = Duration::from_millis(100);
/// Attempts to read a path that changes meanwhile.
const ATTEMPTS: usize = 20;
/// How often paths are looked at whose changes the kernel does not report, and all others.
const UNREPORTED: Duration = Duration::from_secs(1);
const REPORTED: Duration = Duration::from_secs(10);

/// A watched path.
struct Watched {
    path: Vec<u8>,
    /// The stamp of what stood there.
    stamp: Option<[i64; 5]>,
    /// The digest of what was last sent.
    sent: Option<Vec<u8>>,
    /// Whether the kernel reports its changes.
    is_reported: bool,
}

/// Reports until the relay watches no longer.
pub(super) async fn run(files: &Files, mut sender: WatchSender, paths: Vec<Vec<u8>>) {
    let mut changes = Changes::new()
        .inspect_err(|error| log(format_args!("changes are looked for once a second: {error}")))
        .ok();
    let mut watched: Vec<Watched> = paths.into_iter().map(Watched::new).collect();
    let mut due: BTreeSet<usize> = (0..watched.len()).collect();
    loop {
        for (index, watched) in watched.iter_mut().enumerate() {
            if !due.contains(&index) {
                continue;
            }
            // before it is read: what changes after that is an event
            watched.is_reported = changes
                .as_mut()
                .is_some_and(|changes| changes.add(&watched.path, index).is_ok());
            watched.stamp = stamp(&watched.path);
            let Some((event, digest)) = read(files, &watched.path, index).await else {
                continue;
            };
            if watched.sent.as_ref() == Some(&digest) {
                continue;
            }
            if sender.send(event).await.is_err() {
                return;
            }
            watched.sent = Some(digest);
        }
        let pause = match watched.iter().all(|watched| watched.is_reported) {
            true => REPORTED,
            false => UNREPORTED,
        };
        due = tokio::select! {
            () = sender.cancelled() => return,
            due = reported(&mut changes) => due,
            () = sleep(pause) => restamped(&watched),
        };
    }
}

impl Watched {
    fn new(path: Vec<u8>) -> Self {
        Self {
            path,
            stamp: None,
            sent: None,
            is_reported: false,
        }
    }
}

/// The next reported changes, and those that follow at once. Cancel-safe: what is lost by cancelling it is found by the
/// stamps.
async fn reported(changes: &mut Option<Changes>) -> BTreeSet<usize> {
    let Some(queue) = changes else {
        return pending().await;
    };
    let mut due = match queue.next().await {
        Ok(due) => due,
        Err(error) => {
            log(format_args!("changes are looked for once a second: {error}"));
            *changes = None;
            return BTreeSet::new();
        }
    };
    let end = Instant::now() + MAX_QUIET;
    while let Ok(Ok(more)) = timeout_at(end.min(Instant::now() + QUIET), queue.next()).await {
        due.extend(more);
    }
    due
}

/// The paths whose stamps have changed.
fn restamped(watched: &[Watched]) -> BTreeSet<usize> {
    let changed = watched
        .iter()
        .enumerate()
        .filter(|(_, watched)| watched.stamp != stamp(&watched.path));
    changed.map(|(index, _)| index).collect()
}

fn stamp(path: &[u8]) -> Option<[i64; 5]> {
    stat(OsStr::from_bytes(path))
        .ok()
        .map(|found| snapshot::stamp(&found))
}

/// The encoded snapshot of a path, and its digest; none if the agent could not read at all.
async fn read(files: &Files, path: &[u8], index: usize) -> Option<(Bytes, Vec<u8>)> {
    let (path, withheld) = (path.to_vec(), files.withheld);
    let read = files.reads.of_watch(move || encoded(&path, withheld, index));
    read.await
}

fn encoded(path: &[u8], withheld: Withheld, index: usize) -> (Bytes, Vec<u8>) {
    let mut snapshot = Err(Errno::EAGAIN);
    for _ in 0..ATTEMPTS {
        match snapshot::take(path, withheld) {
            Ok(taken) => {
                snapshot = Ok(taken);
                break;
            }
            Err(Failed::Errno(errno)) => {
                snapshot = Err(errno);
                break;
            }
            Err(Failed::Changed) => std::thread::sleep(QUIET),
        }
    }
    let event = |snapshot: Result<_, Errno>| {
        WatchSender::encode(&WatchEvent {
            watch: index,
            snapshot: snapshot.map_err(|errno| errno as i32 as u16),
        })
    };
    let encoded = event(snapshot)
        .or_else(|| event(Err(Errno::EFBIG)))
        .unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, &encoded).as_ref().to_vec();
    (encoded, digest)
}
