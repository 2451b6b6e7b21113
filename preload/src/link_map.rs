//! The objects that the dynamic linker has loaded, and what they define (`link_map` of link.h, elf(5)).
//!
//! dlsym(3) finds the same. But it frees the message that the program's last dlopen(3) left for dlerror(3), with the
//! program's `free`: the program loses the message, a signal handler may free memory, and a sanitizer that writes a
//! report may be given memory that it did not allocate. And dlsym is one of our hooks.
//!
//! Nothing is locked. Objects that the program was started with are never unloaded, and precede all others in the
//! list; a walk from our library to libc visits such objects alone. A library that was loaded later may be unloaded
//! at any time, so it is searched for with dl_iterate_phdr(3), which holds the dynamic linker's lock
//! ([`loaded_function`]).

use core::ffi::CStr;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_char, c_int, c_void};

/// libc's own name for itself.
pub(crate) const LIBC: &CStr = c"libc.so.6";

/// The public part of `struct link_map`.
#[repr(C)]
struct LinkMap {
    base: usize,
    path: *const c_char,
    dynamic: *const Entry,
    next: *const Self,
    previous: *const Self,
}

/// `Elf64_Dyn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    tag: i64,
    value: usize,
}

/// `Elf64_Sym`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: u64,
}

impl Symbol {
    const UNDEFINED: u16 = 0;
    const NO_TYPE: u8 = 0;
    const FUNCTION: u8 = 2;

    /// A function at a fixed address. The address of an `STT_GNU_IFUNC` is the result of a resolver function.
    fn is_function(&self) -> bool {
        self.section != Self::UNDEFINED && matches!(self.info & 0xf, Self::NO_TYPE | Self::FUNCTION)
    }
}

/// A loaded object: the program or a library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object(NonNull<LinkMap>);

impl Object {
    /// The object that this library is.
    pub(crate) fn own() -> Option<Self> {
        static OWN: AtomicPtr<LinkMap> = AtomicPtr::new(ptr::null_mut());
        if let Some(known) = NonNull::new(OWN.load(Ordering::Relaxed)) {
            return Some(Self(known));
        }
        let found = Self::containing((&raw const OWN).cast())?;
        OWN.store(found.0.as_ptr(), Ordering::Relaxed);
        Some(found)
    }

    /// The object that an address lies in.
    pub(crate) fn containing(address: *const c_void) -> Option<Self> {
        let mut information = core::mem::MaybeUninit::<libc::Dl_info>::uninit();
        let mut map = ptr::null_mut::<c_void>();
        // SAFETY: any address may be asked about, which is read nowhere; there is room for both results
        let is_found =
            unsafe { dladdr1(address, information.as_mut_ptr(), &raw mut map, RTLD_DL_LINKMAP) } != 0;
        is_found.then(|| NonNull::new(map.cast()).map(Self))?
    }

    /// This object and all that were loaded after it.
    pub(crate) fn and_later(self) -> impl Iterator<Item = Self> {
        core::iter::successors(Some(self), |object| {
            NonNull::new(object.map().next.cast_mut()).map(Self)
        })
    }

    /// Those of [`Self::and_later`] up to libc.
    pub(crate) fn up_to_libc(self) -> impl Iterator<Item = Self> {
        let mut is_over = false;
        self.and_later().take_while(move |object| {
            let was_over = is_over;
            is_over = was_over || object.has_name(LIBC);
            !was_over
        })
    }

    /// Whether this is its name (`DT_SONAME`), by which others depend on it.
    pub(crate) fn has_name(self, name: &CStr) -> bool {
        let Some(tables) = self.tables() else {
            return false;
        };
        tables.name.is_some_and(|offset| {
            // SAFETY: the name is one of the object's strings
            unsafe { is_same(tables.strings.wrapping_add(offset), name) }
        })
    }

    /// The function that it defines under this name, in the default version.
    pub(crate) fn function(self, name: &CStr) -> Option<NonZeroUsize> {
        const IS_HIDDEN: u16 = 0x8000;
        const FIRST_VERSION: u16 = 2;
        self.find(name, |symbol, version| {
            let is_old = version & IS_HIDDEN != 0 && version & !IS_HIDDEN >= FIRST_VERSION;
            symbol.is_function() && !is_old
        })
    }

