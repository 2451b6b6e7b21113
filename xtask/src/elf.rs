//! ELF files as the dynamic linker reads them (elf(5)).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{
    DF_STATIC_TLS, DT_FLAGS, DT_NEEDED, FileHeader64, PF_W, PT_INTERP, PT_LOAD, PT_TLS, SHN_UNDEF, SHT_DYNSYM,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};

type Header = FileHeader64<Endianness>;

const PAGE: u64 = 4096;

/// What the dynamic linker reads of a program or a library.
#[derive(Debug, Default)]
pub(crate) struct Elf {
    /// Names of the symbols that it defines for others.
    pub(crate) exported: BTreeSet<String>,
    /// Names of the symbols that others have to define, with their versions where they have one, as `dlsym@GLIBC_2.34`.
    pub(crate) required: BTreeSet<String>,
    /// The libraries that are loaded with it (DT_NEEDED), in the order of the file.
    pub(crate) needed: Vec<String>,
    /// Pages that hold its writable segments.
    pub(crate) writable_pages: u64,
    /// It has thread-local variables (PT_TLS).
    pub(crate) has_thread_locals: bool,
    /// libc has to lay these out at the start (DF_STATIC_TLS).
    pub(crate) has_static_tls: bool,
    /// It names a dynamic linker (PT_INTERP), without which it does not run.
    pub(crate) has_interpreter: bool,
}

impl Elf {
    /// Reads the file at `path`, which has to be a 64-bit ELF file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// Reads a 64-bit ELF file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let header = Header::parse(bytes).context("not a 64-bit ELF file")?;
        let endian = header.endian()?;
        let mut elf = Self::default();
        for segment in header.program_headers(endian, bytes)? {
            match segment.p_type(endian) {
                PT_INTERP => elf.has_interpreter = true,
                PT_TLS => elf.has_thread_locals = true,
                PT_LOAD if segment.p_flags(endian) & PF_W != 0 => {
                    let start = segment.p_vaddr(endian);
                    let end = start
                        .checked_add(segment.p_memsz(endian))
                        .context("a segment is out of range")?;
                    elf.writable_pages += end.div_ceil(PAGE) - start / PAGE;
                }
                _ => {}
            }
        }
        let sections = header.sections(endian, bytes)?;
        if let Some((entries, link)) = sections.dynamic(endian, bytes)? {
            let strings = sections.strings(endian, bytes, link)?;
            for entry in entries {
                match entry.d_tag(endian) {
                    DT_NEEDED => elf.needed.push(text(entry.string(endian, strings)?)),
                    DT_FLAGS => {
                        elf.has_static_tls |= entry.d_val(endian) & u64::from(DF_STATIC_TLS) != 0;
                    }
                    _ => {}
                }
            }
        }
        let symbols = sections.symbols(endian, bytes, SHT_DYNSYM)?;
        let versions = sections.versions(endian, bytes)?;
        for (index, symbol) in symbols.enumerate() {
            let name = text(symbols.symbol_name(endian, symbol)?);
            if name.is_empty() {
                continue;
            }
            if symbol.st_shndx(endian) != SHN_UNDEF {
                elf.exported.insert(name);
                continue;
            }
            let version = match &versions {
                Some(table) => table.version(table.version_index(endian, index))?,
                None => None,
            };
            elf.required.insert(match version {
                Some(version) => format!("{name}@{}", text(version.name())),
                None => name,
            });
        }
        Ok(elf)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_program_names_its_interpreter_and_libc_symbols() {
        let own = Elf::read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own.has_interpreter, !cfg!(target_feature = "crt-static"));
        assert!(own.needed.iter().any(|name| name == "libc.so.6"), "{own:?}");
        assert!(
            own.required.iter().any(|name| name.starts_with("read@GLIBC_2.")),
            "{own:?}"
        );
        assert!(own.writable_pages > 0);
    }

    #[test]
    fn non_elf_and_truncated_files_are_errors() {
        assert!(Elf::parse(b"#!/bin/sh\n").is_err());
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Elf::parse(&own[..100]).is_err());
    }
}
