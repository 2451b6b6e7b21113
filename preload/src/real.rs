//! The functions of libc that the hooks replace, and functions that this machine's libc may not have.
//!
//! Each is the next definition after ours in the dynamic linker's search order (`RTLD_NEXT`, dlsym(3)), so another
//! preloaded library keeps its position. It is looked up at first use, since hooks are called before our constructor
//! and after our destructor, and kept in an atomic: two threads, or a signal handler, may look it up at the same time
//! and find the same. No lock is taken that a fork could leave locked. dlsym itself is called only for functions that
//! libc and the objects before it do not define ([`crate::link_map`] says why).
//!
//! libc has some functions under a second name (`__connect`). Each name is looked up by itself: a library between
//! ours and libc may define the first one, and reach libc by the second.
//!
//! The atomics are zero before that, and names are constants of types: the dynamic linker would have to relocate each
//! pointer in a static at every exec.
//!
//! Before glibc 2.34 the functions of threads, of the DNS and of asynchronous lookups are in libraries of their own,
//! which the hooks do not load into a program without them; those of the DNS have names with two underscores there.

use crate::link_map::Object;
use crate::lookup::Gaicb;
use crate::resolver::State;
use core::ffi::CStr;
use core::marker::PhantomData;
use core::num::NonZeroUsize;
use libc::{
    FILE, addrinfo, c_char, c_int, c_long, c_uint, c_void, hostent, iovec, mode_t, msghdr, pid_t,
    pthread_key_t, size_t, sockaddr, socklen_t, ssize_t,
};
use once_cell::race::OnceNonZeroUsize;

/// The name and the signature of a function.
///
/// # Safety
///
/// The signature has to be that of the function that libc has under this name.
pub(crate) unsafe trait Named {
    /// A pointer to the function.
    type Signature: Copy;

    /// Its name with two underscores before it, under which it is looked up if the plain name is not found.
    const NAME: &'static CStr;

    /// Another library that may define it, in programs that loaded it by dlopen(3).
    const LIBRARY: Option<&'static CStr>;
}

/// A function of libc.
pub(crate) struct Function<N> {
    address: OnceNonZeroUsize,
    named: PhantomData<N>,
}

impl<N: Named> Function<N> {
    pub(crate) const fn new() -> Self {
        assert!(size_of::<N::Signature>() == size_of::<usize>());
        Self {
            address: OnceNonZeroUsize::new(),
            named: PhantomData,
        }
    }

    /// The function, or none if this machine's libc does not have it.
    #[inline]
    pub(crate) fn get(&self) -> Option<N::Signature> {
        let address = match self.address.get() {
            Some(known) => known,
            None => look_up(&self.address, N::NAME, N::LIBRARY)?,
        };
        Some(Self::at(address))
    }

    /// The same for a function of [`LIBDL`].
    fn get_of_libdl(&self) -> Option<N::Signature> {
        let address = match self.address.get() {
            Some(known) => known,
            None => look_up_in_libdl(&self.address, N::NAME)?,
        };
        Some(Self::at(address))
    }

    #[inline]
    fn at(address: NonZeroUsize) -> N::Signature {
        // SAFETY: the function of this name is at this address, and `Named` vouches for the signature
        unsafe { core::mem::transmute_copy::<NonZeroUsize, N::Signature>(&address) }
    }
}

/// The library of dlsym(3) and dlopen(3) before glibc 2.34.
const LIBDL: &CStr = c"libdl.so.2";

/// With the ABI of C, whose functions the compiler takes not to unwind.
#[cold]
#[inline(never)]
#[allow(improper_ctypes_definitions, reason = "no other language calls it")]
extern "C" fn look_up(
    address: &OnceNonZeroUsize,
    name: &'static CStr,
    library: Option<&'static CStr>,
) -> Option<NonZeroUsize> {
    if library == Some(LIBDL) {
        return look_up_in_libdl(address, name);
    }
    let found = next(name, Object::up_to_libc)
        .or_else(|| find_in(libc::RTLD_NEXT, name))
        .or_else(|| find_in_library(library?, name))?;
    Some(address.get_or_init(|| found))
}

