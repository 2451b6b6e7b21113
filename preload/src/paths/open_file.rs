//! A file that is opened by one of the process's own descriptors (`/proc/self/fd/N`): the kernel opens that very file.
//! If the descriptor is of `O_PATH`, its status alone was asked for, and the relay has to write the content into it.

use super::fetch::fetch;
use super::table::Table;
use crate::errno::Errno;
use crate::sys;
use kinject_protocol::control::FilePart;
use kinject_protocol::paths::{Kind, Route};
use libc::c_int;

/// The folders of descriptors (proc_pid_fd(5)).
const FOLDERS: [&[u8]; 3] = [b"/proc/self/fd/", b"/dev/fd/", b"/proc/thread-self/fd/"];

/// What the kernel adds to the path of a file that was removed.
const GONE: &[u8] = b" (deleted)";

/// Whether a path names a descriptor of the process.
#[inline]
pub(super) fn is_descriptor(path: &[u8]) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// What a path below a folder of descriptors names.
pub(super) struct Named {
    pub(super) descriptor: c_int,
    /// Whether it is the descriptor's file, and not one below the descriptor's folder.
    pub(super) is_whole: bool,
}

impl Named {
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        let rest = FOLDERS.iter().find_map(|folder| path.strip_prefix(*folder))?;
        let digits = rest.split(|byte| *byte == b'/').next()?;
        let descriptor = digits.iter().try_fold(0, |number: c_int, byte| match byte {
            b'0'..=b'9' => number
                .checked_mul(10)?
                .checked_add(c_int::from(byte.wrapping_sub(b'0'))),
            _ => None,
        })?;
        let is_whole = digits.len() == rest.len();
        (!digits.is_empty()).then_some(Self { descriptor, is_whole })
    }

    /// Lets the relay write the content into a remote file that the descriptor stands for. One that is open for reading
    /// was opened with its content, which the container may have replaced since.
    pub(super) fn complete(&self, table: &Table) -> Result<(), Errno> {
        match sys::fcntl(self.descriptor, libc::F_GETFL, 0) {
            Ok(flags) if flags & libc::O_PATH != 0 => complete(table, self.descriptor),
            // the kernel says what is wrong with a descriptor that is none
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// What the shadow root has at the path of a descriptor, or of the working directory; none if it is not below that.
pub(super) fn kind_of(table: &Table, descriptor: c_int) -> Option<Kind> {
    let mut buffer = [0; sys::PATH_SIZE];
    let path = match descriptor {
        libc::AT_FDCWD => sys::current_folder(&mut buffer)?,
        _ => sys::path_of_descriptor(descriptor, &mut buffer)?,
    };
    let paths = table.paths()?;
    let known = paths.without_root(path.strip_suffix(GONE).unwrap_or(path))?;
    match paths.route(known) {
        Route::Shadow(place) => Some(place.kind),
        _ => None,
    }
}

/// Lets the relay write the content into a remote file that was opened. It is asked also if there is some: it may be
/// writing it for another process. `ESTALE` if the container has another file at its path by now.
#[cold]
#[inline(never)]
pub(super) fn complete(table: &Table, opened: c_int) -> Result<(), Errno> {
    let status = sys::status(opened)?;
    if status.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(());
    }
    let (mut before, mut after) = ([0; sys::PATH_SIZE], [0; sys::PATH_SIZE]);
    let Some(path) = sys::path_of_descriptor(opened, &mut before) else {
        return Ok(());
    };
    let Some(paths) = table.paths() else {
        return Ok(());
    };
    let is_gone = status.st_nlink == 0;
    let place = match is_gone {
        true => path.strip_suffix(GONE).unwrap_or(path),
        false => path,
    };
    let Some(known) = paths.without_root(place) else {
        return Ok(());
    };
    if !matches!(paths.route(known), Route::Shadow(place) if place.kind == Kind::Remote) {
        return Ok(());
    }
    if is_gone {
        return Err(Errno(libc::ESTALE));
    }
    fetch(FilePart::Content, known)?;
    match sys::path_of_descriptor(opened, &mut after) == Some(path) {
        true => Ok(()),
        false => Err(Errno(libc::ESTALE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_below_a_folder_of_descriptors_names_one_by_its_digits() {
        let named = |path: &[u8]| Named::of(path).map(|named| (named.descriptor, named.is_whole));
        assert_eq!(named(b"/proc/self/fd/12"), Some((12, true)));
        assert_eq!(named(b"/dev/fd/3/sub"), Some((3, false)));
        for path in [
            "/dev/fd/",
            "/dev/fd//1",
            "/dev/fd/1a",
            "/dev/fd/99999999999",
            "/proc/1/fd/1",
        ] {
            assert_eq!(named(path.as_bytes()), None, "{path}");
        }
    }
}
