//! The container's files for the session's programs: the shadow root, and what fills it.
//!
//! Mounts of config maps, secrets and their like are *mirrored*: all of them stands in the shadow root from the start,
//! and follows the container's. Other volumes, and files of the container's image, are *remote*: the relay puts a path
//! there when a program is about to use it ([`Files::fetch`]). A *scratch* mount is an empty folder for the programs.
//! Which is which the table of paths says, by which the preloaded library decides ([`kinject_protocol::paths`]).
//!
//! While there is no tunnel, mirrored files stay as they are, and remote ones wait.

mod contents;
mod fetch;
mod links;
mod mirror;
mod notices;
mod place;
mod receive;
mod remote;
mod shadow;
mod start;
#[cfg(test)]
mod tests;

use crate::log;
use crate::uplink::{ActiveTunnel, Uplink};
use crate::words;
use fetch::Fetches;
use kinject_protocol::folder::SessionLock;
use kinject_protocol::paths::{Kind, PathTable};
use kinject_protocol::session::Event;
use kinject_tunnel::RequestError;
use kinject_tunnel::files::{Snapshot, WatchEvent};
use kinject_tunnel::http2::Watch;
use mirror::{MIRRORED_BYTES, Mirror, bytes_of};
use notices::Notices;
use remote::Remote;
use rustix::io::Errno;
use shadow::Shadow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a change that could not be applied waits for another attempt.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The least pause between two snapshots, and between two watches.
const PAUSE: Duration = Duration::from_millis(10);

/// A mount of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its path, as the pod has it.
    pub(crate) path: Vec<u8>,
    /// What the shadow root has of it.
    pub(crate) kind: Kind,
}

/// The mounts of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts(pub(crate) Vec<Mount>);

/// The container's files, as the session's programs find them.
pub(crate) struct Files {
    uplink: Rc<Uplink>,
    notices: Notices,
    store: Arc<Store>,
    fetches: Fetches,
    contents: Arc<contents::Shared>,
    /// The paths that are mirrored, in the order of the store's mirrors.
    mirrored: Vec<Vec<u8>>,
    /// The tunnel and the watch of the session's start.
    begun: Cell<Option<(Rc<ActiveTunnel>, Watch)>>,
}

/// The shadow root and what stands in it. File systems block, so it is changed on threads of their own, one at a time.
struct Store {
    shadow: Shadow,
    /// The value of `KINJECT_PATHS`.
    table: Vec<u8>,
    held: Mutex<Held>,
    /// Whose turn it is: those that wait take no thread.
    turn: tokio::sync::Mutex<()>,
    /// Keeps other sessions from removing the folder around the shadow root.
    _in_use: Option<SessionLock>,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Whole,
    /// All mounts together would be too large.
    TooLarge,
}

/// The snapshots that could not be applied, by the number of the mount.
#[derive(Default)]
struct Unapplied {
    /// For lack of space: they are tried again every few seconds.
    failed: BTreeMap<usize, Arc<Snapshot>>,
    /// Those with which all mounts together were too large: they are tried again when another mount has changed.
    too_large: BTreeMap<usize, Arc<Snapshot>>,
}

impl Unapplied {
    /// Another snapshot of the mount has arrived.
    fn forget(&mut self, index: usize) {
        self.failed.remove(&index);
        self.too_large.remove(&index);
    }

    /// A mount has changed, and may be smaller.
    fn retry(&mut self) {
        self.failed.append(&mut self.too_large);
    }

    /// Keeps a snapshot, unless those that are kept already are as large as all that is mirrored.
    fn keep_too_large(&mut self, index: usize, snapshot: Arc<Snapshot>) {
        let kept: u64 = self.too_large.values().map(|kept| bytes_of(kept)).sum();
        if kept.saturating_add(bytes_of(&snapshot)) <= MIRRORED_BYTES {
            self.too_large.insert(index, snapshot);
        }
    }
}

struct Held {
    mirrors: Vec<Mirror>,
    remote: Remote,
}

impl Store {
    /// Changes the shadow root on a thread of its own.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Shadow, &PathTable<'_>, &mut Held) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        let _turn = self.turn.lock().await;
        let store = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || {
            let table = PathTable::parse(&store.table).ok_or(Errno::INVAL)?;
            let mut held = store.held.lock().unwrap_or_else(PoisonError::into_inner);
            change(&store.shadow, &table, &mut held)
        });
        changed.await.unwrap_or_else(|error| {
            log::warn!("cannot change the shadow root: {error}");
            Err(Errno::IO)
        })
    }

    /// Makes a mirrored mount have what a snapshot has.
    async fn apply(self: &Arc<Self>, index: usize, snapshot: Arc<Snapshot>) -> Result<Applied, Errno> {
        self.change(move |shadow, table, held| {
            let others = held
                .mirrors
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            let others: u64 = others.map(|(_, mirror)| mirror.bytes()).sum();
            if others.saturating_add(bytes_of(&snapshot)) > MIRRORED_BYTES {
                return Ok(Applied::TooLarge);
            }
            let mirror = held.mirrors.get_mut(index).ok_or(Errno::INVAL)?;
            mirror.apply(shadow, table, &snapshot).map(|()| Applied::Whole)
        })
        .await
    }
}

