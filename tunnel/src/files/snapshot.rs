//! All that stands below a watched path, as one message.
//!
//! ```text
//! event      length u32 of what follows; watch u16, then 0, errno u16  |  1, count u32, entries
//! entry      path text, status, content
//! content    0  |  1, length u32, bytes  |  2, errno u16
//! ```

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, put_text};
use super::{FileDecodeError, FileKind, FileStatus, MAX_ENTRIES, SNAPSHOT_BYTES};

/// Bytes before an event: its length.
const LENGTH_BYTES: usize = 4;

/// What a watch reports: at its start, and after each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Which of the watched paths, counted from 0.
    pub watch: usize,
    /// What stands there, or the errno with which it could not be read.
    pub snapshot: Result<Snapshot, u16>,
}

/// What stands at and below a path, the path itself first, each folder before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything in it.
    pub entries: Vec<SnapshotEntry>,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its path below the watched path; empty for that one itself.
    pub path: Vec<u8>,
    /// What it is.
    pub status: FileStatus,
    /// Its content.
    pub content: SnapshotContent,
}

/// The content of a file in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotContent {
    /// It has none, since it is no regular file.
    None,
    /// All of it.
    Bytes(Bytes),
    /// It could not be read: an errno.
    Failed(u16),
}

impl WatchEvent {
    /// The event with its length; none if it is longer than [`SNAPSHOT_BYTES`].
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut to = vec![0; LENGTH_BYTES];
        to.extend((self.watch as u16).to_le_bytes());
        match &self.snapshot {
            Err(errno) => {
                to.push(0);
                to.extend(errno.to_le_bytes());
            }
            Ok(snapshot) => {
                to.push(1);
                to.extend((snapshot.entries.len() as u32).to_le_bytes());
                for entry in &snapshot.entries {
                    entry.encode(&mut to);
                }
            }
        }
        let length = to.len() - LENGTH_BYTES;
        if length > SNAPSHOT_BYTES {
            return None;
        }
        for (slot, byte) in to.iter_mut().zip((length as u32).to_le_bytes()) {
            *slot = byte;
        }
        Some(to)
    }

    /// Takes the next event out of what was received; none as long as it is incomplete.
    pub(crate) fn take(received: &mut BytesMut, watches: usize) -> Result<Option<Self>, FileDecodeError> {
        let Some(length) = received.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > SNAPSHOT_BYTES {
            return Err(FileDecodeError::Excess);
        }
        if received.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let event = received.split_to(LENGTH_BYTES + length).freeze();
        Self::decode(&event.slice(LENGTH_BYTES..), watches).map(Some)
    }

    fn decode(bytes: &Bytes, watches: usize) -> Result<Self, FileDecodeError> {
        let mut reader = Reader(bytes);
        let watch = usize::from(reader.u16()?);
        if watch >= watches {
            return Err(FileDecodeError::Excess);
        }
        let snapshot = match reader.byte()? {
            0 => Err(reader.u16()?),
            1 => Ok(Snapshot::decode(bytes, &mut reader)?),
            other => return Err(FileDecodeError::Value(other)),
        };
        reader.end()?;
        Ok(Self { watch, snapshot })
    }
}

impl Snapshot {
    fn decode(bytes: &Bytes, reader: &mut Reader<'_>) -> Result<Self, FileDecodeError> {
        let count = reader.u32()? as usize;
        if count > MAX_ENTRIES {
            return Err(FileDecodeError::Excess);
        }
        let (mut folders, mut others) = (HashSet::new(), HashSet::new());
        let mut entries = Vec::new();
        for position in 0..count {
            let path = reader.relative()?.to_vec();
            let status = FileStatus::decode(reader)?;
            let content = SnapshotContent::decode(bytes, reader)?;
            // the first is the watched path itself, a folder or file, and no other is
            let is_in_place = match position {
                0 => path.is_empty() && matches!(status.kind, FileKind::Folder | FileKind::File),
                _ => !path.is_empty() && folders.contains(folder_of(&path)),
            };
            let is_new = match status.kind {
                FileKind::Folder => !others.contains(&path) && folders.insert(path.clone()),
                _ => !folders.contains(&path) && others.insert(path.clone()),
            };
            let has_content = !matches!(content, SnapshotContent::None);
            if !is_in_place || !is_new || has_content != (status.kind == FileKind::File) {
                return Err(FileDecodeError::Tree);
            }
            entries.push(SnapshotEntry {
                path,
                status,
                content,
            });
        }
        match entries.is_empty() {
            true => Err(FileDecodeError::Tree),
            false => Ok(Self { entries }),
        }
    }
}

impl SnapshotEntry {
    fn encode(&self, to: &mut Vec<u8>) {
        put_text(to, &self.path);
        self.status.encode(to);
        match &self.content {
            SnapshotContent::None => to.push(0),
            SnapshotContent::Bytes(bytes) => {
                to.push(1);
                to.extend((bytes.len() as u32).to_le_bytes());
                to.extend(bytes);
            }
            SnapshotContent::Failed(errno) => {
                to.push(2);
                to.extend(errno.to_le_bytes());
            }
        }
    }
}

impl SnapshotContent {
    fn decode(bytes: &Bytes, reader: &mut Reader<'_>) -> Result<Self, FileDecodeError> {
        Ok(match reader.byte()? {
            0 => Self::None,
            1 => {
                let length = reader.u32()? as usize;
                Self::Bytes(bytes.slice_ref(reader.take(length)?))
            }
            2 => Self::Failed(reader.u16()?),
            other => return Err(FileDecodeError::Value(other)),
        })
    }
}

/// The path of the folder in which an entry stands.
fn folder_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(end) => path.get(..end).unwrap_or_default(),
        None => b"",
    }
}
