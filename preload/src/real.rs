//! The functions of libc that the hooks stand in front of, and those that may not be there.
//!
//! Each is the next definition after ours in the dynamic linker's search order (`RTLD_NEXT`, dlsym(3)), so another
//! preloaded library keeps its place. It is looked up at first use, since hooks are called before our constructor and
//! after our destructor, and kept in an atomic: two threads, or a signal handler, may look it up at the same time and
//! find the same. Nothing is locked that a fork could leave locked.
//!
//! Before glibc 2.34 the functions of threads are in a library of their own, which we do not want to load into a program
//! that has none.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::num::NonZeroUsize;
use libc::{
    addrinfo, c_char, c_int, c_uint, c_void, hostent, msghdr, pid_t, pthread_key_t, size_t, sockaddr,
    socklen_t, ssize_t,
};
use once_cell::race::OnceNonZeroUsize;

/// A function of libc, of the type `F`.
pub(crate) struct Function<F> {
    name: &'static CStr,
    address: OnceNonZeroUsize,
    signature: PhantomData<F>,
}

impl<F: Copy> Function<F> {
    /// # Safety
    ///
    /// `F` has to be the type of a pointer to the function that libc has under this name.
    const unsafe fn new(name: &'static CStr) -> Self {
        assert!(size_of::<F>() == size_of::<usize>());
        Self {
            name,
            address: OnceNonZeroUsize::new(),
            signature: PhantomData,
        }
    }

    /// The function, or none if this machine's libc does not have it.
    #[inline]
    pub(crate) fn get(&self) -> Option<F> {
        let address = match self.address.get() {
            Some(known) => known,
            None => self.look_up()?,
        };
        // SAFETY: dlsym gave this address for the name, and `new`'s caller vouches that F is its type
        Some(unsafe { core::mem::transmute_copy::<NonZeroUsize, F>(&address) })
    }

    #[cold]
    fn look_up(&self) -> Option<NonZeroUsize> {
        // SAFETY: the name is a C string that lives forever; dlsym sets no errno
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        let address = NonZeroUsize::new(found as usize)?;
        Some(self.address.get_or_init(|| address))
    }
}

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        $(
            #[allow(non_upper_case_globals, reason = "they bear the names of libc's functions")]
            pub(crate) static $name: Function<unsafe extern "C" fn($($argument),*) -> $result> = {
                const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a name holds no null"),
                };
                // SAFETY: the signatures below are those of the man pages
                unsafe { Function::new(NAME) }
            };
        )*
    };
}

type Argv = *const *const c_char;
type Destructor = unsafe extern "C" fn(*mut c_void);

functions! {
    connect: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    getsockopt: fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    getpeername: fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    sendto: fn(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    sendmsg: fn(c_int, *const msghdr, c_int) -> ssize_t;
    sendmmsg: fn(c_int, *mut libc::mmsghdr, c_uint, c_int) -> c_int;
    recvfrom: fn(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
    __recvfrom_chk: fn(c_int, *mut c_void, size_t, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
    recvmsg: fn(c_int, *mut msghdr, c_int) -> ssize_t;
    recvmmsg: fn(c_int, *mut libc::mmsghdr, c_uint, c_int, *mut libc::timespec) -> c_int;
    getaddrinfo: fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;
    gethostbyname: fn(*const c_char) -> *mut hostent;
    gethostbyname2: fn(*const c_char, c_int) -> *mut hostent;
    gethostbyname_r: fn(*const c_char, *mut hostent, *mut c_char, size_t, *mut *mut hostent, *mut c_int) -> c_int;
    gethostbyname2_r:
        fn(*const c_char, c_int, *mut hostent, *mut c_char, size_t, *mut *mut hostent, *mut c_int) -> c_int;
    execve: fn(*const c_char, Argv, Argv) -> c_int;
    execv: fn(*const c_char, Argv) -> c_int;
    execvp: fn(*const c_char, Argv) -> c_int;
    execvpe: fn(*const c_char, Argv, Argv) -> c_int;
    fexecve: fn(c_int, Argv, Argv) -> c_int;
    execveat: fn(c_int, *const c_char, Argv, Argv, c_int) -> c_int;
    posix_spawn: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Argv, Argv) -> c_int;
    posix_spawnp: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Argv, Argv) -> c_int;
    pthread_key_create: fn(*mut pthread_key_t, Destructor) -> c_int;
    pthread_key_delete: fn(pthread_key_t) -> c_int;
    pthread_getspecific: fn(pthread_key_t) -> *mut c_void;
    pthread_setspecific: fn(pthread_key_t, *const c_void) -> c_int;
}
