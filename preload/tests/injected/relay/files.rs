//! Files of a container that is a folder: what a program asks for is put below the shadow root.

use kinject_protocol::control::{FilePart, Reply};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A container's root folder, and the shadow root.
#[derive(Clone)]
pub(crate) struct RemoteFiles {
    pub(crate) container: PathBuf,
    pub(crate) root: PathBuf,
}

impl RemoteFiles {
    pub(super) fn fetch(&self, part: FilePart, path: &[u8]) -> Reply {
        let path = Path::new(OsStr::from_bytes(path))
            .strip_prefix("/")
            .expect("an absolute path");
        match self.put(part, path) {
            Ok(()) => Reply::Noted,
            Err(error) => Reply::Errno(error.raw_os_error().expect("an error of the kernel") as u16),
        }
    }

    fn put(&self, part: FilePart, path: &Path) -> io::Result<()> {
        let (from, to) = (self.container.join(path), self.root.join(path));
        let kind = from.symlink_metadata()?;
        fs::create_dir_all(to.parent().expect("a path below the root"))?;
        if kind.is_symlink() {
            let target = fs::read_link(&from)?;
            if to.symlink_metadata().is_err() {
                symlink(&target, &to)?;
            }
            return self.put(part, &path.with_file_name(target));
        }
        if kind.is_dir() {
            fs::create_dir_all(&to)?;
            // also where these tests run as root
            if part != FilePart::Status && kind.permissions().mode() & 0o444 == 0 {
                return Err(io::Error::from_raw_os_error(libc::EACCES));
            }
            if part != FilePart::Status {
                for entry in fs::read_dir(&from)? {
                    self.put(FilePart::Status, &path.join(entry?.file_name()))?;
                }
            }
            return Ok(());
        }
        match part {
            FilePart::Entries => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            FilePart::Content => fs::copy(&from, &to).map(drop),
            FilePart::Status if to.exists() => Ok(()),
            FilePart::Status => {
                File::create(&to)?.set_len(kind.len())?;
                fs::set_permissions(&to, fs::Permissions::from_mode(kind.permissions().mode()))
            }
        }
    }
}
