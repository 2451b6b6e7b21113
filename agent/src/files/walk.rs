//! From a path to a file, one component after the other, as path_resolution(7) has it.
//!
//! The walk follows symbolic links by their text and reports each of them, so that the relay can put the same links and
//! the file elsewhere. What the kernel would follow without a text, the links of `/proc`, leads to no file.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use kinject_tunnel::files::{FoundLink, MAX_DEPTH, MAX_LINKS};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::status::Found;

/// Opens what stands at a path without reading or writing it.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// A walk from a mount, or from the root.
pub(super) struct Walk<'a> {
    /// The path of the mount, as the relay knows it: links in it are not reported, and what is below it is named by it.
    mount: &'a [u8],
    /// Whether the walk is below the mount.
    is_in_mount: bool,
    /// The folders from the mount or the root to where the walk is, with their names; the first has none.
    folders: Vec<(OwnedFd, Vec<u8>)>,
    links: Vec<FoundLink>,
}

/// Where a walk ended, and why.
type Failed = (Vec<u8>, Errno);

impl<'a> Walk<'a> {
    /// A walk that begins at the mount; at the root if its path is empty.
    pub(super) fn new(mount: &'a [u8]) -> Self {
        Self {
            mount,
            is_in_mount: false,
            folders: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The links that were followed.
    pub(super) fn into_links(self) -> Vec<FoundLink> {
        self.links
    }

    /// The file at `rest`, a path below the mount, with the path where it stands.
    pub(super) fn find(&mut self, rest: &[u8]) -> Result<(Vec<u8>, Found), Failed> {
        self.begin(!self.mount.is_empty())?;
        // the components that are still to walk, the next one last
        let mut left: Vec<Vec<u8>> = reversed(rest);
        let mut end = None;
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b".." => {
                    end = None;
                    if self.folders.len() > 1 {
                        self.folders.pop();
                    } else if self.is_in_mount {
                        let folder = folder_of(self.mount);
                        left.extend(reversed(folder));
                        self.begin(false)?;
                    }
                    continue;
                }
                b"." => continue,
                _ => {}
            }
            let found = self.child(&name)?;
            if !found.is_link() {
                if self.folders.len() > MAX_DEPTH {
                    return Err(self.failed_at(&name, Errno::ENAMETOOLONG));
                }
                if left.is_empty() {
                    end = Some((self.path_of(&name), found));
                    break;
                }
                self.folders.push((found.descriptor, name));
                continue;
            }
            if self.links.len() == MAX_LINKS {
                return Err((self.path_of(&name), Errno::ELOOP));
            }
            let target = found.status.target.clone();
            let path = self.path_of(&name);
            if left.len() + target.len() / 2 > 4096 {
                return Err((path, Errno::ENAMETOOLONG));
            }
            self.links.push(FoundLink {
                path,
                status: found.status,
            });
            if target.starts_with(b"/") {
                let in_mount = below(&target, self.mount).filter(|_| !self.mount.is_empty());
                left.extend(reversed(in_mount.unwrap_or(&target)));
                self.begin(in_mount.is_some())?;
            } else {
                left.extend(reversed(&target));
            }
        }
        match end {
            Some(end) => Ok(end),
            // the path ended with a folder that the walk had entered
            None => self.here(),
        }
    }

    /// Goes to the mount or to the root.
    fn begin(&mut self, is_in_mount: bool) -> Result<(), Failed> {
        self.is_in_mount = is_in_mount;
        let path = if is_in_mount { self.mount } else { b"/" };
        let folder = open(OsStr::from_bytes(path), PLACE, Mode::empty());
        let folder = folder.map_err(|errno| (path.to_vec(), errno))?;
        self.folders = vec![(folder, Vec::new())];
        Ok(())
    }

    /// What stands in the folder where the walk is.
    fn child(&self, name: &[u8]) -> Result<Found, Failed> {
        let Some((folder, _)) = self.folders.last() else {
            return Err((self.path_of(name), Errno::ENOENT));
        };
        openat(
            folder,
            OsStr::from_bytes(name),
            PLACE | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )
        .and_then(Found::of)
        .map_err(|errno| self.failed_at(name, errno))
    }

    /// The end of the walk at an entry. No answer holds what is too long for a file: there it is where the walk began.
    fn failed_at(&self, name: &[u8], errno: Errno) -> Failed {
        let path = match (errno, self.is_in_mount) {
            (Errno::ENAMETOOLONG, true) => self.mount.to_vec(),
            (Errno::ENAMETOOLONG, false) => b"/".to_vec(),
            _ => self.path_of(name),
        };
        (path, errno)
    }

    /// The folder where the walk is.
    fn here(&mut self) -> Result<(Vec<u8>, Found), Failed> {
        let Some((folder, name)) = self.folders.pop() else {
            return Err((b"/".to_vec(), Errno::ENOENT));
        };
        let path = match (name.is_empty(), self.is_in_mount) {
            (true, true) => self.mount.to_vec(),
            (true, false) => b"/".to_vec(),
            (false, _) => self.path_of(&name),
        };
        match Found::of(folder) {
            Ok(found) => Ok((path, found)),
            Err(errno) => Err((path, errno)),
        }
    }

    /// The path of an entry of the folder where the walk is.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = if self.is_in_mount { self.mount } else { b"" }.to_vec();
        let names = self.folders.iter().skip(1).map(|(_, name)| name.as_slice());
        for name in names.chain([name]) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}

/// The components of a path, the first one last.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

/// What follows `folder` in a path at or below it.
fn below<'p>(path: &'p [u8], folder: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(folder)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

fn folder_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
    path.get(..end).unwrap_or_default()
}
