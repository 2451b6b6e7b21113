//! Receives the content of a remote file, for which there has to be room before it arrives.

use super::Files;
use super::contents::Reserved;
use super::fetch::{Failed, Fetching};
use super::remote::{Room, TINY};
use super::shadow::{self, errno_of};
use kinject_tunnel::files::{CONTENT_BYTES, FileStatus};
use kinject_tunnel::http2::BodyReader;
use rustix::io::Errno;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

/// How long a content waits for room that others take.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

/// By how much room grows for a file that turns out to be longer than its status says, as those of `/proc` are, once it
/// is not tiny any more.
const FURTHER: u64 = 1 << 20;

impl Files {
    /// Waits for room for so many bytes; what was not opened of late gives way. Nothing is being received meanwhile: what
    /// is left unread would take the windows of the tunnel from everything else.
    pub(super) async fn wait_for_room(&self, bytes: u64, end: Instant) -> Result<Reserved, Failed> {
        loop {
            // what is freed from here on is not missed
            let freed = pin!(self.contents.freed());
            let room = self
                .store
                .change(move |shadow, _, held| held.remote.room(shadow, bytes, 0));
            let (at, is_limit) = match room.await? {
                Room::Reserved(reserved) => return Ok(reserved),
                Room::Later { at, is_limit } => (at.map_or(end, |at| end.min(at.into())), is_limit),
            };
            tokio::select! {
                () = freed => {}
                () = sleep_until(at) => {}
            }
            if Instant::now() >= end {
                return Err(match is_limit {
                    true => Failed::AllContents,
                    false => Errno::NOSPC.into(),
                });
            }
        }
    }
}

impl Fetching<'_> {
    /// Receives a file's content, and puts it in its place when it is complete. `room` is what was waited for.
    pub(super) async fn receive(
        &self,
        path: Vec<u8>,
        status: FileStatus,
        body: BodyReader,
        room: Option<Reserved>,
    ) -> Result<(), Failed> {
        let store = &self.files.store;
        if !shadow::is_within_limit(status.size) {
            return Err(Errno::FBIG.into());
        }
        let mut room = match room {
            Some(room) => room,
            None => self.room(status.size, 0).await?,
        };
        let staged = store.change(|shadow, _, _| shadow.stage()).await?;
        let file = staged.file.try_clone().map_err(|error| errno_of(&error))?;
        self.write(file, body, &mut room).await?;
        let put = store.change(move |shadow, table, held| {
            held.remote
                .put_content(shadow, table, &path, &status, staged, room)
        });
        put.await?;
        self.files.notices.fetched();
        Ok(())
    }

    /// Room for so many bytes beside those that the caller has reserved, if there is any at once.
    async fn room(&self, bytes: u64, own: u64) -> Result<Reserved, Failed> {
        let store = &self.files.store;
        let room = store.change(move |shadow, _, held| held.remote.room(shadow, bytes, own));
        match room.await? {
            Room::Reserved(reserved) => Ok(reserved),
            Room::Later { .. } => Err(Failed::NoRoomYet(own.saturating_add(bytes))),
        }
    }

    async fn write(
        &self,
        file: std::fs::File,
        mut body: BodyReader,
        room: &mut Reserved,
    ) -> Result<(), Failed> {
        let mut file = tokio::fs::File::from_std(file);
        let mut length = 0;
        loop {
            let piece = match body.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Err(self.failed(&error).await),
            };
            let count = piece.len() as u64;
            length += count;
            if length > CONTENT_BYTES {
                return Err(Errno::FBIG.into());
            }
            if let Some(missing @ 1..) = length.checked_sub(room.bytes()) {
                let further = match TINY.checked_sub(room.bytes()) {
                    Some(further @ 1..) => further,
                    _ => FURTHER,
                };
                room.extend(self.room(missing.max(further), room.bytes()).await?);
            }
            let written = file.write_all(&piece).await;
            written.map_err(|error| errno_of(&error))?;
            room.wrote(count);
        }
        // it writes behind the caller's back
        file.flush().await.map_err(|error| errno_of(&error))?;
        Ok(())
    }
}
