//! Error numbers, and the program's own `errno`.

use libc::c_int;

/// An error number of the kernel (errno(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    /// The result of a system call by its result register.
    #[inline]
    pub(crate) fn check(result: isize) -> Result<usize, Self> {
        const LARGEST: isize = 4095;
        if (-LARGEST..0).contains(&result) {
            Err(Self(result.wrapping_neg() as c_int))
        } else {
            Ok(result as usize)
        }
    }

    /// The calling thread's `errno`.
    #[inline]
    pub(crate) fn current() -> Self {
        // SAFETY: libc gives each thread an `errno` that lives as long as the thread
        Self(unsafe { *libc::__errno_location() })
    }

    /// Sets the calling thread's `errno`.
    #[inline]
    pub(crate) fn set(self) {
        // SAFETY: as above, and only the thread itself writes it
        unsafe { *libc::__errno_location() = self.0 };
    }

    /// Sets `errno` and returns -1, as most functions of libc do.
    #[inline]
    pub(crate) fn fail(self) -> c_int {
        self.set();
        -1
    }
}

/// Runs `operation` and restores the program's `errno`.
#[inline]
pub(crate) fn preserve<T>(operation: impl FnOnce() -> T) -> T {
    let before = Errno::current();
    let result = operation();
    before.set();
    result
}
