//! Unpacks the agent and executes it in place of the loader.

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

/// The agent's `argv[0]`, and the name of its memfd.
const NAME: &CStr = c"kinject-agent";

/// Unpacks the agent and executes it in place of this process; returns only if that fails. `words` are the arguments
/// without the program's name.
///
/// # Safety
///
/// `environment` is an array as execve(2) takes it: pointers to strings that end with a zero byte, and then a null
/// pointer.
pub unsafe fn run(words: &[&CStr], environment: *const *const c_char) -> Failure {
    let arguments = match Arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(failure) => return failure,
    };
    // SAFETY: the caller's promise
    let Err(failure) = unsafe { from_memory(&arguments, environment) };
    match arguments.fallback {
        Some(path) if failure.is_about_memfd() => {
            // SAFETY: the caller's promise
            let Err(failure) = unsafe { from_file(&arguments, path, environment) };
            failure
        }
        _ => failure,
    }
}

/// Executes the agent from a memfd.
///
/// # Safety
///
/// As for [`run`].
unsafe fn from_memory(
    arguments: &Arguments<'_>,
    environment: *const *const c_char,
) -> Result<Infallible, Failure> {
    let file = executable_memfd().map_err(|error| Failure::NotWritten(Destination::Memory, error))?;
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

/// Creates a memfd that may be executed. Linux has a flag for that since 6.3, and refuses an unknown flag. The sysctl
/// `vm.memfd_noexec` can make the flag necessary, or forbid executable memfds.
fn executable_memfd() -> Result<OwnedFd, Errno> {
    match memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(NAME, MemfdFlags::CLOEXEC),
        created => created,
    }
}

/// Executes the agent from the file of `--fallback`.
///
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
    // the kernel does not execute a file that is open for writing (ETXTBSY)
    drop(file);
    // SAFETY: the caller's promise
    let error = unsafe { execute(Program::File(path), &arguments.agent, environment) };
    Err(Failure::NotExecuted(destination, error))
}

/// The file that holds the unpacked agent.
enum Program<'a> {
    /// A memfd, for execveat(2).
    Memory(BorrowedFd<'a>),
    /// A file with a name, for execve(2): some seccomp profiles and sandboxes do not allow execveat(2).
    File(&'a CStr),
}

/// Executes a program in place of this process; returns the error if that fails.
///
/// # Safety
///
/// As for [`run`].
unsafe fn execute(program: Program<'_>, arguments: &[&CStr], environment: *const *const c_char) -> Errno {
    let words = iter::once(&NAME).chain(arguments).map(|word| word.as_ptr());
    let words: Vec<*const c_char> = words.chain(iter::once(ptr::null())).collect();
    let (words, environment) = (words.as_ptr() as usize, environment as usize);
    let outcome = match program {
        // SAFETY: the strings of `words` end with a zero byte and live longer than the call; `words` ends with a null
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
        // SAFETY: as above, and `path` ends with a zero byte
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
