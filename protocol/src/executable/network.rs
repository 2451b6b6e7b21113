//! Whether a program makes network calls, as far as its file shows.
//!
//! A static program that opens sockets contains the system call for it, and a Go program with package `net` the names
//! of its functions; a dynamic one names the functions that it calls, or those by which it starts others. In doubt the
//! answer is yes.

use super::File;
use super::elf::{Class, Image, Interpreter};
use super::search::{OVERLAP, any};

/// What cannot be looked at may use the network.
const IN_DOUBT: bool = true;

/// A method of Go's package `net` that every connection has.
const GO_NETWORK: &[u8] = b"net.(*netFD)";

/// What a dynamic program that uses the network itself, or has others use it, asks of its libraries.
const FUNCTIONS: [&[u8]; 12] = [
    b"socket\0",
    b"getaddrinfo\0",
    b"gethostbyname\0",
    b"execv\0",
    b"execve\0",
    b"execvp\0",
    b"execvpe\0",
    b"execl\0",
    b"execlp\0",
    b"execle\0",
    b"posix_spawn\0",
    b"posix_spawnp\0",
];

/// Whether the program uses the network or starts others.
pub(super) fn is_used<F: File>(image: &Image<'_, F>) -> bool {
    if let Some(functions) = image.go_functions() {
        return any(image.file, functions, IN_DOUBT, |chunk| {
            image.file.find(chunk, GO_NETWORK).is_some()
        });
    }
    if image.is_go() {
        return true;
    }
    match (image.interpreter(), image.class()) {
        (Interpreter::None, Class::Wide) => image.code().any(|range| {
            any(image.file, range, IN_DOUBT, |chunk| {
                opens_sockets(image.file, chunk)
            })
        }),
        // other calls than these open sockets there
        (Interpreter::None, Class::Narrow) => true,
        (Interpreter::Usual | Interpreter::OtherLibc, _) => is_asked_for(image),
    }
}

/// Whether a dynamic program or library asks others for the network.
pub(super) fn is_asked_for<F: File>(image: &Image<'_, F>) -> bool {
    image.dynamic_names().is_none_or(|names| {
        let asks = |chunk: &[u8]| {
            FUNCTIONS
                .iter()
                .any(|name| image.file.find(chunk, name).is_some())
        };
        any(image.file, names, IN_DOUBT, asks)
    })
}

/// Whether this code makes the system call socket(2): its number goes into a register, and the call follows closely.
fn opens_sockets(file: &impl File, code: &[u8]) -> bool {
    let mut rest = code;
    while let Some(found) = file.find(rest, LOAD_SOCKET) {
        let Some(behind) = rest.get(found.saturating_add(LOAD_SOCKET.len())..) else {
            return false;
        };
        let close = behind.get(..OVERLAP - LOAD_SOCKET.len()).unwrap_or(behind);
        if file.find(close, CALL).is_some() {
            return true;
        }
        rest = behind;
    }
    false
}

/// `mov $41, %eax`.
#[cfg(target_arch = "x86_64")]
const LOAD_SOCKET: &[u8] = b"\xb8\x29\0\0\0";
/// `syscall`.
#[cfg(target_arch = "x86_64")]
const CALL: &[u8] = b"\x0f\x05";

/// `mov x8, #198` and `mov w8, #198`, without the byte in which they differ.
#[cfg(target_arch = "aarch64")]
const LOAD_SOCKET: &[u8] = b"\xc8\x18\x80";
/// `svc #0`.
#[cfg(target_arch = "aarch64")]
const CALL: &[u8] = b"\x01\0\0\xd4";