    /// Whether the function at this address is what it defines under this name, in any version.
    pub(crate) fn defines(self, name: &CStr, address: NonZeroUsize) -> bool {
        let base = self.map().base;
        self.find(name, |symbol, _| {
            symbol.is_function() && symbol.value.wrapping_add(base) == address.get()
        })
        .is_some()
    }

    fn map(&self) -> &LinkMap {
        // SAFETY: the dynamic linker keeps it for as long as the object is loaded, and changes only the links to others
        unsafe { self.0.as_ref() }
    }

    fn tables(self) -> Option<Tables> {
        Tables::read(self.map())
    }

    fn find(self, name: &CStr, matches: impl FnMut(&Symbol, u16) -> bool) -> Option<NonZeroUsize> {
        let found = self.tables()?.find(name, matches)?;
        NonZeroUsize::new(self.map().base.wrapping_add(found.value))
    }
}

/// The function that a library of that name (`DT_SONAME`) defines, if the library is loaded, at the start or later. The
/// caller has to know that it stays loaded.
pub(crate) fn loaded_function(library: &CStr, name: &CStr) -> Option<NonZeroUsize> {
    let mut search = Search {
        library,
        name,
        found: None,
    };
    // SAFETY: the callback gets `search`, which lives until the call is over
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

/// What [`visit`] searches for.
struct Search<'a> {
    library: &'a CStr,
    name: &'a CStr,
    found: Option<NonZeroUsize>,
}

