//! Programs of Go whose threads are libc's (cgo): their system calls are led into the hooks.
//!
//! Go makes its system calls itself, all of those that a program can ask for in one place
//! (`kinject_protocol::executable::system_call`). Before the program's first line runs, the instruction there is
//! replaced by a jump into [`enter`], which makes the same system call unless it is one that has a hook. The hook
//! runs on a stack of its own, since Go's are a few kilobytes; everything else is as in a program of C. That takes
//! threads that libc made, which is what cgo sees to; Go programs without it are named before they run.
//!
//! The page of code is never writable and executable at once. Where a process may not make it executable again, the
//! file's own code is put back, and the user is told. (PR_SET_MDWE of prctl(2) is seen before the program starts,
//! SELinux's `execmod` only here.)
//!
//! Go code may rightly call setenv(3) while other Go code calls us, since Go itself reads a copy of the environment. So
//! the hooks do as well from then on.

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

/// `movabs $…, %r11`, the address, and `jmp *%r11`. The kernel leaves what is in r11 to nobody, so nobody misses it.
const LOAD: [u8; 2] = [0x49, 0xbb];
const JUMP: [u8; 3] = [0x41, 0xff, 0xe3];
const _: () = assert!(LOAD.len() + size_of::<usize>() + JUMP.len() == REPLACEABLE);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = at_start;

/// Leads the program's system calls into the hooks, if it is a program of Go's in a session.
extern "C" fn at_start() {
    let Some(session) = Session::current() else {
        return;
    };
    let Some(program) = Program::of_this_process().filter(Program::is_go) else {
        return;
    };
    match patch(&program) {
        Ok(()) => {}
        // its file shows that by a note, and whoever started it in the session has said so
        Err(Refusal::NotOpen) if program.has_note() => {}
        Err(Refusal::Mdwe) if program.has_note() && sys::mdwe().holds() => {}
        Err(Refusal::NotOpen) => exec::tell_of_this_program(&session, InjectionBlocker::Go),
        Err(Refusal::Mdwe) => exec::tell_of_this_program(&session, InjectionBlocker::Mdwe),
    }
}

/// Why a program of Go is not led.
enum Refusal {
    /// Its threads are not libc's, or its system calls are not where they are expected.
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
        let place = executable::system_call(code.bytes()?, memory::find)?;
        Some((code, place))
    });
    let (code, place) = found.ok_or(Refusal::NotOpen)?;
    look_up();
    replace(&code, place)
}

/// Looks up what the child of a fork needs, where a lock of the dynamic linker may be held for ever.
fn look_up() {
    stack::prepare();
    // what libc does not have is said when it is called
    let _known = (real::execve.get(), real::execveat.get(), real::syscall.get());
}

/// Puts a jump to [`enter::enter`] in the place of the system call.
fn replace(code: &Code, place: SystemCall) -> Result<(), Refusal> {
    let address = |offset: usize| code.address(offset).ok_or(Refusal::NotOpen);
    let (begin, success, failure) = (
        address(place.begin)?,
        address(place.success)?,
        address(place.failure)?,
    );
    let pages = code.pages(place.begin, REPLACEABLE);
    // from which the code is put back if need be
    let file = own_file(code, place).ok_or(Refusal::Mdwe)?;

    enter::continue_at(success, failure);
    // SAFETY: the pages hold the program's code alone, which nobody runs before the program's first line
    unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_WRITE) }?;
    let jump = jump();
    // SAFETY: the bytes are in these pages, which can be written to now, and nobody looks at them meanwhile
    unsafe { ptr::copy_nonoverlapping(jump.as_ptr(), begin as *mut u8, jump.len()) };
    // SAFETY: as above; this is how they were
    let sealed = unsafe { sys::protect(pages.start, pages.length, libc::PROT_READ | libc::PROT_EXEC) };
    Ok(sealed.inspect_err(|_| put_back(&file, &pages))?)
}

fn jump() -> [u8; REPLACEABLE] {
    let address = (enter::enter as *const () as usize).to_ne_bytes();
    let mut jump = [0; REPLACEABLE];
    for (place, byte) in jump.iter_mut().zip(LOAD.into_iter().chain(address).chain(JUMP)) {
        *place = byte;
    }
    jump
}

/// The program's file, if it is there and holds this code. The one that the kernel names is another where somebody
/// started the dynamic linker as a program.
fn own_file(code: &Code, place: SystemCall) -> Option<Descriptor> {
    let file = sys::open_at(libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), libc::O_RDONLY).ok()?;
    let mut bytes = [0; REPLACEABLE];
    let offset = code.file_offset(place.begin);
    let length = sys::read_at(&file, &mut bytes, u64::try_from(offset).ok()?).ok()?;
    let mapped = code.bytes()?.get(place.begin..)?.first_chunk::<REPLACEABLE>()?;
    (length == REPLACEABLE && bytes == *mapped).then_some(file)
}

/// Maps the program's file again where its code was, now that it may not be run as it is.
#[cold]
fn put_back(file: &Descriptor, pages: &Pages) {
    // SAFETY: the pages hold the program's code alone, which nobody runs yet, and it is what they get again. Without it
    // the program would die at its first system call, which nothing here could change any more
    let _mapped = unsafe { sys::map_code(file, pages.offset, pages.start, pages.length) };
}
