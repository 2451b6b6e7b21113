//! A question about one path, and its answer.
//!
//! ```text
//! question   operation u8, mount text, rest text, known u8 [status]
//! answer     count u16, links; outcome
//! link       path text, target text
//! outcome    0, path text, errno u16  |  1, path text, status, payload
//! payload    0  |  1, count u32, entries  |  2, content  |  3  |  4, errno u16
//! entry      name text, status
//! status     kind u8, mode u16, size u64, two times (i64, u32), inode u64, readable u8, target text
//! text       length u16, bytes
//! ```
//!
//! An answer's length stands before it, as u32. A file's content follows it, to the end of the stream.

use super::codec::{Reader, put_text};
use super::{FileDecodeError, FileStatus, MAX_ENTRIES, MAX_LINKS, MAX_WATCHED};

/// How much of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileOperation {
    /// Its status.
    Status = 1,
    /// If it is a folder, its entries with the status of each.
    Entries = 2,
    /// Its content, or a folder's entries.
    Content = 3,
}

/// A question about a path of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileQuestion {
    /// How much is asked.
    pub operation: FileOperation,
    /// The path of a mount, absolute; empty if the path is below none. Links that lead there are not reported: to the
    /// relay it is a folder.
    pub mount: Vec<u8>,
    /// The path below the mount: empty, or beginning with a slash.
    pub rest: Vec<u8>,
    /// The status with which the relay has the content: it is not sent again while the file has that status.
    pub known: Option<FileStatus>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAnswer {
    /// The symbolic links that were followed, in their order.
    pub links: Vec<FoundLink>,
    /// What stands at their end.
    pub outcome: FileOutcome,
}

/// A symbolic link on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLink {
    /// Where it stands: an absolute path, in which there is no other link but those that lead to the mount.
    pub path: Vec<u8>,
    /// Its status, with its target.
    pub status: FileStatus,
}

/// What stands at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOutcome {
    /// Nothing that can be reached.
    Failed {
        /// Where it ended: an absolute path, in the same form as a link's.
        path: Vec<u8>,
        /// Why.
        errno: u16,
    },
    /// A file or folder.
    Found {
        /// Where it stands, in the same form as a link's.
        path: Vec<u8>,
        /// What it is; never a link.
        status: FileStatus,
        /// What was asked for.
        payload: FilePayload,
    },
}

/// What an answer has besides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePayload {
    /// Nothing: only the status was asked for, or there is nothing else.
    None,
    /// The entries of a folder.
    Entries(Vec<NamedStatus>),
    /// The content, which follows.
    Content,
    /// The relay has the content.
    Unchanged,
    /// Content or entries cannot be had.
    Failed(u16),
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStatus {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub status: FileStatus,
}

impl FileQuestion {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = vec![self.operation as u8];
        put_text(&mut to, &self.mount);
        put_text(&mut to, &self.rest);
        to.push(u8::from(self.known.is_some()));
        if let Some(known) = &self.known {
            known.encode(&mut to);
        }
        to
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileDecodeError> {
        let mut reader = Reader(bytes);
        let operation = match reader.byte()? {
            1 => FileOperation::Status,
            2 => FileOperation::Entries,
            3 => FileOperation::Content,
            other => return Err(FileDecodeError::Value(other)),
        };
        let (mount, rest) = (reader.text()?.to_vec(), reader.text()?.to_vec());
        let known = match reader.bool()? {
            true => Some(FileStatus::decode(&mut reader)?),
            false => None,
        };
        reader.end()?;
        Ok(Self {
            operation,
            mount,
            rest,
            known,
        })
    }
}

impl FileAnswer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        to.extend((self.links.len() as u16).to_le_bytes());
        for link in &self.links {
            put_text(&mut to, &link.path);
            link.status.encode(&mut to);
        }
        match &self.outcome {
            FileOutcome::Failed { path, errno } => {
                to.push(0);
                put_text(&mut to, path);
                to.extend(errno.to_le_bytes());
            }
            FileOutcome::Found {
                path,
                status,
                payload,
            } => {
                to.push(1);
                put_text(&mut to, path);
                status.encode(&mut to);
                payload.encode(&mut to);
            }
        }
        to
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileDecodeError> {
        let mut reader = Reader(bytes);
        let count = usize::from(reader.u16()?);
        if count > MAX_LINKS {
            return Err(FileDecodeError::Excess);
        }
        let mut links = Vec::with_capacity(count);
        for _ in 0..count {
            let path = reader.absolute()?.to_vec();
            let status = FileStatus::decode(&mut reader)?;
            if status.kind != super::FileKind::Link {
                return Err(FileDecodeError::Value(status.kind as u8));
            }
            links.push(FoundLink { path, status });
        }
        let outcome = match reader.byte()? {
            0 => FileOutcome::Failed {
                path: reader.absolute()?.to_vec(),
                errno: reader.u16()?,
            },
            1 => {
                let path = reader.absolute()?.to_vec();
                let status = FileStatus::decode(&mut reader)?;
                let payload = FilePayload::decode(&mut reader)?;
                if status.kind == super::FileKind::Link {
                    return Err(FileDecodeError::Value(status.kind as u8));
                }
                FileOutcome::Found {
                    path,
                    status,
                    payload,
                }
            }
            other => return Err(FileDecodeError::Value(other)),
        };
        reader.end()?;
        Ok(Self { links, outcome })
    }
}

impl FilePayload {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::None => to.push(0),
            Self::Entries(entries) => {
                to.push(1);
                to.extend((entries.len() as u32).to_le_bytes());
                for entry in entries {
                    put_text(to, &entry.name);
                    entry.status.encode(to);
                }
            }
            Self::Content => to.push(2),
            Self::Unchanged => to.push(3),
            Self::Failed(errno) => {
                to.push(4);
                to.extend(errno.to_le_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FileDecodeError> {
        Ok(match reader.byte()? {
            0 => Self::None,
            1 => {
                let count = reader.u32()? as usize;
                if count > MAX_ENTRIES {
                    return Err(FileDecodeError::Excess);
                }
                let mut entries = Vec::new();
                for _ in 0..count {
                    entries.push(NamedStatus {
                        name: reader.name()?.to_vec(),
                        status: FileStatus::decode(reader)?,
                    });
                }
                Self::Entries(entries)
            }
            2 => Self::Content,
            3 => Self::Unchanged,
            4 => Self::Failed(reader.u16()?),
            other => return Err(FileDecodeError::Value(other)),
        })
    }
}

/// The body of a request to watch paths.
pub(crate) fn encode_paths(paths: &[Vec<u8>]) -> Vec<u8> {
    let mut to = Vec::new();
    to.extend((paths.len() as u16).to_le_bytes());
    for path in paths {
        put_text(&mut to, path);
    }
    to
}

/// The paths in it.
pub(crate) fn decode_paths(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileDecodeError> {
    let mut reader = Reader(bytes);
    let count = usize::from(reader.u16()?);
    if count > MAX_WATCHED {
        return Err(FileDecodeError::Excess);
    }
    let paths = (0..count)
        .map(|_| reader.absolute().map(<[u8]>::to_vec))
        .collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(paths)
}
