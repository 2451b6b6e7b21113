//! Puts a remote path below the shadow root when a program is about to use it.
//!
//! One question to the agent brings a path with all links that lead to it. What was asked within the last second is not
//! asked again, and a content that is there is not sent again while the file is unchanged.

use super::contents::Reserved;
use super::links::spelled;
use super::notices::NoSpace;
use super::receive::ROOM_TIMEOUT;
use super::{Files, errno_words};
use crate::log;
use crate::uplink::{ActiveTunnel, Ended};
use kinject_protocol::control::{FilePart, Reply};
use kinject_protocol::paths::{Kind, PathTable, Place, Route};
use kinject_tunnel::RequestError;
use kinject_tunnel::files::{
    FileAnswer, FileKind, FileOperation, FileOutcome, FilePayload, FileQuestion, FileStatus,
};
use kinject_tunnel::http2::BodyReader;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// For how long an answer counts.
const FRESH: Duration = Duration::from_secs(1);

/// How long a program waits for a tunnel: unlike for a connect, it has no time-out of its own for a file.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(30);

/// Questions that are remembered before old ones are forgotten.
const MAX_ASKED: usize = 10_000;

/// What was asked.
#[derive(Default)]
pub(super) struct Fetches(RefCell<HashMap<Vec<u8>, Rc<Mutex<Asked>>>>);

/// What is known of one path. The lock is held while the agent is asked, so that it is asked once.
#[derive(Default)]
struct Asked {
    /// The last answer, as long as it counts.
    answer: Option<Answer>,
    /// Where the path led.
    found: Option<Vec<u8>>,
}

struct Answer {
    part: FilePart,
    /// None if the program may go on.
    errno: Option<Errno>,
    at: Instant,
    /// How many contents had given way before: this path may be among those that have since.
    evicted: u64,
    /// An answer counts for its tunnel: another one may lead to another pod.
    tunnel: Weak<ActiveTunnel>,
}

impl Fetches {
    fn of(&self, path: &[u8]) -> Rc<Mutex<Asked>> {
        let mut all = self.0.borrow_mut();
        if all.len() >= MAX_ASKED {
            all.retain(|_, asked| Rc::strong_count(asked) > 1);
        }
        Rc::clone(all.entry(path.to_vec()).or_default())
    }
}

impl Answer {
    /// Whether it answers a question that is asked now.
    fn covers(&self, part: FilePart, evicted: u64, now: Option<&Rc<ActiveTunnel>>) -> bool {
        // a file without readable content may have a status
        let has_all = match self.errno {
            None => self.part == part || part == FilePart::Status,
            Some(errno) => self.part == part || errno == Errno::NOENT,
        };
        // without a tunnel there is no newer one
        let is_of_tunnel = now.is_none_or(|now| Rc::as_ptr(now) == self.tunnel.as_ptr());
        has_all && is_of_tunnel && self.evicted == evicted && self.at.elapsed() < FRESH
    }
}

