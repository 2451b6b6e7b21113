//! Receives the content of a remote file, for which there has to be room before it arrives.

use super::contents::Reserved;
use super::fetch::{Failed, Fetching};
use super::remote::Room;
use super::shadow::{self, errno_of};
use kinject_tunnel::files::{CONTENT_BYTES, FileStatus};
use kinject_tunnel::http2::BodyReader;
use rustix::io::Errno;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

/// How long a content waits for room that others take.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

/// By how much room grows for a file that turns out to be longer than its status says, as those of `/proc` are.
const FURTHER: u64 = 1 << 20;

impl Fetching<'_> {
    /// Receives a file's content, and puts it in its place when it is complete.
    pub(super) async fn receive(
        &self,
        path: Vec<u8>,
        status: FileStatus,
        body: BodyReader,
    ) -> Result<(), Failed> {
        let store = &self.files.store;
        if !shadow::is_within_limit(status.size) {
            return Err(Errno::FBIG.into());
        }
        let mut room = self.room(status.size).await?;
        let staged = store.change(|shadow, _, _| shadow.stage()).await?;
        let file = staged.file.try_clone().map_err(|error| errno_of(&error))?;
        self.write(file, body, &mut room).await?;
        let put = store.change(move |shadow, table, held| {
            held.remote
                .put_content(shadow, table, &path, &status, staged, room)
        });
        Ok(put.await?)
    }

    /// Room for so many bytes; what was not opened of late gives way, and what others receive or open is waited for.
    async fn room(&self, bytes: u64) -> Result<Reserved, Errno> {
        let store = &self.files.store;
        let end = Instant::now() + ROOM_TIMEOUT;
        loop {
            let mut freed = pin!(self.files.contents.freed());
            // what is freed from here on is not missed
            freed.as_mut().enable();
            let room = store.change(move |shadow, _, held| held.remote.room(shadow, bytes));
            let at = match room.await? {
                Room::Reserved(reserved) => return Ok(reserved),
                Room::Later(at) => at.map_or(end, |at| end.min(at.into())),
            };
            tokio::select! {
                () = freed => {}
                () = sleep_until(at) => {}
            }
            if Instant::now() >= end {
                return Err(Errno::NOSPC);
            }
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
            length += piece.len() as u64;
            if length > CONTENT_BYTES {
                return Err(Errno::FBIG.into());
            }
            if let Some(missing @ 1..) = length.checked_sub(room.bytes()) {
                room.extend(self.room(missing.max(FURTHER)).await?);
            }
            let written = file.write_all(&piece).await;
            written.map_err(|error| errno_of(&error))?;
        }
        // it writes behind the caller's back
        file.flush().await.map_err(|error| errno_of(&error))?;
        Ok(())
    }
}