impl Files {
    /// Follows the mirrored mounts, through whichever tunnel there is.
    pub(crate) async fn follow(self: Rc<Self>) -> Infallible {
        if self.mirrored.is_empty() {
            return std::future::pending().await;
        }
        let mut begun = self.begun.take();
        loop {
            let (up, watch) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let Ok(up) = self.uplink.up().await else {
                        return std::future::pending().await;
                    };
                    match up.tunnel.watch(&self.mirrored).await {
                        Ok(watch) => (up, watch),
                        Err(error) => {
                            self.unwatched(&up, &error).await;
                            continue;
                        }
                    }
                }
            };
            let error = self.follow_watch(watch).await;
            self.unwatched(&up, &error).await;
        }
    }

    /// Waits until there may be another watch.
    async fn unwatched(&self, up: &Rc<ActiveTunnel>, error: &RequestError) {
        if *error == RequestError::TunnelLost {
            self.uplink.lost(up).await;
        } else {
            log::warn!("mounted files are not followed: {error}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Applies what a watch reports until it ends.
    async fn follow_watch(&self, mut watch: Watch) -> RequestError {
        let mut unapplied = Unapplied::default();
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = tokio::time::sleep(RETRY_PAUSE), if !unapplied.failed.is_empty() => {
                    for (index, snapshot) in std::mem::take(&mut unapplied.failed) {
                        self.apply(index, snapshot, &mut unapplied).await;
                    }
                    continue;
                }
            };
            let since = Instant::now();
            match event {
                Ok(WatchEvent {
                    watch,
                    snapshot: Ok(snapshot),
                }) => {
                    unapplied.forget(watch);
                    self.apply(watch, Arc::new(snapshot), &mut unapplied).await;
                }
                Ok(WatchEvent {
                    watch,
                    snapshot: Err(errno),
                }) => {
                    unapplied.forget(watch);
                    let mount = self.mirrored.get(watch);
                    match is_too_large(errno) {
                        true => self.notices.outgrown(mount).await,
                        false => self.notices.unreadable_mount(mount, errno).await,
                    }
                }
                Err(error) => return error,
            }
            // an agent that reports without end takes half of the relay's time at most
            tokio::time::sleep(since.elapsed().max(PAUSE)).await;
        }
    }

    async fn apply(&self, index: usize, snapshot: Arc<Snapshot>, unapplied: &mut Unapplied) {
        let mount = self.mirrored.get(index);
        match self.store.apply(index, Arc::clone(&snapshot)).await {
            Ok(Applied::Whole) => {
                unapplied.retry();
                let mount = kinject_escape::bytes(mount.map_or(b"", Vec::as_slice));
                log::debug!("{mount} is as in the container: {} files", snapshot.entries.len());
                self.notices.unreadable_files(&mount, &snapshot).await;
            }
            Ok(Applied::TooLarge) => {
                unapplied.keep_too_large(index, snapshot);
                self.notices.outgrown(mount).await;
            }
            Err(errno) => {
                unapplied.failed.insert(index, snapshot);
                self.notices.not_written(mount, errno).await;
            }
        }
    }
}

/// Whether an agent's errno for a mount says that no snapshot holds it.
fn is_too_large(errno: u16) -> bool {
    matches!(
        Errno::from_raw_os_error(errno.into()),
        Errno::FBIG | Errno::OVERFLOW
    )
}

/// The name of an errno and what it means, for messages.
fn errno_words(errno: Errno) -> String {
    words::os_error(errno.raw_os_error())
}

/// Sends a message to the user.
async fn send(events: &mpsc::Sender<Event>, event: Event) {
    // a launcher that is gone receives nothing
    let _launcher_gone = events.send(event).await.is_err();
}

#[cfg(test)]
mod unapplied_tests {
    use super::*;

    #[test]
    fn mount_that_is_too_large_beside_others_is_tried_again_when_another_has_changed() {
        let mut unapplied = Unapplied::default();
        for index in [1, 2] {
            let snapshot = Arc::new(Snapshot { entries: Vec::new() });
            unapplied.keep_too_large(index, snapshot);
        }
        assert!(unapplied.failed.is_empty(), "nothing has changed");
        unapplied.forget(2);
        unapplied.retry();
        assert_eq!(unapplied.failed.keys().collect::<Vec<_>>(), [&1]);
        assert!(unapplied.too_large.is_empty());
    }
}
