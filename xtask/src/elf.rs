//! Tells statically linked programs from those that need a dynamic linker, which an empty image does not
//! have.

use anyhow::{Context, Result, bail};

const PT_INTERP: u32 = 3;

/// Whether a 64-bit little-endian ELF program runs without a dynamic linker.
pub(crate) fn is_static(program: &[u8]) -> Result<bool> {
    if program.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let offset = usize::try_from(u64::from_le_bytes(field(program, 32)?))?;
    let size = usize::from(u16::from_le_bytes(field(program, 54)?));
    let count = usize::from(u16::from_le_bytes(field(program, 56)?));
    for index in 0..count {
        let header = index
            .checked_mul(size)
            .and_then(|start| start.checked_add(offset));
        if u32::from_le_bytes(field(program, header.context("program headers out of range")?)?) == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

fn field<const N: usize>(program: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = program.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().context("the ELF file is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header followed by program headers of the given types.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + types.len() * 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(types.len()).unwrap();
        for (index, kind) in types.iter().enumerate() {
            bytes[64 + index * 56..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert!(is_static(&elf(&[1, 2])).unwrap());
        assert!(!is_static(&elf(&[6, PT_INTERP, 1])).unwrap());
    }

    #[test]
    fn other_and_broken_files_are_errors() {
        assert!(is_static(b"#!/bin/sh\n").is_err());
        assert!(is_static(&elf(&[1])[..66]).is_err());
    }

    #[test]
    fn this_test_program_is_recognised() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&own).unwrap(), cfg!(target_feature = "crt-static"));
    }
}