/// Visits one object, which stays loaded meanwhile; the iteration ends at the library of that name.
unsafe extern "C" fn visit(
    information: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the dynamic linker passes the description of an object
    let information = unsafe { &*information };
    // SAFETY: this is what `loaded_function` passes
    let search = unsafe { &mut *search.cast::<Search<'_>>() };
    let base = information.dlpi_addr as usize;
    let mut map = LinkMap {
        base,
        path: information.dlpi_name,
        dynamic: ptr::null(),
        next: ptr::null(),
        previous: ptr::null(),
    };
    for index in 0..usize::from(information.dlpi_phnum) {
        // SAFETY: the object has that many program headers
        let header = unsafe { information.dlpi_phdr.wrapping_add(index).read() };
        if header.p_type == libc::PT_DYNAMIC {
            map.dynamic = ptr::with_exposed_provenance(base.wrapping_add(header.p_vaddr as usize));
        }
    }
    let object = Object(NonNull::from(&mut map));
    let matches = object.has_name(search.library);
    if matches {
        search.found = object.function(search.name);
    }
    c_int::from(matches)
}

/// What the dynamic section of an object points to.
struct Tables {
    strings: *const c_char,
    symbols: *const Symbol,
    versions: *const u16,
    gnu_hash: *const u32,
    hash: *const u32,
    /// `DT_SONAME`, an offset into the strings.
    name: Option<usize>,
}

impl Tables {
    /// None of an object without symbols.
    fn read(map: &LinkMap) -> Option<Self> {
        const STRINGS: i64 = 5;
        const SYMBOLS: i64 = 6;
        const HASH: i64 = 4;
        const NAME: i64 = 14;
        const VERSIONS: i64 = 0x6fff_fff0;
        const GNU_HASH: i64 = 0x6fff_fef5;
        if map.dynamic.is_null() {
            return None;
        }
        let mut tables = Self {
            strings: ptr::null(),
            symbols: ptr::null(),
            versions: ptr::null(),
            gnu_hash: ptr::null(),
            hash: ptr::null(),
            name: None,
        };
        let mut next = map.dynamic;
        loop {
            // SAFETY: no entry before this one was the last, so this one is part of the section
            let entry = unsafe { next.read() };
            match entry.tag {
                0 => break,
                STRINGS => tables.strings = map.absolute(entry.value),
                SYMBOLS => tables.symbols = map.absolute(entry.value),
                VERSIONS => tables.versions = map.absolute(entry.value),
                GNU_HASH => tables.gnu_hash = map.absolute(entry.value),
                HASH => tables.hash = map.absolute(entry.value),
                NAME => tables.name = Some(entry.value),
                _ => {}
            }
            next = next.wrapping_add(1);
        }
        (!tables.strings.is_null() && !tables.symbols.is_null()).then_some(tables)
    }

    fn find(&self, name: &CStr, matches: impl FnMut(&Symbol, u16) -> bool) -> Option<Symbol> {
        match (self.gnu_hash.is_null(), self.hash.is_null()) {
            (false, _) => self.find_by_gnu_hash(name, matches),
            (true, false) => self.find_by_hash(name, matches),
            (true, true) => None,
        }
    }

    /// The table of `DT_GNU_HASH`: four numbers, a Bloom filter, buckets, and for each symbol its hash, of which the
    /// lowest bit says that a chain ends.
    fn find_by_gnu_hash(&self, name: &CStr, mut matches: impl FnMut(&Symbol, u16) -> bool) -> Option<Symbol> {
        let at = |number: *const u32| {
            // SAFETY: the table is mapped, and the numbers at its beginning say how long each part of it is
            unsafe { number.read() }
        };
        let table = self.gnu_hash;
        let (buckets, first) = (at(table), at(table.wrapping_add(1)));
        let (words, shift) = (at(table.wrapping_add(2)), at(table.wrapping_add(3)));
        let filter = table.wrapping_add(4).cast::<u64>();
        let hash = gnu_hash(name);
        let word = filter.wrapping_add((hash / u64::BITS).checked_rem(words)? as usize);
        // SAFETY: as above
        let word = unsafe { word.read() };
        let may_hold = |hash: u32| word.wrapping_shr(hash % u64::BITS) & 1 != 0;
        if !may_hold(hash) || !may_hold(hash.wrapping_shr(shift)) {
            return None;
        }
        let bucket_table = filter.wrapping_add(words as usize).cast::<u32>();
        let chains = bucket_table.wrapping_add(buckets as usize);
        let mut index = at(bucket_table.wrapping_add(hash.checked_rem(buckets)? as usize));
        if index < first {
            return None;
        }
        loop {
            let found = at(chains.wrapping_add(index.wrapping_sub(first) as usize));
            if found | 1 == hash | 1 {
                let symbol = self.named(index, name);
                if let Some(symbol) = symbol.filter(|symbol| matches(symbol, self.version(index))) {
                    return Some(symbol);
                }
            }
            if found & 1 != 0 {
                return None;
            }
            index = index.wrapping_add(1);
        }
    }

    /// The older table, `DT_HASH`: two counts, buckets, and for each symbol the next one of its chain.
    fn find_by_hash(&self, name: &CStr, mut matches: impl FnMut(&Symbol, u16) -> bool) -> Option<Symbol> {
        let at = |number: *const u32| {
            // SAFETY: the table is mapped, and the counts at its beginning say how long each part of it is
            unsafe { number.read() }
        };
        let buckets = at(self.hash);
        let bucket_table = self.hash.wrapping_add(2);
        let chains = bucket_table.wrapping_add(buckets as usize);
        let mut index = at(bucket_table.wrapping_add(elf_hash(name).checked_rem(buckets)? as usize));
        while index != 0 {
            let symbol = self.named(index, name);
            if let Some(symbol) = symbol.filter(|symbol| matches(symbol, self.version(index))) {
                return Some(symbol);
            }
            index = at(chains.wrapping_add(index as usize));
        }
        None
    }

    /// The symbol of this index, if that is its name.
    fn named(&self, index: u32, name: &CStr) -> Option<Symbol> {
        // SAFETY: the hash table has indices of symbols that exist
        let symbol = unsafe { self.symbols.wrapping_add(index as usize).read() };
        // SAFETY: its name is one of the object's strings
        unsafe { is_same(self.strings.wrapping_add(symbol.name as usize), name) }.then_some(symbol)
    }

    /// The version of a symbol, and whether it is hidden; 1 stands for none.
    fn version(&self, index: u32) -> u16 {
        const NONE: u16 = 1;
        if self.versions.is_null() {
            return NONE;
        }
        // SAFETY: there is a version for each symbol
        unsafe { self.versions.wrapping_add(index as usize).read() }
    }
}

impl LinkMap {
    /// The address of a value: the dynamic linker has relocated the offsets of a writable dynamic section, but of no
    /// other.
    fn absolute<T>(&self, value: usize) -> *const T {
        let address = match value < self.base {
            true => self.base.wrapping_add(value),
            false => value,
        };
        ptr::with_exposed_provenance(address)
    }
}

/// Whether two strings are equal. strcmp(3) is not used, as a sanitizer replaces it by a function that may not be
/// called before the sanitizer is initialised.
///
/// # Safety
///
/// `text` has to be a C string.
unsafe fn is_same(text: *const c_char, name: &CStr) -> bool {
    let mut next = text;
    for expected in name.to_bytes_with_nul() {
        // SAFETY: every byte before this one equalled one that is not null, so this one is part of the string
        if unsafe { next.read() } as u8 != *expected {
            return false;
        }
        next = next.wrapping_add(1);
    }
    true
}

fn gnu_hash(name: &CStr) -> u32 {
    name.to_bytes().iter().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(u32::from(*byte))
    })
}

