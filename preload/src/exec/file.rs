//! A program's file, found as exec(3) finds it and read in parts.

use crate::environment;
use crate::errno::Errno;
use crate::memory;
use crate::sys::{self, Descriptor, DescriptorLink};
use core::ffi::CStr;
use kinject_protocol::executable::{self, InjectionBlocker, Rights, holds_capabilities};
use libc::{c_char, c_int};

/// The size of the longest path, with its null; a program with a longer one is not inspected.
const PATH_SIZE: usize = 1024;

/// The folders that execvp(3) searches when PATH is not set.
const DEFAULT_PATH: &CStr = c"/bin:/usr/bin";

/// How a program is named.
#[derive(Clone, Copy)]
pub(super) enum Name {
    /// By a path, relative to a folder.
    At(c_int, *const c_char),
    /// By a path, or a name that is searched for in PATH.
    InPath(*const c_char),
    /// By a descriptor.
    Open(c_int),
}

/// A path as a C string, on the stack.
pub(super) struct Path {
    bytes: [u8; PATH_SIZE],
    length: usize,
}

impl Path {
    /// The parts one after the other; none if they are too long.
    fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut path = Self {
            bytes: [0; PATH_SIZE],
            length: 0,
        };
        for part in parts {
            let end = path.length.checked_add(part.len())?;
            // one byte more for the null
            path.bytes.get(end)?;
            let free = path.bytes.get_mut(path.length..end)?;
            free.iter_mut()
                .zip(*part)
                .for_each(|(field, byte)| *field = *byte);
            path.length = end;
        }
        Some(path)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// A C string, since a null follows the last byte.
    fn as_pointer(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

/// A program's file, open for the duration of one inspection.
pub(super) struct ProgramFile {
    descriptor: Descriptor,
    status: libc::stat,
}

impl ProgramFile {
    /// Opens the file that the exec family would start; none if there is none, or no program.
    pub(super) fn open(name: Name) -> Option<(Self, Path)> {
        match name {
            Name::At(folder, path) => {
                let file = Self::open_at(folder, path)?;
                // SAFETY: the kernel found a file of this name, so it is a C string
                Some((file, Path::of(&[unsafe { CStr::from_ptr(path) }.to_bytes()])?))
            }
            Name::InPath(name) => {
                // SAFETY: libc reads the name as a C string, too, before it calls the kernel
                let is_path = !unsafe { libc::strchr(name, c_int::from(b'/')) }.is_null();
                if is_path {
                    return Self::open(Name::At(libc::AT_FDCWD, name));
                }
                // SAFETY: as above
                Self::search(unsafe { CStr::from_ptr(name) }.to_bytes())
            }
            Name::Open(descriptor) => {
                let link = DescriptorLink::of(descriptor)?;
                let file = Self::open_at(libc::AT_FDCWD, link.as_pointer())?;
                let mut target = [0; PATH_SIZE];
                let length = sys::read_link(link.as_pointer(), &mut target).ok()?;
                Some((file, Path::of(&[target.get(..length)?])?))
            }
        }
    }

    /// Whether the library at a path imports functions of the network.
    #[cfg(not(test))]
    pub(super) fn is_library_with_network(path: *const c_char) -> bool {
        let mut head = [0; executable::HEAD];
        let opened = sys::open_at(libc::AT_FDCWD, path, libc::O_RDONLY);
        let file = opened.and_then(|descriptor| {
            let status = sys::status(descriptor.raw())?;
            Ok(Self { descriptor, status })
        });
        let Ok(file) = file else { return false };
        let read = executable::File::read_at(&file, 0, &mut head);
        let head = read.and_then(|length| head.get(..length)).unwrap_or_default();
        executable::library_uses_network(&file, head)
    }

    /// Opens the interpreter of a script.
    pub(super) fn open_interpreter(path: &[u8]) -> Option<(Self, Path)> {
        let path = Path::of(&[path])?;
        Some((Self::open_path(&path)?, path))
    }

    /// Whether the file's set-user-ID bit or capabilities keep the library out.
    pub(super) fn elevation(&self) -> Option<InjectionBlocker> {
        let is_special = Rights::is_special(self.status.st_mode);
        let (user, own_group) = sys::real_ids();
        let has_capabilities = user != 0 && self.has_capabilities();
        if !is_special && !has_capabilities {
            return None;
        }
        let rights = Rights {
            mode: self.status.st_mode,
            owner: self.status.st_uid,
            group: self.status.st_gid,
            user,
            own_group,
            has_capabilities,
        };
        rights
            .blocker()
            .filter(|_| !sys::has_no_new_privileges() && !sys::is_on_nosuid(&self.descriptor))
    }

    fn has_capabilities(&self) -> bool {
        let mut value = [0; 24];
        sys::attribute(&self.descriptor, c"security.capability", &mut value)
            .ok()
            .and_then(|length| value.get(..length))
            .is_some_and(holds_capabilities)
    }

    fn search(name: &[u8]) -> Option<(Self, Path)> {
        // SAFETY: environ is the program's environment: null, or an array that a null ends
        let given = unsafe { environment::find(environment::own(), "PATH") };
        let folders = match given {
            // SAFETY: entries point to C strings
            Some(entry) => unsafe { CStr::from_ptr(entry.value()) },
            None => DEFAULT_PATH,
        };
        folders.to_bytes().split(|byte| *byte == b':').find_map(|folder| {
            let separator: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            let path = Path::of(&[folder, separator, name])?;
            Some((Self::open_path(&path)?, path))
        })
    }

    fn open_path(path: &Path) -> Option<Self> {
        Self::open_at(libc::AT_FDCWD, path.as_pointer())
    }

    fn open_at(folder: c_int, path: *const c_char) -> Option<Self> {
        let descriptor = match sys::open_at(folder, path, libc::O_RDONLY) {
            // the file is executable and not readable
            Err(Errno(libc::EACCES)) => sys::open_at(folder, path, libc::O_PATH),
            opened => opened,
        };
        let descriptor = descriptor.ok()?;
        let status = sys::status(descriptor.raw()).ok()?;
        let is_program = status.st_mode & libc::S_IFMT == libc::S_IFREG && status.st_mode & 0o111 != 0;
        is_program.then_some(Self { descriptor, status })
    }
}

impl executable::File for ProgramFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        sys::read_at(&self.descriptor, buffer, offset).ok()
    }

    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize> {
        memory::find(haystack, needle)
    }
}
