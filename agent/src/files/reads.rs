//! Reads, each on a thread of its own: how many there are at a time.
//!
//! A read of a file system that does not answer goes on when no relay waits for it any more, and nothing ends it. So
//! those of one mount, and those for watches, take no more threads than their own share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::log::log;

/// Reads at once for questions about one mount. There is no limit for all mounts together, which a few that do not answer
/// would use up.
const MAX_READS_OF_MOUNT: usize = 6;

/// Reads at once for watches.
const MAX_READS_OF_WATCHES: usize = 4;

/// The permits to read.
pub(super) struct Reads {
    watches: Arc<Semaphore>,
    /// The permits of mounts that are being read, by their paths.
    mounts: Mutex<Vec<(Vec<u8>, Weak<Semaphore>)>>,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            watches: Arc::new(Semaphore::new(MAX_READS_OF_WATCHES)),
            mounts: Mutex::default(),
        }
    }
}

impl Reads {
    /// Reads for a watch.
    pub(super) async fn of_watch<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        // it is never closed
        let permit = Arc::clone(&self.watches).acquire_owned().await.ok()?;
        on_thread(permit, read).await
    }

    /// Reads below a mount.
    pub(super) async fn of_mount<T: Send + 'static>(
        &self,
        mount: &[u8],
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.share_of(mount).acquire_owned().await.ok()?;
        on_thread(permit, read).await
    }

    fn share_of(&self, mount: &[u8]) -> Arc<Semaphore> {
        let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        // a share lives as long as a read that has a permit of it, or waits for one
        mounts.retain(|(_, share)| share.strong_count() > 0);
        let known = mounts.iter().find(|(path, _)| path == mount);
        if let Some(share) = known.and_then(|(_, share)| share.upgrade()) {
            return share;
        }
        let share = Arc::new(Semaphore::new(MAX_READS_OF_MOUNT));
        mounts.push((mount.to_vec(), Arc::downgrade(&share)));
        share
    }
}

/// Runs on a thread of its own; none if it panicked, which the log says.
async fn on_thread<T: Send + 'static>(
    permit: impl Send + 'static,
    read: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let read = spawn_blocking(move || {
        // if the caller gives up, the thread goes on and keeps its permit
        let _permit = permit;
        read()
    });
    match read.await {
        Ok(read) => Some(read),
        Err(error) => {
            log(format_args!("a read failed: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// How long a read that nothing holds up may take.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Reads of a file system that does not answer until it is opened.
    #[derive(Default)]
    struct Stuck {
        is_open: Mutex<bool>,
        opened: Condvar,
        running: AtomicUsize,
        most: AtomicUsize,
    }

    impl Stuck {
        fn read(&self) {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            let is_open = self.is_open.lock().unwrap();
            drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
            self.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Opens it also when a test fails: the runtime waits for its threads.
    #[derive(Default)]
    struct OpenedAtEnd(Arc<Stuck>);

    impl OpenedAtEnd {
        fn open(&self) {
            *self.0.is_open.lock().unwrap() = true;
            self.0.opened.notify_all();
        }
    }

    impl Drop for OpenedAtEnd {
        fn drop(&mut self) {
            self.open();
        }
    }

    async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut future).poll(cx) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Begins as many reads of a mount as it may have, and abandons them.
    async fn abandon(reads: &Reads, stuck: &OpenedAtEnd, mount: &[u8]) {
        for _ in 0..MAX_READS_OF_MOUNT {
            let stuck = Arc::clone(&stuck.0);
            let mut abandoned = Box::pin(reads.of_mount(mount, move || stuck.read()));
            assert!(poll_once(abandoned.as_mut()).await.is_none());
        }
    }

    #[tokio::test]
    async fn abandoned_reads_keep_their_permits_until_their_threads_end() {
        let (reads, stuck) = (Reads::default(), OpenedAtEnd::default());
        abandon(&reads, &stuck, b"/data").await;
        let read = Arc::clone(&stuck.0);
        let mut further = Box::pin(reads.of_mount(b"/data", move || read.read()));
        assert!(poll_once(further.as_mut()).await.is_none());
        assert_eq!(reads.share_of(b"/data").available_permits(), 0);
        stuck.open();
        assert_eq!(further.await, Some(()));
        assert!(stuck.0.most.load(Ordering::SeqCst) <= MAX_READS_OF_MOUNT);
    }

    #[tokio::test]
    async fn mount_that_does_not_answer_holds_up_neither_other_mounts_nor_watches() {
        let (reads, stuck) = (Reads::default(), OpenedAtEnd::default());
        for hung in [b"/hung-1", b"/hung-2", b"/hung-3", b"/hung-4"] {
            abandon(&reads, &stuck, hung).await;
            let read = timeout(DEADLINE, reads.of_mount(b"/data", || 1));
            assert_eq!(read.await, Ok(Some(1)), "{}", hung.escape_ascii());
            let read = timeout(DEADLINE, reads.of_watch(|| 2));
            assert_eq!(read.await, Ok(Some(2)), "{}", hung.escape_ascii());
        }
    }
}