fn elf_hash(name: &CStr) -> u32 {
    name.to_bytes().iter().fold(0, |hash: u32, byte| {
        let hash = hash.wrapping_shl(4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ high.wrapping_shr(24)) & !high
    })
}

/// dladdr1(3) returns the link map as well.
const RTLD_DL_LINKMAP: c_int = 2;

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        information: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc_object() -> Object {
        let own = Object::own().unwrap();
        own.up_to_libc().last().unwrap()
    }

    fn next(name: &CStr) -> Option<NonZeroUsize> {
        // SAFETY: the name is a C string
        NonZeroUsize::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize)
    }

    #[test]
    fn walk_from_own_object_ends_at_libc() {
        assert!(libc_object().has_name(LIBC));
        assert!(!Object::own().unwrap().has_name(LIBC));
    }

    #[test]
    fn function_of_libc_is_the_one_that_dlsym_finds() {
        let names = [
            c"connect",
            c"getaddrinfo",
            c"posix_spawn",
            c"dlsym",
            c"__xstat",
            c"recvfrom",
            c"fopen",
        ];
        for name in names {
            let found = libc_object().function(name);
            assert_eq!(found, next(name), "{name:?}");
            if let Some(address) = found {
                assert!(libc_object().defines(name, address));
                assert!(!libc_object().defines(c"close", address));
            }
        }
        assert_eq!(libc_object().function(c"no_such_function"), None);
        assert_eq!(libc_object().function(c""), None);
    }

    /// libc has both tables, on most machines.
    #[test]
    fn both_hash_tables_give_the_same_functions() {
        let tables = libc_object().tables().unwrap();
        if tables.gnu_hash.is_null() || tables.hash.is_null() {
            return;
        }
        for name in [c"connect", c"getaddrinfo", c"posix_spawn", c"nobody"] {
            let value = |symbol: Symbol| symbol.value;
            let by_gnu_hash = tables.find_by_gnu_hash(name, |symbol, _| symbol.is_function());
            let by_hash = tables.find_by_hash(name, |symbol, _| symbol.is_function());
            assert_eq!(by_gnu_hash.is_some(), by_hash.is_some(), "{name:?}");
            if name != c"posix_spawn" {
                assert_eq!(by_gnu_hash.map(value), by_hash.map(value), "{name:?}");
            }
        }
    }

    #[test]
    fn old_version_is_defined_and_is_not_the_default() {
        let libc = libc_object();
        // SAFETY: both are C strings
        let old = unsafe {
            libc::dlvsym(
                libc::RTLD_DEFAULT,
                c"posix_spawn".as_ptr(),
                c"GLIBC_2.2.5".as_ptr(),
            )
        };
        let Some(old) = NonZeroUsize::new(old as usize) else {
            // a libc of aarch64 begins with a later version
            return;
        };
        assert!(libc.defines(c"posix_spawn", old));
        assert_ne!(libc.function(c"posix_spawn"), Some(old));
    }

    #[test]
    fn function_of_library_that_was_loaded_later_is_found() {
        const LIBRARY: &CStr = c"libBrokenLocale.so.1";
        const NAME: &CStr = c"__ctype_get_mb_cur_max";
        assert_eq!(loaded_function(LIBRARY, NAME), None);
        // SAFETY: the name is a C string, and libc's library does nothing when it is loaded
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_LAZY) };
        assert!(!library.is_null());
        // SAFETY: the handle is dlopen's, and the name a C string
        let expected = unsafe { libc::dlsym(library, NAME.as_ptr()) } as usize;
        assert_eq!(loaded_function(LIBRARY, NAME), NonZeroUsize::new(expected));
        assert_eq!(loaded_function(LIBRARY, c"no_such_function"), None);
        assert_eq!(loaded_function(LIBC, c"connect"), next(c"connect"));
    }

    #[test]
    fn address_of_function_is_found_in_its_object() {
        let address = next(c"connect").unwrap();
        let object = Object::containing(ptr::with_exposed_provenance(address.get())).unwrap();
        assert!(object == libc_object());
        assert!(Object::containing(ptr::null()).is_none());
    }
}