/// Why a path could not be fetched.
pub(super) enum Failed {
    TunnelLost,
    /// A content that the agent takes to be here has given way meanwhile.
    Evicted,
    /// There is no room at once for a content of so many bytes.
    NoRoomYet(u64),
    /// All contents that the session may have are in use.
    AllContents,
    Errno(Errno),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Files {
    /// Forgets what was asked of late, as time does.
    #[cfg(test)]
    pub(super) fn forget_answers(&self) {
        self.fetches.0.borrow_mut().clear();
    }

    /// Puts what the container has at a path below the shadow root.
    pub(crate) async fn fetch(&self, part: FilePart, path: &[u8]) -> Reply {
        let errno = match self.fetched(part, path).await {
            Ok(()) => return Reply::Noted,
            Err(errno) => errno,
        };
        log::debug!("{}: {}", kinject_escape::bytes(path), errno_words(errno));
        Reply::Errno(errno.raw_os_error() as u16)
    }

    async fn fetched(&self, part: FilePart, path: &[u8]) -> Result<(), Errno> {
        let table = PathTable::parse(&self.store.table).ok_or(Errno::IO)?;
        let (place, is_parent) = match table.route(path) {
            Route::Shadow(place) => (place, false),
            Route::Parent(place) => (place, true),
            Route::Native => return Err(Errno::NOENT),
        };
        if place.kind != Kind::Remote {
            return Ok(());
        }
        let path = place.parts().concat();
        let asked = self.fetches.of(&path);
        let mut asked = asked.lock().await;
        let now = self.uplink.now();
        let evicted = self.contents.evicted();
        if let Some(answer) = asked
            .answer
            .as_ref()
            .filter(|answer| answer.covers(part, evicted, now.as_ref()))
        {
            return answer.errno.map_or(Ok(()), Err);
        }
        let (mut room, mut end) = (None, None);
        loop {
            let up = match timeout(TUNNEL_TIMEOUT, self.uplink.up()).await {
                Ok(Ok(up)) => up,
                Ok(Err(Ended)) | Err(_) => return Err(Errno::IO),
            };
            let evicted = self.contents.evicted();
            let found = asked.found.clone().unwrap_or_else(|| path.clone());
            let question = self.question(part, &place, found).await?;
            let fetching = Fetching {
                files: self,
                path: &path,
                is_parent,
            };
            let mut done = fetching.ask(&up, &question, &mut asked.found, &mut room).await;
            if let Err(Failed::NoRoomYet(bytes)) = done {
                let end = *end.get_or_insert_with(|| Instant::now() + ROOM_TIMEOUT);
                match self.wait_for_room(bytes, end).await {
                    Ok(reserved) => {
                        room = Some(reserved);
                        continue;
                    }
                    Err(failed) => done = Err(failed),
                }
            }
            let errno = match done {
                Ok(()) => None,
                Err(Failed::TunnelLost) => {
                    self.uplink.lost(&up).await;
                    continue;
                }
                Err(Failed::Evicted) => continue,
                Err(Failed::AllContents) => {
                    self.notices.not_fetched(&path, NoSpace::Contents).await;
                    Some(Errno::NOSPC)
                }
                Err(Failed::NoRoomYet(_)) => Some(Errno::NOSPC),
                Err(Failed::Errno(errno)) => {
                    self.not_written(&path, errno).await?;
                    Some(errno)
                }
            };
            // a failure of kinject's own may be over at the next attempt
            let is_answer = !matches!(errno, Some(Errno::IO | Errno::NOSPC | Errno::DQUOT));
            asked.answer = is_answer.then(|| Answer {
                part,
                errno,
                at: Instant::now(),
                evicted,
                tunnel: Rc::downgrade(&up),
            });
            return errno.map_or(Ok(()), Err);
        }
    }

    /// Tells the user if a file could not be written here.
    async fn not_written(&self, path: &[u8], errno: Errno) -> Result<(), Errno> {
        if matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::ROFS) {
            let is_at_most = self
                .store
                .change(|_, _, held| Ok(held.remote.is_at_most()))
                .await?;
            let cause = match is_at_most {
                true => NoSpace::Files,
                false => NoSpace::Disk(errno),
            };
            self.notices.not_fetched(path, cause).await;
        }
        Ok(())
    }

    /// The question. A file whose content is here is asked for its content even if only its status is wanted: a
    /// placeholder in its place would be read by a program that is about to open it.
    async fn question(
        &self,
        part: FilePart,
        place: &Place<'_>,
        found: Vec<u8>,
    ) -> Result<FileQuestion, Errno> {
        let known = self
            .store
            .change(move |_, _, held| Ok(held.remote.asked(&found, part == FilePart::Content).cloned()))
            .await?;
        Ok(FileQuestion {
            operation: match part {
                FilePart::Status if known.is_some() => FileOperation::Content,
                FilePart::Status => FileOperation::Status,
                FilePart::Entries => FileOperation::Entries,
                FilePart::Content => FileOperation::Content,
            },
            mount: place.mount.to_vec(),
            rest: place.rest.to_vec(),
            known,
        })
    }
}

