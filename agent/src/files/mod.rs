//! The container's files and the agent's environment, for the session that stands in for a workload.
//!
//! The agent runs in the workload's image and with its volumes and variables, so what it reads is what the workload's
//! container has. It reads with the rights of the container's user, and writes nothing.
//!
//! File systems block, and a network's may block for long: every read runs on a thread of its own, at most
//! [`MAX_READS`] at a time, also of those for which no relay waits any more.

mod content;
mod folder;
mod inotify;
mod snapshot;
mod status;
mod walk;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use kinject_tunnel::files::{FileAnswer, FileOperation, FileOutcome, FilePayload, FileQuestion};
use kinject_tunnel::http2::{EnvironmentRequest, FileRequest, WatchRequest};
use nix::errno::Errno;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::log::log;
use content::Content;
use walk::Walk;

/// Reads at once.
const MAX_READS: usize = 16;

/// The answer of an agent that gives no files away.
const FORBIDDEN: &str = "this agent gives no files away: start it with --files";

/// What the agent gives away of its container.
pub(crate) struct Files {
    is_allowed: bool,
    environment: Vec<(OsString, OsString)>,
    withheld: Withheld,
    reads: Arc<Semaphore>,
}

/// The file with the agent's own keys, by device and inode: nobody in a session needs it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Withheld(Option<(u64, u64)>);

impl Withheld {
    /// The file at this path.
    pub(crate) fn at(path: &Path) -> Self {
        // the agent has read it before, and ends if it cannot
        Self(
            nix::sys::stat::stat(path)
                .ok()
                .map(|found| (found.st_dev, found.st_ino)),
        )
    }

    fn is(self, found: &nix::sys::stat::FileStat) -> bool {
        self.0 == Some((found.st_dev, found.st_ino))
    }
}

impl Files {
    /// What an agent gives away, which was started with these variables.
    pub(crate) fn new(is_allowed: bool, environment: Vec<(OsString, OsString)>, withheld: Withheld) -> Self {
        Self {
            is_allowed,
            environment,
            withheld,
            reads: Arc::new(Semaphore::new(MAX_READS)),
        }
    }

    /// Answers with the variables.
    pub(crate) async fn environment(&self, request: EnvironmentRequest) {
        if !self.is_allowed {
            return request.forbid(FORBIDDEN);
        }
        // an error means that the relay does not wait for them any more
        let _ = request.answer(&self.environment).await;
    }

    /// Answers a question about a file.
    pub(crate) async fn file(&self, mut request: FileRequest) {
        if !self.is_allowed {
            return request.forbid(FORBIDDEN);
        }
        let question = match request.question().await {
            Ok(question) => question,
            Err(error) => return request.malformed(&error.to_string()),
        };
        let withheld = self.withheld;
        let found = tokio::select! {
            biased;
            () = request.cancelled() => return,
            found = self.read(move || find(&question, withheld)) => found,
        };
        let Some((answer, content)) = found else {
            return request.malformed("the file could not be read");
        };
        let Ok(mut sender) = request.answer(&answer).await else {
            return;
        };
        let mut content = content;
        while let Some(reading) = content.take() {
            match self.read(move || reading.next()).await {
                Some(Ok(Some((piece, rest)))) => {
                    if sender.send(piece).await.is_err() {
                        return;
                    }
                    content = Some(rest);
                }
                Some(Ok(None)) => {}
                Some(Err(_)) | None => return sender.abort(),
            }
        }
        sender.finish();
    }

    /// Reports what stands at paths, and each change.
    pub(crate) async fn watch(&self, mut request: WatchRequest) {
        if !self.is_allowed {
            return request.forbid(FORBIDDEN);
        }
        let paths = match request.paths().await {
            Ok(paths) => paths,
            Err(error) => return request.malformed(&error.to_string()),
        };
        if let Some(sender) = request.accept() {
            watch::run(self, sender, paths).await;
        }
    }

    /// Runs on a thread of its own; none if it panicked, which the log says.
    async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // it is never closed
        let permit = Arc::clone(&self.reads).acquire_owned().await.ok()?;
        let read = spawn_blocking(move || {
            // a caller that waits no longer leaves the thread, which keeps its permit
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
}

/// What stands at a path, and its content if it is to be sent.
fn find(question: &FileQuestion, withheld: Withheld) -> (FileAnswer, Option<Content>) {
    let mut walk = Walk::new(&question.mount);
    let found = walk.find(&question.rest);
    let links = walk.into_links();
    let (path, found) = match found {
        Ok(found) => found,
        Err((path, errno)) => {
            let errno = errno as i32 as u16;
            let outcome = FileOutcome::Failed { path, errno };
            return (FileAnswer { links, outcome }, None);
        }
    };
    let mut content = None;
    let failed = |errno: Errno| FilePayload::Failed(errno as i32 as u16);
    let payload = match question.operation {
        FileOperation::Status => FilePayload::None,
        _ if found.is_folder() => match folder::entries(&found) {
            Ok(entries) => FilePayload::Entries(entries),
            Err(errno) => failed(errno),
        },
        FileOperation::Entries => FilePayload::None,
        FileOperation::Content if question.known.as_ref() == Some(&found.status) => FilePayload::Unchanged,
        FileOperation::Content => match Content::open(&found, withheld) {
            Ok(opened) => {
                content = Some(opened);
                FilePayload::Content
            }
            Err(errno) => failed(errno),
        },
    };
    let outcome = FileOutcome::Found {
        path,
        status: found.status,
        payload,
    };
    (FileAnswer { links, outcome }, content)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};
    use std::task::Poll;

    use super::*;

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

    async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut future).poll(cx) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn abandoned_reads_keep_their_permits_until_their_threads_end() {
        let files = Files::new(true, Vec::new(), Withheld::default());
        let stuck = Arc::new(Stuck::default());
        let read = || {
            let stuck = Arc::clone(&stuck);
            files.read(move || stuck.read())
        };
        for _ in 0..MAX_READS {
            let mut abandoned = Box::pin(read());
            // begins the read
            assert!(poll_once(abandoned.as_mut()).await.is_none());
        }
        let mut further = Box::pin(read());
        assert!(poll_once(further.as_mut()).await.is_none());
        assert_eq!(files.reads.available_permits(), 0);
        *stuck.is_open.lock().unwrap() = true;
        stuck.opened.notify_all();
        assert_eq!(further.await, Some(()));
        assert!(stuck.most.load(Ordering::SeqCst) <= MAX_READS);
    }
}
