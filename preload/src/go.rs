//! Programs of Go whose threads are libc's (cgo): their system calls are led into the hooks.
//!
//! Go makes its system calls itself, all of those that a program can ask for in one place
//! (`kinject_protocol::executable::system_call`). Before the program's first line runs, the instruction there is
//! replaced by a jump into [`enter`], which makes the same system call unless it is one that has a hook. The hook
//! runs on a stack of its own, since Go's are a few kilobytes; everything else is as in a program of C. That takes
//! threads that libc made, which is what cgo sees to; Go programs without it are named before they run.
//!
//! The page of code is never writable and executable at once. Where a process may not make it executable again (SELinux's
//! `execmod`, prctl(2)'s `PR_SET_MDWE`), the file's own code is put back, and the user is told that the program is
//! outside of the session.

mod enter;
mod program;
mod stack;

use crate::errno::Errno;
use crate::exec;
use crate::memory;
use crate::session::Session;
use crate::sys;
use core::ptr;
use kinject_protocol::executable::{self, Obstacle, REPLACEABLE, SystemCall};
use program::{Code, Pages, Program};

/// `movabs $…, %r11`, the address, and `jmp *%r11`. The kernel leaves what is in r11 to nobody, so nobody misses it.
const LOAD: [u8; 2] = [0x49, 0xbb];
const JUMP: [u8; 3] = [0x41, 0xff, 0xe3];
const _: () = assert!(LOAD.len() + size_of::<usize>() + JUMP.len() == REPLACEABLE);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = lead;

/// Leads the program's system calls into the hooks, if it is a program of Go's in a session.
extern "C" fn lead() {
    let Some(program) = Program::of_this_process() else {
        return;
    };
    if !program.is_go() {
        return;
    }
    let Some(session) = Session::current() else {
        return;
    };
    // others are named before they start
    let names = program.dynamic_names().unwrap_or_default();
    if memory::find(names, executable::THREADS).is_none() {
        return;
    }
    let found = program.code().find_map(|code| {
        let place = executable::system_call(code.bytes, memory::find)?;
        Some((code, place))
    });
    let Some((code, place)) = found else {
        return;
    };
    if replace(&code, place).is_err() {
        exec::tell_of_this_program(&session, Obstacle::Go);
    }
}

/// Puts a jump to [`enter::enter`] in the place of the system call.
fn replace(code: &Code, place: SystemCall) -> Result<(), Errno> {
    const MISSING: Errno = Errno(libc::EFAULT);
    let address = |offset: usize| code.bytes.get(offset).map(|byte| ptr::from_ref(byte) as usize);
    let begin = address(place.begin).ok_or(MISSING)?;
    let (success, failure) = (address(place.success), address(place.failure));
    enter::continue_at(success.ok_or(MISSING)?, failure.ok_or(MISSING)?);

    let pages = code.pages(place.begin, REPLACEABLE);
    // SAFETY: the pages hold the program's code alone, which nobody runs before the program's first line
    unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_WRITE) }?;
    let jump = jump();
    // SAFETY: the bytes are in these pages, which can be written to now, and nobody looks at them meanwhile
    unsafe { ptr::copy_nonoverlapping(jump.as_ptr(), begin as *mut u8, jump.len()) };
    // SAFETY: as above; this is how they were
    let sealed = unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_EXEC) };
    sealed.inspect_err(|_| put_back(&pages))
}

fn jump() -> [u8; REPLACEABLE] {
    let address = (enter::enter as *const () as usize).to_ne_bytes();
    let mut jump = [0; REPLACEABLE];
    for (place, byte) in jump.iter_mut().zip(LOAD.into_iter().chain(address).chain(JUMP)) {
        *place = byte;
    }
    jump
}

/// Maps the program's file again where its code was, now that it may not be run as it is.
#[cold]
fn put_back(pages: &Pages) {
    let Ok(file) = sys::open_at(libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), libc::O_RDONLY) else {
        return;
    };
    // SAFETY: the pages hold the program's code alone, which nobody runs yet, and it is what they get again. Without it
    // the program would die at its first system call, which nothing here could change any more
    let _mapped = unsafe { sys::map_code(&file, pages.offset, pages.start, pages.length) };
}
