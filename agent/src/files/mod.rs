//! The container's files and the agent's environment, for the session that stands in for a workload.
//!
//! The agent runs in the workload's image and with its volumes and variables, so what it reads is what the workload's
//! container has. It reads with the rights of the container's user, and writes nothing.
//!
//! File systems block, and a network's may block for long: every read runs on a thread of its own ([`reads`]).

mod content;
mod folder;
mod inotify;
mod reads;
mod snapshot;
mod status;
mod walk;
mod watch;

use std::ffi::OsString;
use std::path::Path;

use kinject_tunnel::files::{FileAnswer, FileOperation, FileOutcome, FilePayload, FileQuestion};
use kinject_tunnel::http2::{EnvironmentRequest, FileRequest, WatchRequest};
use nix::errno::Errno;

use content::Content;
use reads::Reads;
use walk::Walk;

/// The answer of an agent that gives no files away.
const FORBIDDEN: &str = "this agent gives no files away: start it with --files";

/// What the agent gives away of its container.
pub(crate) struct Files {
    is_allowed: bool,
    environment: Vec<(OsString, OsString)>,
    withheld: Withheld,
    reads: Reads,
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
            reads: Reads::default(),
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
        let (withheld, mount) = (self.withheld, question.mount.clone());
        let found = tokio::select! {
            biased;
            () = request.cancelled() => return,
            found = self.reads.of_mount(&mount, move || find(&question, withheld)) => found,
        };
        let Some((answer, content)) = found else {
            return request.malformed("the file could not be read");
        };
        let Ok(mut sender) = request.answer(&answer).await else {
            return;
        };
        let mut content = content;
        while let Some(reading) = content.take() {
            match self.reads.of_mount(&mount, move || reading.next()).await {
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
