//! Go programs with cgo, whose threads are libc's: their system calls are redirected to the hooks.
//!
//! Go makes its system calls itself, and all those that a program can ask for by one instruction
//! (`kinject_protocol::executable::system_call`). Before `main` our constructor replaces that instruction by a jump
//! to [`enter`], which makes the same system call unless the call has a hook. The hook runs on a stack of its own,
//! since Go's are a few kilobytes; otherwise it runs as in a C program. That requires threads that libc made, as
//! cgo's are; of Go programs without cgo the user is warned before they run.
//!
//! The page of code is never writable and executable at once. If the process may not make it executable again, the
//! file's code is mapped again, and the user is warned. (PR_SET_MDWE of prctl(2) is detected before the program
//! starts, SELinux's `execmod` only here.)
//!
//! Go code may call setenv(3) while other Go code calls a hook, since Go itself reads a copy of the environment. The
//! hooks read a copy, too (`session`).

mod enter;
mod program;
mod stack;

use crate::errno::Errno;
use crate::session::Session;
use crate::sys::{self, Descriptor};
use crate::{exec, memory, real};
use core::ptr;
use kinject_protocol::executable::{self, InjectionBlocker, REPLACEABLE, SystemCall};
use program::{Code, Pages, Program};

/// `movabs $…, %r11`, the address, and `jmp *%r11`. A system call clobbers r11, so the program does not use its value.
const LOAD: [u8; 2] = [0x49, 0xbb];
const JUMP: [u8; 3] = [0x41, 0xff, 0xe3];
const _: () = assert!(LOAD.len() + size_of::<usize>() + JUMP.len() == REPLACEABLE);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = at_start;

/// Redirects the program's system calls to the hooks, if it is a Go program in a session.
extern "C" fn at_start() {
    let Some(session) = Session::current() else {
        return;
    };
    let Some(program) = Program::of_this_process().filter(Program::is_go) else {
        return;
    };
    match patch(&program) {
        Ok(()) => {}
        // its file shows that, and the process that started it in the session has warned the user
        Err(Refusal::NotOpen) if program.has_note() => {}
        Err(Refusal::Mdwe) if program.has_note() && sys::mdwe().holds() => {}
        Err(Refusal::NotOpen) => exec::report_this_program(&session, InjectionBlocker::Go),
        Err(Refusal::Mdwe) => exec::report_this_program(&session, InjectionBlocker::Mdwe),
    }
}

/// Why a Go program is not redirected.
enum Refusal {
    /// Its threads are not libc's, or its system call instruction was not found.
    NotOpen,
    /// Its code cannot be changed.
    Mdwe,
}

impl From<Errno> for Refusal {
    fn from(_: Errno) -> Self {
        Self::Mdwe
    }
}

fn patch(program: &Program) -> Result<(), Refusal> {
    let names = program.dynamic_names().unwrap_or_default();
    memory::find(names, executable::THREADS).ok_or(Refusal::NotOpen)?;
    let found = program.code().find_map(|code| {
        let call = executable::system_call(code.bytes()?, memory::find)?;
        Some((code, call))
    });
    let (code, call) = found.ok_or(Refusal::NotOpen)?;
    look_up();
    replace(&code, call)
}

/// Looks up the functions that the child of a fork calls, in which the dynamic linker's lock may stay locked.
fn look_up() {
    stack::prepare();
    // a function that libc does not have fails when it is called
    let _known = (real::execve.get(), real::execveat.get(), real::syscall.get());
}

/// Replaces the system call by a jump to [`enter::enter`].
fn replace(code: &Code, call: SystemCall) -> Result<(), Refusal> {
    let address = |offset: usize| code.address(offset).ok_or(Refusal::NotOpen);
    let (begin, success, failure) = (
        address(call.begin)?,
        address(call.success)?,
        address(call.failure)?,
    );
    let pages = code.pages(call.begin, REPLACEABLE);
    // from which the code is restored if that becomes necessary
    let file = own_file(code, call).ok_or(Refusal::Mdwe)?;

    enter::continue_at(success, failure);
    // SAFETY: the pages hold the program's code alone, which nobody runs before `main`
    unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_WRITE) }?;
    let jump = jump();
    // SAFETY: the bytes are in these pages, which were made writable, and nobody reads them meanwhile
    unsafe { ptr::copy_nonoverlapping(jump.as_ptr(), begin as *mut u8, jump.len()) };
    // SAFETY: as above; these are the pages' former rights
    let sealed = unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_EXEC) };
    Ok(sealed.inspect_err(|_| restore(&file, &pages))?)
}

fn jump() -> [u8; REPLACEABLE] {
    let address = (enter::enter as *const () as usize).to_ne_bytes();
    let mut jump = [0; REPLACEABLE];
    for (field, byte) in jump.iter_mut().zip(LOAD.into_iter().chain(address).chain(JUMP)) {
        *field = byte;
    }
    jump
}

/// The program's file, if it exists and holds this code. /proc/self/exe is another file if the dynamic linker was
/// started as a program.
fn own_file(code: &Code, call: SystemCall) -> Option<Descriptor> {
    let file = sys::open_at(libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), libc::O_RDONLY).ok()?;
    let mut bytes = [0; REPLACEABLE];
    let offset = code.file_offset(call.begin);
    let length = sys::read_at(&file, &mut bytes, u64::try_from(offset).ok()?).ok()?;
    let mapped = code.bytes()?.get(call.begin..)?.first_chunk::<REPLACEABLE>()?;
    (length == REPLACEABLE && bytes == *mapped).then_some(file)
}

/// Maps the program's file over its code, which cannot be made executable again.
#[cold]
fn restore(file: &Descriptor, pages: &Pages) {
    // SAFETY: the pages hold the program's code alone, which nobody runs yet, and get the same code. If the call
    // fails the program crashes at its first system call, which nothing here can prevent
    let _mapped = unsafe { sys::map_code(file, pages.offset, pages.start, pages.length) };
}