/// With the ABI of C, whose functions the compiler takes not to unwind.
#[cold]
#[inline(never)]
#[allow(improper_ctypes_definitions, reason = "no other language calls it")]
extern "C" fn look_up_in_libdl(address: &OnceNonZeroUsize, name: &'static CStr) -> Option<NonZeroUsize> {
    // the library may come after libc, if ours depends on it
    let found = next(name, Object::and_later)?;
    Some(address.get_or_init(|| found))
}

/// A name without the two underscores that begin it, then with them.
fn spellings(name: &CStr) -> impl Iterator<Item = &CStr> {
    let plain = name.to_bytes_with_nul().strip_prefix(b"__");
    // SAFETY: what is left of a C string ends as it does
    let plain = plain.map(|plain| unsafe { CStr::from_bytes_with_nul_unchecked(plain) });
    plain.into_iter().chain([name])
}

/// The next definition after ours, among these objects from ours on.
fn next<O: Iterator<Item = Object>>(name: &CStr, from: impl Fn(Object) -> O) -> Option<NonZeroUsize> {
    let own = Object::own()?;
    spellings(name).find_map(|name| from(own).skip(1).find_map(|object| object.function(name)))
}

fn find_in(handle: *mut c_void, name: &CStr) -> Option<NonZeroUsize> {
    let native = dlsym.get_of_libdl()?;
    spellings(name).find_map(|name| {
        // SAFETY: the name is a C string, and the handle is valid; dlsym sets no errno
        NonZeroUsize::new(unsafe { native(handle, name.as_ptr()) } as usize)
    })
}

/// Looks up a function in a loaded library that is not in the global scope.
fn find_in_library(library: &CStr, name: &CStr) -> Option<NonZeroUsize> {
    // SAFETY: the name is a C string, and a library that is not loaded is not loaded by this
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return None;
    }
    let found = find_in(handle, name);
    // SAFETY: dlopen gave the handle, which is used no more; the library stays loaded by its other handles
    unsafe { libc::dlclose(handle) };
    found
}

/// A C string of these parts.
macro_rules! name {
    ($($part:expr),*) => {
        match ::core::ffi::CStr::from_bytes_with_nul(concat!($($part,)* "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name holds no null"),
        }
    };
}

/// Functions of libc, and `in` a library that stands alone before glibc 2.34.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty $(, in $library:literal)?;)*) => {
        $(
            #[allow(non_camel_case_types, reason = "they have the names of libc's functions")]
            pub(crate) enum $name {}

            // SAFETY: the signatures are those of the man pages, and the name is made here
            unsafe impl $crate::real::Named for $name {
                type Signature = unsafe extern "C" fn($($argument),*) -> $result;
                const NAME: &::core::ffi::CStr = name!("__", stringify!($name));
                const LIBRARY: Option<&::core::ffi::CStr> = [$(Some(name!($library)),)? None][0];
            }

            #[allow(non_upper_case_globals, reason = "they have the names of libc's functions")]
            pub(crate) static $name: $crate::real::Function<$name> = $crate::real::Function::new();
        )*
    };
}

type Argv = *const *const c_char;
type Destructor = unsafe extern "C" fn(*mut c_void);

