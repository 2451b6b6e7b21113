//! The files of a workload's container at their own paths: calls that take a path get one below the shadow root.
//!
//! `KINJECT_PATHS` says which paths those are (`kinject_protocol::environment`), and one pure function what a path is
//! (`kinject_protocol::paths`). Without the variable every hook here continues in libc after one comparison. With it:
//!
//! 1. A path that the table is plainly not about stays the program's own ([`table`]): an absolute one by a filter, a
//!    relative one unless its first component occurs in the table, or it has a `..`.
//! 2. Any other is normalised and routed ([`locate`]); a folder inside the shadow root counts as the container's
//!    folder. Inside the shadow root relative paths work by themselves.
//! 3. What is read-only in the container is refused with the errors that a read-only mount gives ([`decision`]).
//! 4. What the shadow root does not have yet is asked of the relay ([`fetch`]).
//! 5. libc's function is called with the path below the shadow root, and results that show it lose it ([`results`],
//!    [`read_link`], [`walk`], [`wildcards`]).
//!
//! A call that only asks or opens for reading is made of the machine's file first, and repeated if it was about
//! another: the kernel checks the pointer then, which is cheaper than to ask whether it can be read, and nearly all
//! paths are the machine's. fopen(3) is not: a stream is more than a descriptor.
//!
//! What libc opens for itself (getpwnam(3), iconv(3), locale files) reaches no hook. A symbolic link of this machine
//! that leads to a path of the table leads to this machine's file, as the kernel resolves it.

/// Functions of whole numbers and pointers: libc's, and ours in their place. Each of ours calls
/// `$call(libc's function, arguments, $what)`.
macro_rules! functions_of_six_words {
    (by $call:ident, $kind:ident; $($name:ident: $what:expr;)*) => {
        pub(super) mod native {
            functions! {
                $($name: fn(usize, usize, usize, usize, usize, usize) -> usize;)*
            }
        }

        #[cfg(not(test))]
        mod exported {
            use super::*;

            $(
                #[unsafe(no_mangle)]
                extern "C" fn $name(a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> usize {
                    const WHAT: $kind = $what;
                    match native::$name.get() {
                        Some(native) => $call(Native::Function(native as usize), [a, b, c, d, e, f], WHAT),
                        None => WHAT.failure().fail(Errno(libc::ENOSYS)),
                    }
                }
            )*
        }
    };
}

mod buffer;
mod call;
mod decision;
mod fetch;
mod hooks;
mod locate;
mod open_file;
mod program;
mod read_link;
mod results;
mod spec;
mod symlinks;
mod table;
mod temporary;
mod two_paths;
mod unix_socket;
mod walk;
mod wildcards;

pub(crate) use call::{Native, run};
#[cfg(not(test))]
pub(crate) use program::{Library, LibraryPath, library_in_session};
pub(crate) use program::{check_open_program, with_program};
pub(crate) use read_link::link_in_session;
pub(crate) use results::current_folder_in_session;
pub(crate) use spec::{Action, Spec};
pub(crate) use symlinks::link_named_in_session;
#[cfg(not(test))]
pub(crate) use table::is_absent;
pub(crate) use two_paths::{Pair, Two, pair_in_session};
pub(crate) use unix_socket::unix_address;

use kinject_protocol::paths::{Kind, PathTable, Route};

/// Whether the shadow root has what the cluster wrote at a path.
fn is_of_cluster(paths: &PathTable<'_>, path: &[u8]) -> bool {
    matches!(paths.route(path), Route::Shadow(place) if place.kind != Kind::Scratch)
}

/// Arguments as [`run`] takes them.
macro_rules! arguments {
    ($($argument:expr),*) => {{
        let mut arguments = [0_usize; 6];
        let given = [$($argument as usize),*];
        for (field, value) in arguments.iter_mut().zip(given) {
            *field = value;
        }
        arguments
    }};
}
pub(crate) use arguments;
