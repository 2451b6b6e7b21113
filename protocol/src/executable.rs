//! Programs that cannot be injected: the dynamic linker does not load the library into them, or they make their system
//! calls without libc.
//!
//! The launcher checks the file of its first program, and the library those that programs start, before they run: the
//! ELF headers ([`injection_blocker`]), the file's mode and capabilities ([`Rights`]), and the first line of scripts
//! ([`interpreter`]). A program whose file shows no network calls does not need the session and has no blocker.
//!
//! The library runs this in children of vfork(2): nothing here allocates or can panic. A file may hold anything: a file
//! that cannot be parsed has no blocker, and the kernel reports what is wrong with it.
//!
//! What is not generic is marked `#[inline]`: the library may call only what its own compilation sees to be unable to
//! panic.

mod elf;
mod go;
mod go_note;
mod injection_blocker;
mod mdwe;
mod network;
mod number;
mod rights;
mod runtime;
mod script;
mod search;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use go::system_call;
pub use go::{REPLACEABLE, SystemCall, THREADS};
pub use go_note::has_note;
pub use injection_blocker::InjectionBlocker;
pub use mdwe::{Mdwe, PR_GET_MDWE};
pub use rights::{Rights, holds_capabilities};
pub use runtime::Runtime;
pub use script::interpreter;

use elf::{Class, Image};

/// How much of a file's beginning is read first: with the usual linkers it holds all that is looked at.
pub const HEAD: usize = 4096;

/// How many interpreters the kernel follows from script to script.
pub const MAX_INTERPRETERS: usize = 5;

/// A program's file. The library and the launcher read it in their own ways.
pub trait File {
    /// Reads at `offset`; gives how many bytes there were, none at all if it cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize>;

    /// Where `needle` first stands in `haystack`, as memmem(3) finds it.
    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize>;
}

/// The runtime library of a sanitizer that the program in this file needs to be loaded first; `head` as in
/// [`injection_blocker`].
pub fn runtime(file: &impl File, head: &[u8]) -> Option<Runtime> {
    Runtime::of(&Image::read(file, head)?.ok()?)
}

/// Whether a library asks others for the network, as far as its file shows; `head` as in [`injection_blocker`].
pub fn library_uses_network(file: &impl File, head: &[u8]) -> bool {
    match Image::read(file, head) {
        Some(Ok(image)) => network::is_asked_for(&image),
        // nothing that is loaded
        Some(Err(_)) | None => false,
    }
}

/// Why the program in this file cannot be injected; none if it can.
///
/// `head` is the file's beginning, [`HEAD`] bytes or all there are; `elevated` what its [`Rights`] say; `has_mdwe` is
/// asked whether the program may not make written memory executable ([`Mdwe`]), `is_hidden` whether the library cannot
/// be found from the root directory that the program will have.
pub fn injection_blocker(
    file: &impl File,
    head: &[u8],
    elevated: Option<InjectionBlocker>,
    has_mdwe: impl FnOnce() -> bool,
    is_hidden: impl Fn() -> bool,
) -> Option<InjectionBlocker> {
    let image = match Image::read(file, head)? {
        Ok(image) => image,
        Err(elf::Foreign) => return Some(InjectionBlocker::Architecture),
    };
    let found = match (elevated, image.class(), image.interpreter()) {
        (Some(elevated), ..) => elevated,
        (None, Class::Narrow, _) => InjectionBlocker::Narrow,
        (None, Class::Wide, elf::Interpreter::None) => InjectionBlocker::Static,
        (None, Class::Wide, elf::Interpreter::OtherLibc) => InjectionBlocker::Libc,
        // its network calls may all be in its libraries
        (None, Class::Wide, elf::Interpreter::Usual) if is_hidden() => return Some(InjectionBlocker::Hidden),
        (None, Class::Wide, elf::Interpreter::Usual) if image.is_go() => match go::is_open(&image) {
            true if has_mdwe() => InjectionBlocker::Mdwe,
            true => return None,
            false => InjectionBlocker::Go,
        },
        (None, Class::Wide, elf::Interpreter::Usual) => return None,
    };
    if !network::is_used(&image) {
        return None;
    }
    Some(match found {
        InjectionBlocker::Static if image.is_go() => InjectionBlocker::Go,
        other => other,
    })
}