/// One path that is being fetched.
pub(super) struct Fetching<'a> {
    pub(super) files: &'a Files,
    path: &'a [u8],
    /// Whether it is a folder above remote paths, of which only those are shown.
    is_parent: bool,
}

impl Fetching<'_> {
    async fn ask(
        &self,
        up: &ActiveTunnel,
        question: &FileQuestion,
        found: &mut Option<Vec<u8>>,
        room: &mut Option<Reserved>,
    ) -> Result<(), Failed> {
        let (answer, body) = match up.tunnel.file(question).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(&error).await),
        };
        // an agent that says so of what it was not told would be asked without end
        let is_unchanged = |outcome: &FileOutcome| {
            let FileOutcome::Found { payload, .. } = outcome else {
                return false;
            };
            matches!(payload, FilePayload::Unchanged)
        };
        if question.known.is_none() && is_unchanged(&answer.outcome) {
            return Err(Errno::IO.into());
        }
        self.put(answer, body, found, room).await
    }

    async fn put(
        &self,
        answer: FileAnswer,
        body: BodyReader,
        found: &mut Option<Vec<u8>>,
        room: &mut Option<Reserved>,
    ) -> Result<(), Failed> {
        let FileAnswer { links, outcome } = answer;
        let store = &self.files.store;
        let asked = self.path.to_vec();
        let is_link = store.change(move |shadow, table, held| {
            held.remote.put_links(shadow, table, &links)?;
            Ok(links.iter().any(|link| spelled(table, &link.path) == asked))
        });
        let is_link = is_link.await?;
        let (path, status, payload) = match outcome {
            FileOutcome::Failed { path, errno } => {
                let errno = Errno::from_raw_os_error(errno.into());
                let removed = store.change(move |shadow, table, held| match errno {
                    Errno::NOENT => {
                        let path = spelled(table, &path);
                        held.remote.put_nothing(shadow, table, &path)
                    }
                    _ => Ok(()),
                });
                removed.await?;
                // the link is there, and leads to nothing here as it does there
                return match is_link && matches!(errno, Errno::NOENT | Errno::LOOP) {
                    true => Ok(()),
                    false => Err(errno.into()),
                };
            }
            FileOutcome::Found {
                path,
                status,
                payload,
            } => {
                let table = PathTable::parse(&store.table).ok_or(Errno::IO)?;
                (spelled(&table, &path), status, payload)
            }
        };
        *found = Some(path.clone());
        match payload {
            FilePayload::Unchanged => {
                let is_here = store.change(move |_, _, held| Ok(held.remote.is_still_here(&path)));
                match is_here.await? {
                    true => Ok(()),
                    false => Err(Failed::Evicted),
                }
            }
            FilePayload::Content if status.kind == FileKind::File => {
                self.receive(path, status, body, room.take()).await
            }
            FilePayload::Content => Err(Errno::IO.into()),
            FilePayload::Entries(entries) => {
                let only_routed = self.is_parent && path == self.path;
                let put = store.change(move |shadow, table, held| {
                    let is_wanted = |path: &[u8]| !only_routed || !matches!(table.route(path), Route::Native);
                    held.remote
                        .put_entries(shadow, table, &path, &status, &entries, is_wanted)
                });
                Ok(put.await?)
            }
            FilePayload::None => Ok(self.put_status(path, status).await?),
            FilePayload::Failed(errno) => {
                let (kind, errno) = (status.kind, Errno::from_raw_os_error(errno.into()));
                self.put_status(path, status).await?;
                self.files.notices.without_content(self.path, kind, errno).await;
                Err(errno.into())
            }
        }
    }

    async fn put_status(&self, path: Vec<u8>, status: FileStatus) -> Result<(), Errno> {
        let put = move |shadow: &_, table: &PathTable<'_>, held: &mut super::Held| {
            held.remote.put_status(shadow, table, &path, &status)
        };
        self.files.store.change(put).await
    }

    pub(super) async fn failed(&self, error: &RequestError) -> Failed {
        match error {
            RequestError::TunnelLost => Failed::TunnelLost,
            error => {
                self.files.notices.bad_answer(self.path, error).await;
                Errno::IO.into()
            }
        }
    }
}
