//! Records what kinject inherited before Rust's runtime changes it, so that the program can inherit the original.
//!
//! Before `main` the runtime opens `/dev/null` in place of each of descriptors 0 to 2 that is closed, and ignores
//! SIGPIPE; a [`std::process::Command`] empties the signal mask of its program. The program has to inherit all of these
//! as kinject did, as with env(1). So a constructor records them before the runtime runs.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// A bit for each descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether SIGPIPE was ignored.
static IGNORES_PIPE: AtomicBool = AtomicBool::new(false);

/// A bit for each signal that was blocked, the first for signal 1.
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// The signals that Linux has.
const SIGNALS: std::ops::RangeInclusive<libc::c_int> = 1..=64;

/// Run by the dynamic linker, or by libc's start-up code where there is none, before `main` and so before the runtime.
#[used]
// SAFETY: the section holds pointers to functions of this type, and `look` needs nothing of the runtime
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = record;

extern "C" fn record() {
    for descriptor in 0..3 {
        // SAFETY: the call has no preconditions; it fails for a descriptor that is closed
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
    IGNORES_PIPE.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a null new mask changes nothing; the old one is written to `mask`, which is large enough
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr()) } != 0 {
        return;
    }
    for signal in SIGNALS {
        // SAFETY: sigprocmask filled the mask in, as its result says
        if unsafe { libc::sigismember(mask.as_ptr(), signal) } == 1 {
            BLOCKED.fetch_or(1 << (signal - 1), Ordering::Relaxed);
        }
    }
}

/// Whether this process ignores a signal.
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action changes nothing; the old one is written to `action`, which is large enough
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: sigaction filled it in, as its result says; `&&` reads it only then
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Restores all of it between fork and exec: makes system calls and touches no memory but its own stack.
pub(crate) fn restore() -> io::Result<()> {
    let closed = CLOSED.load(Ordering::Relaxed);
    for descriptor in 0..3 {
        if closed & (1 << descriptor) != 0 {
            // SAFETY: nothing in this process owns the descriptor: it is the runtime's stand-in
            let _closed = unsafe { libc::close(descriptor) };
        }
    }
    let pipe = if IGNORES_PIPE.load(Ordering::Relaxed) {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: neither disposition is a function that could be called
    if unsafe { libc::signal(libc::SIGPIPE, pipe) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    let blocked = BLOCKED.load(Ordering::Relaxed);
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the mask is large enough
    if unsafe { libc::sigemptyset(mask.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for signal in SIGNALS {
        if blocked & (1 << (signal - 1)) != 0 {
            // SAFETY: sigemptyset has filled the mask in; libc refuses the signals that are its own, which nobody can
            // block
            let _is_libcs_own = unsafe { libc::sigaddset(mask.as_mut_ptr(), signal) } != 0;
        }
    }
    // SAFETY: the mask is filled in, and null asks for no old one
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
