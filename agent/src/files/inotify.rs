//! Changes of watched paths, from the kernel (inotify(7)).

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

/// Whatever changes what a snapshot has.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// The watches of one request.
pub(super) struct Changes {
    queue: Inotify,
    /// The same queue, for the runtime.
    readable: AsyncFd<OwnedFd>,
    /// Which of the request's paths, by the kernel's number of the watch.
    paths: HashMap<WatchDescriptor, BTreeSet<usize>>,
}

impl Changes {
    /// Without any watch. It fails where the user has no instance left: they are few for all containers of a node.
    pub(super) fn new() -> io::Result<Self> {
        let queue = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readable = queue.as_fd().try_clone_to_owned()?;
        // SAFETY: the registered value owns the descriptor, so that it is open for as long as it is registered
        let readable = unsafe { AsyncFd::register(readable) }?;
        Ok(Self {
            queue,
            readable,
            paths: HashMap::new(),
        })
    }

    /// Watches a path, unless it is watched.
    pub(super) fn add(&mut self, path: &[u8], index: usize) -> Result<(), Errno> {
        let watch = self.queue.add_watch(OsStr::from_bytes(path), CHANGES)?;
        for indices in self.paths.values_mut() {
            indices.remove(&index);
        }
        self.paths.entry(watch).or_default().insert(index);
        Ok(())
    }

    /// Waits for changes; all paths if the kernel has lost some. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<BTreeSet<usize>> {
        loop {
            let mut ready = self.readable.readable().await?;
            let events = match self.queue.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let mut changed = BTreeSet::new();
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    changed.extend(self.paths.values().flatten());
                }
                changed.extend(self.paths.get(&event.wd).into_iter().flatten());
            }
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }
}
