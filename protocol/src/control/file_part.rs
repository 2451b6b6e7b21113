//! How much of a container's file a program needs.

/// How much of what stands at a path has to be below the shadow root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FilePart {
    /// Its status: type, mode, size and times; a symbolic link's target (stat(2), readlink(2), access(2)).
    Status = 1,
    /// The names in a folder, with the status of each (opendir(3)).
    Entries = 2,
    /// A file's content, or a folder's entries (open(2)).
    Content = 3,
}

impl FilePart {
    pub(super) fn from_wire(value: u8) -> Option<Self> {
        [Self::Status, Self::Entries, Self::Content]
            .into_iter()
            .find(|part| *part as u8 == value)
    }
}
