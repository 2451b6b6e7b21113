//! What an agent says of one file.

use super::FileDecodeError;
use super::codec::{Reader, put_text};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    /// A regular file.
    File = 1,
    /// A folder.
    Folder = 2,
    /// A symbolic link.
    Link = 3,
    /// A named pipe.
    Fifo = 4,
    /// A Unix socket.
    Socket = 5,
    /// A character device.
    CharacterDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl FileKind {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Folder,
        Self::Link,
        Self::Fifo,
        Self::Socket,
        Self::CharacterDevice,
        Self::BlockDevice,
    ];
}

/// A point in time, in seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds of the next second.
    pub nanoseconds: u32,
}

/// What lstat(2) says of a file, a link's target, and whether the agent may read it.
///
/// Two equal ones stand for the same content: `changed` is set by the kernel whenever content or status change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its type.
    pub kind: FileKind,
    /// Its permission bits, 07777 at most.
    pub mode: u16,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed (`st_mtim`).
    pub modified: Timestamp,
    /// When its content or status last changed (`st_ctim`).
    pub changed: Timestamp,
    /// Its number in its file system.
    pub inode: u64,
    /// Whether the agent, which is the container's user, may read it; of a folder, whether it may list and enter it.
    pub is_readable: bool,
    /// Where a symbolic link leads; empty for all others.
    pub target: Vec<u8>,
}

impl FileStatus {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        to.push(self.kind as u8);
        to.extend(self.mode.to_le_bytes());
        to.extend(self.size.to_le_bytes());
        for time in [self.modified, self.changed] {
            to.extend(time.seconds.to_le_bytes());
            to.extend(time.nanoseconds.to_le_bytes());
        }
        to.extend(self.inode.to_le_bytes());
        to.push(u8::from(self.is_readable));
        put_text(to, &self.target);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, FileDecodeError> {
        let kind = reader.byte()?;
        let status = Self {
            kind: FileKind::ALL
                .into_iter()
                .find(|known| *known as u8 == kind)
                .ok_or(FileDecodeError::Value(kind))?,
            mode: reader.u16()? & 0o7777,
            size: reader.u64()?,
            modified: time(reader)?,
            changed: time(reader)?,
            inode: reader.u64()?,
            is_readable: reader.bool()?,
            target: reader.text()?.to_vec(),
        };
        // a link without a target cannot exist, and nothing else has one
        match (status.kind == FileKind::Link) == status.target.is_empty() {
            true => Err(FileDecodeError::Name),
            false => Ok(status),
        }
    }
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, FileDecodeError> {
    let time = Timestamp {
        seconds: i64::from_le_bytes(reader.array()?),
        nanoseconds: reader.u32()?,
    };
    match time.nanoseconds < 1_000_000_000 {
        true => Ok(time),
        false => Err(FileDecodeError::Excess),
    }
}