functions! {
    connect: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    __connect: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    getsockopt: fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    getpeername: fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    getsockname: fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    shutdown: fn(c_int, c_int) -> c_int;
    bind: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    accept: fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    accept4: fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
    sendto: fn(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    sendmsg: fn(c_int, *const msghdr, c_int) -> ssize_t;
    sendmmsg: fn(c_int, *mut libc::mmsghdr, c_uint, c_int) -> c_int;
    syscall: fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;
    dlopen: fn(*const c_char, c_int) -> *mut c_void, in "libdl.so.2";
    dlmopen: fn(c_long, *const c_char, c_int) -> *mut c_void, in "libdl.so.2";
    dlsym: fn(*mut c_void, *const c_char) -> *mut c_void, in "libdl.so.2";
    dlvsym: fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void, in "libdl.so.2";
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
    gethostbyaddr: fn(*const c_void, socklen_t, c_int) -> *mut hostent;
    gethostbyaddr_r:
        fn(*const c_void, socklen_t, c_int, *mut hostent, *mut c_char, size_t, *mut *mut hostent, *mut c_int) -> c_int;
    getnameinfo:
        fn(*const sockaddr, socklen_t, *mut c_char, socklen_t, *mut c_char, socklen_t, c_int) -> c_int;
    getaddrinfo_a: fn(c_int, *mut *mut Gaicb, c_int, *mut c_void) -> c_int, in "libanl.so.1";
    res_query: fn(*const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_search: fn(*const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_querydomain: fn(*const c_char, *const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_send: fn(*const u8, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_nquery: fn(*mut State, *const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_nsearch: fn(*mut State, *const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_nquerydomain:
        fn(*mut State, *const c_char, *const c_char, c_int, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_nsend: fn(*mut State, *const u8, c_int, *mut u8, c_int) -> c_int, in "libresolv.so.2";
    res_nmkquery: fn(
        *mut State, c_int, *const c_char, c_int, c_int, *const u8, c_int, *const u8, *mut u8, c_int
    ) -> c_int, in "libresolv.so.2";
    open: fn(*const c_char, c_int, mode_t) -> c_int;
    open64: fn(*const c_char, c_int, mode_t) -> c_int;
    __open: fn(*const c_char, c_int, mode_t) -> c_int;
    __open64: fn(*const c_char, c_int, mode_t) -> c_int;
    openat: fn(c_int, *const c_char, c_int, mode_t) -> c_int;
    openat64: fn(c_int, *const c_char, c_int, mode_t) -> c_int;
    __open_2: fn(*const c_char, c_int) -> c_int;
    __open64_2: fn(*const c_char, c_int) -> c_int;
    __openat_2: fn(c_int, *const c_char, c_int) -> c_int;
    __openat64_2: fn(c_int, *const c_char, c_int) -> c_int;
    read: fn(c_int, *mut c_void, size_t) -> ssize_t;
    __read: fn(c_int, *mut c_void, size_t) -> ssize_t;
    __read_chk: fn(c_int, *mut c_void, size_t, size_t) -> ssize_t;
    readv: fn(c_int, *const iovec, c_int) -> ssize_t;
    recv: fn(c_int, *mut c_void, size_t, c_int) -> ssize_t;
    __recv_chk: fn(c_int, *mut c_void, size_t, size_t, c_int) -> ssize_t;
    write: fn(c_int, *const c_void, size_t) -> ssize_t;
    __write: fn(c_int, *const c_void, size_t) -> ssize_t;
    writev: fn(c_int, *const iovec, c_int) -> ssize_t;
    send: fn(c_int, *const c_void, size_t, c_int) -> ssize_t;
    __send: fn(c_int, *const c_void, size_t, c_int) -> ssize_t;
    stat: fn(*const c_char, *mut c_void) -> c_int;
    stat64: fn(*const c_char, *mut c_void) -> c_int;
    lstat: fn(*const c_char, *mut c_void) -> c_int;
    lstat64: fn(*const c_char, *mut c_void) -> c_int;
    fstatat: fn(c_int, *const c_char, *mut c_void, c_int) -> c_int;
    fstatat64: fn(c_int, *const c_char, *mut c_void, c_int) -> c_int;
    statx: fn(c_int, *const c_char, c_int, c_uint, *mut c_void) -> c_int;
    __xstat: fn(c_int, *const c_char, *mut c_void) -> c_int;
    __xstat64: fn(c_int, *const c_char, *mut c_void) -> c_int;
    __lxstat: fn(c_int, *const c_char, *mut c_void) -> c_int;
    __lxstat64: fn(c_int, *const c_char, *mut c_void) -> c_int;
    __fxstatat: fn(c_int, c_int, *const c_char, *mut c_void, c_int) -> c_int;
    __fxstatat64: fn(c_int, c_int, *const c_char, *mut c_void, c_int) -> c_int;
    access: fn(*const c_char, c_int) -> c_int;
    faccessat: fn(c_int, *const c_char, c_int, c_int) -> c_int;
    fopen: fn(*const c_char, *const c_char) -> *mut FILE;
    fopen64: fn(*const c_char, *const c_char) -> *mut FILE;
    _IO_fopen: fn(*const c_char, *const c_char) -> *mut FILE;
    readlink: fn(*const c_char, *mut c_char, size_t) -> ssize_t;
    __readlink_chk: fn(*const c_char, *mut c_char, size_t, size_t) -> ssize_t;
    readlinkat: fn(c_int, *const c_char, *mut c_char, size_t) -> ssize_t;
    __readlinkat_chk: fn(c_int, *const c_char, *mut c_char, size_t, size_t) -> ssize_t;
    getcwd: fn(*mut c_char, size_t) -> *mut c_char;
    __getcwd_chk: fn(*mut c_char, size_t, size_t) -> *mut c_char;
    getwd: fn(*mut c_char) -> *mut c_char;
    __getwd_chk: fn(*mut c_char, size_t) -> *mut c_char;
    get_current_dir_name: fn() -> *mut c_char;
    realpath: fn(*const c_char, *mut c_char) -> *mut c_char;
    __realpath_chk: fn(*const c_char, *mut c_char, size_t) -> *mut c_char;
    canonicalize_file_name: fn(*const c_char) -> *mut c_char;
    glob: fn(*const c_char, c_int, *const c_void, *mut c_void) -> c_int;
    glob64: fn(*const c_char, c_int, *const c_void, *mut c_void) -> c_int;
    readdir: fn(*mut c_void) -> *mut c_void;
    closedir: fn(*mut c_void) -> c_int;
    ftw: fn(*const c_char, *const c_void, c_int) -> c_int;
    ftw64: fn(*const c_char, *const c_void, c_int) -> c_int;
    nftw: fn(*const c_char, *const c_void, c_int, c_int) -> c_int;
    nftw64: fn(*const c_char, *const c_void, c_int, c_int) -> c_int;
    gethostname: fn(*mut c_char, size_t) -> c_int;
    __gethostname_chk: fn(*mut c_char, size_t, size_t) -> c_int;
    uname: fn(*mut libc::utsname) -> c_int;
    rename: fn(*const c_char, *const c_char) -> c_int;
    renameat: fn(c_int, *const c_char, c_int, *const c_char) -> c_int;
    renameat2: fn(c_int, *const c_char, c_int, *const c_char, c_uint) -> c_int;
    link: fn(*const c_char, *const c_char) -> c_int;
    linkat: fn(c_int, *const c_char, c_int, *const c_char, c_int) -> c_int;
    symlink: fn(*const c_char, *const c_char) -> c_int;
    symlinkat: fn(*const c_char, c_int, *const c_char) -> c_int;
    execve: fn(*const c_char, Argv, Argv) -> c_int;
    execv: fn(*const c_char, Argv) -> c_int;
    execvp: fn(*const c_char, Argv) -> c_int;
    execvpe: fn(*const c_char, Argv, Argv) -> c_int;
    fexecve: fn(c_int, Argv, Argv) -> c_int;
    execveat: fn(c_int, *const c_char, Argv, Argv, c_int) -> c_int;
    posix_spawn: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Argv, Argv) -> c_int;
    posix_spawnp: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Argv, Argv) -> c_int;
    system: fn(*const c_char) -> c_int;
    popen: fn(*const c_char, *const c_char) -> *mut FILE;
    _IO_popen: fn(*const c_char, *const c_char) -> *mut FILE;
    pthread_key_create: fn(*mut pthread_key_t, Destructor) -> c_int;
    pthread_key_delete: fn(pthread_key_t) -> c_int;
    pthread_getspecific: fn(pthread_key_t) -> *mut c_void;
    pthread_setspecific: fn(pthread_key_t, *const c_void) -> c_int;
}
