//! Fields of messages: little endian, lengths before bytes.

use super::{FileDecodeError, MAX_DEPTH, PATH_BYTES};

/// The longest name of a file, `NAME_MAX`.
const NAME_BYTES: usize = 255;

/// The fields of a message that are not read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], FileDecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FileDecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FileDecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FileDecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FileDecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FileDecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FileDecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FileDecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, FileDecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(FileDecodeError::Value(other)),
        }
    }

    /// Bytes with their length before them, at most `PATH_MAX` of them and no NUL byte.
    pub(super) fn text(&mut self) -> Result<&'a [u8], FileDecodeError> {
        let length = usize::from(self.u16()?);
        let text = self.take(length)?;
        match length > PATH_BYTES || text.contains(&0) {
            true => Err(FileDecodeError::Name),
            false => Ok(text),
        }
    }

    /// The name of an entry in its folder.
    pub(super) fn name(&mut self) -> Result<&'a [u8], FileDecodeError> {
        let name = self.text()?;
        match is_name(name) {
            true => Ok(name),
            false => Err(FileDecodeError::Name),
        }
    }

    /// An absolute path without empty components, `.` and `..`; `/` is the root.
    pub(super) fn absolute(&mut self) -> Result<&'a [u8], FileDecodeError> {
        let path = self.text()?;
        match path.strip_prefix(b"/") {
            Some(b"") => Ok(path),
            Some(rest) if is_relative(rest) => Ok(path),
            _ => Err(FileDecodeError::Name),
        }
    }

    /// A path below a folder, without empty components, `.` and `..`; empty for the folder itself.
    pub(super) fn relative(&mut self) -> Result<&'a [u8], FileDecodeError> {
        let path = self.text()?;
        match path.is_empty() || is_relative(path) {
            true => Ok(path),
            false => Err(FileDecodeError::Name),
        }
    }

    pub(super) fn end(&self) -> Result<(), FileDecodeError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(FileDecodeError::TrailingBytes),
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES && !name.contains(&b'/') && name != b"." && name != b".."
}

fn is_relative(path: &[u8]) -> bool {
    let mut components = 0;
    path.split(|byte| *byte == b'/').all(|name| {
        components += 1;
        components <= MAX_DEPTH && is_name(name)
    })
}

/// Appends bytes with their length before them. What is longer than `PATH_MAX`, which no path is, is cut off.
pub(super) fn put_text(to: &mut Vec<u8>, text: &[u8]) {
    let text = text.get(..PATH_BYTES).unwrap_or(text);
    to.extend((text.len() as u16).to_le_bytes());
    to.extend(text);
}
