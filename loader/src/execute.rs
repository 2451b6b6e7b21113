//! From the arguments to the agent in place of this process.

use crate::failure::Destination;
use crate::{Arguments, Failure, unpack};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ffi::{CStr, c_char};
use core::{iter, ptr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::io::Errno;
use syscalls::Sysno;

/// The agent's name among processes.
const NAME: &CStr = c"kinject-agent";

/// Unpacks the agent and becomes it; returns only if that fails. `words` are the arguments without the program's name.
///
/// # Safety
///
/// `environment` points to pointers to strings that end with a zero, the last of which is null, as execve(2) takes
/// them.
pub unsafe fn run(words: &[&CStr], environment: *const *const c_char) -> Failure {
    let arguments = match Arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(failure) => return failure,
    };
    // SAFETY: the caller's promise
    let Err(failure) = unsafe { from_memory(&arguments, environment) };
    match arguments.fallback {
        Some(path) if failure.is_of_memory() => {
            // SAFETY: the caller's promise
            let Err(failure) = unsafe { from_file(&arguments, path, environment) };
            failure
        }
        _ => failure,
    }
}

/// # Safety
///
/// As for [`run`].
unsafe fn from_memory(
    arguments: &Arguments<'_>,
    environment: *const *const c_char,
) -> Result<Infallible, Failure> {
    let file = memory_file().map_err(|error| Failure::NotWritten(Destination::Memory, error))?;
    unpack(
        &arguments.parts,
        &arguments.sha256,
        file.as_fd(),
        &Destination::Memory,
    )?;
    // SAFETY: the caller's promise
    let error = unsafe { execute(Program::Memory(file.as_fd()), &arguments.agent, environment) };
    Err(Failure::NotExecuted(Destination::Memory, error))
}

/// A file in memory that may be executed. Kernels before 6.3 know no flag for that; later ones may be set up so that
/// files are executable only with it, or not at all (`vm.memfd_noexec`).
fn memory_file() -> Result<OwnedFd, Errno> {
    match memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(NAME, MemfdFlags::CLOEXEC),
        made => made,
    }
}

/// # Safety
///
/// As for [`run`].
unsafe fn from_file(
    arguments: &Arguments<'_>,
    path: &CStr,
    environment: *const *const c_char,
) -> Result<Infallible, Failure> {
    let destination = Destination::File(path.to_owned());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file =
        open(path, flags, Mode::RWXU).map_err(|error| Failure::NotWritten(destination.clone(), error))?;
    unpack(&arguments.parts, &arguments.sha256, file.as_fd(), &destination)?;
    // a file that somebody may write to is not executed (ETXTBSY)
    drop(file);
    // SAFETY: the caller's promise
    let error = unsafe { execute(Program::File(path), &arguments.agent, environment) };
    Err(Failure::NotExecuted(destination, error))
}

/// Where the unpacked agent is executed from.
enum Program<'a> {
    /// A file in memory.
    Memory(BorrowedFd<'a>),
    /// A file with a name. It takes execve(2) alone, since some seccomp profiles and sandboxes know no execveat(2).
    File(&'a CStr),
}

/// Becomes that program; says why not.
///
/// # Safety
///
/// As for [`run`].
unsafe fn execute(program: Program<'_>, arguments: &[&CStr], environment: *const *const c_char) -> Errno {
    let words = iter::once(&NAME).chain(arguments).map(|word| word.as_ptr());
    let words: Vec<*const c_char> = words.chain(iter::once(ptr::null())).collect();
    let (words, environment) = (words.as_ptr() as usize, environment as usize);
    let outcome = match program {
        // SAFETY: the strings behind `words` end with zeros and live longer than the call, `words` ends with a null
        // pointer, and so does `environment` by the caller's promise
        Program::Memory(file) => unsafe {
            syscalls::syscall5(
                Sysno::execveat,
                file.as_raw_fd() as usize,
                c"".as_ptr() as usize,
                words,
                environment,
                AtFlags::EMPTY_PATH.bits() as usize,
            )
        },
        // SAFETY: as above, and `path` ends with a zero
        Program::File(path) => unsafe {
            syscalls::syscall3(Sysno::execve, path.as_ptr() as usize, words, environment)
        },
    };
    match outcome {
        // it does not return if it succeeds
        Ok(_) => Errno::NOSYS,
        Err(error) => Errno::from_raw_os_error(error.into_raw()),
    }
}
