//! System calls on files.

use super::{Descriptor, call};
use crate::errno::Errno;
use core::ffi::CStr;
use libc::{c_char, c_int, c_uint, c_void};

/// openat(2) of an existing file, for the duration of one call.
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn open_at(folder: c_int, path: *const c_char, flags: c_int) -> Result<Descriptor, Errno> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    open_for_program(folder, path, flags)
}

/// openat(2) of an existing file, with exactly these flags.
pub(crate) fn open_for_program(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
) -> Result<Descriptor, Errno> {
    // SAFETY: the kernel fails with EFAULT where the path cannot be read
    let opened = unsafe {
        call(
            libc::SYS_openat,
            [folder as usize, path as usize, flags as usize, 0, 0, 0],
        )
    };
    opened.map(|descriptor| Descriptor(descriptor as c_int))
}

/// pread(2).
pub(crate) fn read_at(descriptor: &Descriptor, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let arguments = [
        descriptor.raw() as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        offset as usize,
        0,
        0,
    ];
    // SAFETY: the buffer is writable for its length
    unsafe { call(libc::SYS_pread64, arguments) }
}

/// fstat(2).
pub(crate) fn status(descriptor: c_int) -> Result<libc::stat, Errno> {
    // SAFETY: zeros are a status
    let mut status: libc::stat = unsafe { core::mem::zeroed() };
    let arguments = [descriptor as usize, &raw mut status as usize, 0, 0, 0, 0];
    // SAFETY: on 64-bit machines libc's structure is the kernel's, and it is writable
    unsafe { call(libc::SYS_fstat, arguments) }.map(|_| status)
}

/// fstat(2) into the program's memory, which the kernel checks. On 64-bit machines libc's structures are the kernel's.
pub(crate) fn status_to(descriptor: &Descriptor, status: *mut c_void) -> Result<(), Errno> {
    let arguments = [descriptor.raw() as usize, status as usize, 0, 0, 0, 0];
    // SAFETY: the kernel fails with EFAULT where it cannot write
    unsafe { call(libc::SYS_fstat, arguments) }.map(drop)
}

/// statx(2) of a descriptor into the program's memory, which the kernel checks.
pub(crate) fn extended_status_to(
    descriptor: &Descriptor,
    flags: c_int,
    mask: c_uint,
    status: *mut c_void,
) -> Result<(), Errno> {
    let flags = flags | libc::AT_EMPTY_PATH;
    let path = c"".as_ptr() as usize;
    let arguments = [
        descriptor.raw() as usize,
        path,
        flags as usize,
        mask as usize,
        status as usize,
        0,
    ];
    // SAFETY: the path is a C string, and the kernel fails with EFAULT where it cannot write
    unsafe { call(libc::SYS_statx, arguments) }.map(drop)
}

/// access(2) with the real user and group; for existence alone.
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn exists(path: *const c_char) -> bool {
    let arguments = [
        libc::AT_FDCWD as usize,
        path as usize,
        libc::F_OK as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel fails with EFAULT where the path cannot be read
    unsafe { call(libc::SYS_faccessat, arguments) }.is_ok()
}

/// Whether the file's file system ignores set-user-ID bits and capabilities (`nosuid`, mount(8)).
pub(crate) fn is_on_nosuid(descriptor: &Descriptor) -> bool {
    /// The index of `f_flags` among the words of the structure, which is private in libc's.
    const FLAGS: usize = 10;
    let mut status = [0_u64; size_of::<libc::statfs>() / size_of::<u64>()];
    let arguments = [descriptor.raw() as usize, &raw mut status as usize, 0, 0, 0, 0];
    // SAFETY: on 64-bit machines libc's structure is as large as the kernel's, and it is writable
    let done = unsafe { call(libc::SYS_fstatfs, arguments) };
    let flags = status.get(FLAGS).copied().unwrap_or_default();
    done.is_ok() && flags & libc::ST_NOSUID != 0
}

/// fgetxattr(2).
pub(crate) fn attribute(descriptor: &Descriptor, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [
        descriptor.raw() as usize,
        name.as_ptr() as usize,
        value.as_mut_ptr() as usize,
        value.len(),
        0,
        0,
    ];
    // SAFETY: the name is a C string, and the value is writable for its length
    unsafe { call(libc::SYS_fgetxattr, arguments) }
}

/// The size of a buffer for any path that the kernel takes or gives, with its null.
pub(crate) const PATH_SIZE: usize = libc::PATH_MAX as usize;

/// readlink(2); gives the length of the target, which no null ends.
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn read_link(path: *const c_char, target: &mut [u8]) -> Result<usize, Errno> {
    read_link_at(libc::AT_FDCWD, path, target)
}

/// readlinkat(2), likewise.
pub(crate) fn read_link_at(folder: c_int, path: *const c_char, target: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [
        folder as usize,
        path as usize,
        target.as_mut_ptr() as usize,
        target.len(),
        0,
        0,
    ];
    // SAFETY: the kernel fails with EFAULT where the path cannot be read, and the target is writable for its length
    unsafe { call(libc::SYS_readlinkat, arguments) }
}

/// getcwd(2); the path of a folder that is out of reach does not begin with a slash.
pub(crate) fn current_folder(buffer: &mut [u8]) -> Option<&[u8]> {
    let arguments = [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0];
    // SAFETY: the buffer is writable for its length
    let length = unsafe { call(libc::SYS_getcwd, arguments) }.ok()?;
    // the kernel counts the null
    buffer.get(..length.checked_sub(1)?)
}

/// The path of an open file, as far as it has one.
pub(crate) fn path_of_descriptor(descriptor: c_int, buffer: &mut [u8]) -> Option<&[u8]> {
    let link = DescriptorLink::of(descriptor)?;
    let length = read_link(link.as_pointer(), buffer).ok()?;
    buffer.get(..length)
}

/// The path by which a descriptor's file can be opened again, as a C string.
pub(crate) struct DescriptorLink([u8; 32]);

impl DescriptorLink {
    const FOLDER: &[u8] = b"/proc/self/fd/";

    pub(crate) fn of(descriptor: c_int) -> Option<Self> {
        let mut digits = [0; 10];
        let mut rest = u32::try_from(descriptor).ok()?;
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.wrapping_add((rest % 10) as u8);
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        let number = digits.iter().skip(digits.len().saturating_sub(used));
        let mut path = [0; 32];
        // a null follows
        for (field, byte) in path.iter_mut().zip(Self::FOLDER.iter().chain(number)) {
            *field = *byte;
        }
        Some(Self(path))
    }

    pub(crate) fn as_pointer(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// The type and mode of a file (fstatat(2)).
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn mode_at(folder: c_int, path: *const c_char, flags: c_int) -> Result<u32, Errno> {
    // SAFETY: zeros are a status
    let mut status: libc::stat = unsafe { core::mem::zeroed() };
    let arguments = [
        folder as usize,
        path as usize,
        &raw mut status as usize,
        flags as usize,
        0,
        0,
    ];
    // SAFETY: the kernel fails with EFAULT where the path cannot be read; libc's structure is the kernel's
    unsafe { call(libc::SYS_newfstatat, arguments) }.map(|_| status.st_mode)
}
