//! What a session cannot reach into: programs into which the dynamic linker does not load the library, or that make
//! their system calls without libc.
//!
//! This is seen from the program's file before it runs, by the launcher for its first program and by the library for
//! those that programs start: from the ELF headers ([`obstacle`]), the file's mode and capabilities ([`Rights`]), and
//! for scripts from their first line ([`interpreter`]). A program that makes no network calls as far as its file
//! shows is no matter of a session's, and has no obstacle.
//!
//! The library asks this in children of vfork(2): nothing is allocated, and nothing here can panic. A file may hold
//! anything: what cannot be read as it should be is no obstacle, and the kernel will say what it thinks of it.
//!
//! What is not generic is marked `#[inline]`: the library may call only what its own compilation sees to be unable to
//! panic.

mod elf;
mod go;
mod network;
mod obstacle;
mod rights;
mod runtime;
mod script;
mod sealing;
mod search;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use go::system_call;
pub use go::{REPLACEABLE, SystemCall, THREADS, has_note};
pub use obstacle::Obstacle;
pub use rights::{Rights, holds_capabilities};
pub use runtime::Runtime;
pub use script::interpreter;
pub use sealing::{PR_GET_MDWE, Sealing};

use elf::{Class, Image};

/// How much of a file's beginning is read first: with the usual linkers it holds all that is looked at.
pub const HEAD: usize = 4096;

/// How many interpreters the kernel follows from script to script.
pub const MOST_INTERPRETERS: usize = 5;

/// A program's file. The library and the launcher read it in their own ways.
pub trait File {
    /// Reads at `offset`; gives how many bytes there were, none at all if it cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize>;

    /// Where `needle` first stands in `haystack`, as memmem(3) finds it.
    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize>;
}

/// The runtime library of a sanitizer that the program in this file wants to be loaded first; `head` as in [`obstacle`].
pub fn runtime(file: &impl File, head: &[u8]) -> Option<Runtime> {
    Runtime::of(&Image::read(file, head)?.ok()?)
}

/// Whether a library asks others for the network, as far as its file shows; `head` as in [`obstacle`].
pub fn library_uses_network(file: &impl File, head: &[u8]) -> bool {
    match Image::read(file, head) {
        Some(Ok(image)) => network::is_asked_for(&image),
        // nothing that is loaded
        Some(Err(_)) | None => false,
    }
}

/// What keeps a session out of the program in this file.
///
/// `head` is the file's beginning, [`HEAD`] bytes or all there are; `elevated` what its [`Rights`] say; `is_sealed` is asked
/// whether the program may not make code of its own ([`Sealing`]), `is_hidden` whether the library is not to be seen from
/// the root directory that the program will have.
pub fn obstacle(
    file: &impl File,
    head: &[u8],
    elevated: Option<Obstacle>,
    is_sealed: impl FnOnce() -> bool,
    is_hidden: impl Fn() -> bool,
) -> Option<Obstacle> {
    let image = match Image::read(file, head)? {
        Ok(image) => image,
        Err(elf::Foreign) => return Some(Obstacle::Architecture),
    };
    let found = match (elevated, image.class(), image.interpreter()) {
        (Some(elevated), ..) => elevated,
        (None, Class::Narrow, _) => Obstacle::Narrow,
        (None, Class::Wide, elf::Interpreter::None) => Obstacle::Static,
        (None, Class::Wide, elf::Interpreter::OtherLibc) => Obstacle::Libc,
        // what it does with the network may be in its libraries alone
        (None, Class::Wide, elf::Interpreter::Usual) if is_hidden() => return Some(Obstacle::Hidden),
        (None, Class::Wide, elf::Interpreter::Usual) if image.is_go() => match go::is_open(&image) {
            true if is_sealed() => Obstacle::Sealed,
            true => return None,
            false => Obstacle::Go,
        },
        (None, Class::Wide, elf::Interpreter::Usual) => return None,
    };
    if !network::is_used(&image) {
        return None;
    }
    Some(match found {
        Obstacle::Static if image.is_go() => Obstacle::Go,
        other => other,
    })
}
