//! Finds functions without dlsym(3), which a hook of ours stands in front of: libc's own dlsym, and our hooks.
//!
//! To ask the dynamic linker for libc's dlsym would be to call the hook, so this looks into the symbol tables of what is
//! loaded behind our library, in the order in which the dynamic linker looks (`RTLD_NEXT`): another preloaded library
//! keeps its place. For our own library the dynamic linker has no handle that dlsym could take. The tables are those of elf(5) and of the GNU hash section, which every glibc since 2.5 has.

use core::ffi::CStr;
use core::num::NonZeroUsize;
use core::ptr;
use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym, c_char, c_int, c_void, dl_phdr_info, size_t};

const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
const SHN_UNDEF: u16 = 0;

/// What is looked for, and whether our own library was passed already.
struct Search<'a> {
    name: &'a CStr,
    is_behind_ours: bool,
    found: Option<NonZeroUsize>,
}

/// The first definition of a function behind ours.
pub(crate) fn next_definition(name: &CStr) -> Option<NonZeroUsize> {
    let mut search = Search {
        name,
        is_behind_ours: false,
        found: None,
    };
    // SAFETY: the callback gets what it was made for, while the search lives
    unsafe { libc::dl_iterate_phdr(Some(look_into), (&raw mut search).cast()) };
    search.found
}

/// The function that our own library exports under a name.
///
/// # Safety
///
/// `name` has to point to a C string.
pub(crate) unsafe fn own_definition(name: *const c_char) -> Option<NonZeroUsize> {
    // SAFETY: our library is loaded, and the caller vouches for the name
    unsafe { Tables::of(own_base(), own_headers())?.find(name) }
}

/// Where our own library begins in memory.
fn own_base() -> usize {
    own_header() as usize
}

fn own_header() -> *const Elf64_Ehdr {
    unsafe extern "C" {
        // the linker defines it
        static __ehdr_start: Elf64_Ehdr;
    }
    &raw const __ehdr_start
}

fn own_headers() -> Headers {
    let header = own_header();
    // SAFETY: the library's header is loaded with it
    let (offset, count) = unsafe { ((*header).e_phoff, (*header).e_phnum) };
    Headers {
        first: header.wrapping_byte_add(offset as usize).cast(),
        count,
    }
}

unsafe extern "C" fn look_into(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: `next_definition` passes its search, which nobody else uses meanwhile
    let search = unsafe { &mut *search.cast::<Search<'_>>() };
    // SAFETY: dl_iterate_phdr(3) gives a library that stays loaded while this runs
    let info = unsafe { &*info };
    if !search.is_behind_ours {
        search.is_behind_ours = info.dlpi_phdr == own_headers().first;
        return 0;
    }
    let headers = Headers {
        first: info.dlpi_phdr,
        count: info.dlpi_phnum,
    };
    // SAFETY: as above
    search.found = unsafe {
        Tables::of(info.dlpi_addr as usize, headers).and_then(|tables| tables.find(search.name.as_ptr()))
    };
    search.found.is_some().into()
}

/// The program headers of one library.
struct Headers {
    first: *const Elf64_Phdr,
    count: u16,
}

/// The tables of one library.
struct Tables {
    base: usize,
    symbols: *const Elf64_Sym,
    names: *const c_char,
    hashes: *const u32,
}

impl Tables {
    /// None for what has no such tables.
    ///
    /// # Safety
    ///
    /// The library has to be loaded.
    unsafe fn of(base: usize, headers: Headers) -> Option<Self> {
        let headers = (0..usize::from(headers.count)).map(|index| headers.first.wrapping_add(index));
        // SAFETY: the library has that many program headers
        let mut headers = headers.map(|header| unsafe { header.read() });
        let dynamic = headers.find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let mut entry = base.wrapping_add(dynamic.p_vaddr as usize) as *const [i64; 2];
        let (mut symbols, mut names, mut hashes) = (0, 0, 0);
        loop {
            // SAFETY: the section ends with an entry of zeros
            let [tag, value] = unsafe { entry.read() };
            match tag {
                0 => break,
                DT_SYMTAB => symbols = value as usize,
                DT_STRTAB => names = value as usize,
                DT_GNU_HASH => hashes = value as usize,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        // the kernel's own library (vdso(7)) is not relocated
        let is_relocated = [symbols, names, hashes].iter().all(|table| *table > base);
        is_relocated.then_some(Self {
            base,
            symbols: symbols as *const Elf64_Sym,
            names: names as *const c_char,
            hashes: hashes as *const u32,
        })
    }

    /// Where the function is that the library defines under this name.
    ///
    /// # Safety
    ///
    /// The library has to be loaded, and `name` has to point to a C string.
    unsafe fn find(&self, name: *const c_char) -> Option<NonZeroUsize> {
        // the section: count of buckets, first symbol, words of the Bloom filter, its shift; the filter, buckets, chains
        let word = |index: usize| {
            // SAFETY: the index is within the section, as its own numbers say
            unsafe { self.hashes.wrapping_add(index).read() }
        };
        let (buckets, first, filter_words) = (word(0), word(1), word(2));
        let bucket_start = (filter_words as usize).checked_mul(2)?.checked_add(4)?;
        let chain_start = bucket_start.checked_add(buckets as usize)?;
        // SAFETY: the caller vouches for the name
        let hash = unsafe { hash(name) };
        let mut index = word(bucket_start.checked_add(hash.checked_rem(buckets)? as usize)?);
        if index < first {
            return None;
        }
        loop {
            let chained = word(chain_start.checked_add(index.checked_sub(first)? as usize)?);
            // the last bit ends the chain
            if chained | 1 == hash | 1 {
                // SAFETY: the chain holds indices of symbols
                let symbol = unsafe { self.symbols.wrapping_add(index as usize).read() };
                let found = self.names.wrapping_add(symbol.st_name as usize);
                // SAFETY: both are C strings
                let is_same = unsafe { libc::strcmp(found, name) } == 0;
                if is_same && symbol.st_shndx != SHN_UNDEF {
                    return NonZeroUsize::new(self.base.wrapping_add(symbol.st_value as usize));
                }
            }
            if chained & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }
}

/// The hash of a name in that section.
///
/// # Safety
///
/// `name` has to point to a C string.
unsafe fn hash(name: *const c_char) -> u32 {
    let mut hash: u32 = 5381;
    let mut place = name;
    loop {
        // SAFETY: no byte before this one ended the string
        match unsafe { ptr::read(place) } as u8 {
            0 => return hash,
            byte => hash = hash.wrapping_mul(33).wrapping_add(byte.into()),
        }
        place = place.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_the_linker_hashes_them() {
        for (name, expected) in [(c"", 5381), (c"printf", 0x156b_2bb8)] {
            // SAFETY: the name is a C string
            assert_eq!(unsafe { hash(name.as_ptr()) }, expected);
        }
    }

    #[test]
    fn libcs_functions_are_found_behind_the_program() {
        for name in [c"dlsym", c"dlvsym", c"connect"] {
            // SAFETY: the name is a C string
            let expected = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
            assert_eq!(next_definition(name).map(NonZeroUsize::get), Some(expected));
        }
        assert_eq!(next_definition(c"no_such_function"), None);
    }
}
