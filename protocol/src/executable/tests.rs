//! Synthetic files, files of this machine, and inconsistent files.

mod go;
mod malformed;
mod rights;
mod sanitizer;

use super::*;
use std::os::unix::fs::FileExt;
use std::path::Path;

impl File for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Some(count)
    }

    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize> {
        haystack.windows(needle.len()).position(|window| window == needle)
    }
}

fn of(file: &Vec<u8>) -> Option<InjectionBlocker> {
    injection_blocker(file, &file[..file.len().min(HEAD)], None, || false, || false)
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;

/// An ELF file of 64 bits: each segment is its kind, its flags and its contents.
fn elf(segments: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56 * segments.len()];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54..56].copy_from_slice(&56_u16.to_le_bytes());
    file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
    for (index, (kind, flags, contents)) in segments.iter().enumerate() {
        let (header, offset) = (64 + 56 * index, file.len() as u64);
        file[header..][..4].copy_from_slice(&kind.to_le_bytes());
        file[header + 4..][..4].copy_from_slice(&flags.to_le_bytes());
        // addresses are offsets
        for field in [8, 16] {
            file[header + field..][..8].copy_from_slice(&offset.to_le_bytes());
        }
        file[header + 32..][..8].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        file.extend(contents);
    }
    file
}

fn interp(path: &str) -> (u32, u32, Vec<u8>) {
    (PT_INTERP, 0, [path.as_bytes(), b"\0"].concat())
}

fn go_note() -> (u32, u32, Vec<u8>) {
    (PT_NOTE, 0, b"\x04\0\0\0\x04\0\0\0\x04\0\0\0Go\0\0text".to_vec())
}

/// Code that opens a socket, behind so many bytes that do not.
fn code(before: usize) -> (u32, u32, Vec<u8>) {
    let mut code = vec![0x90; before];
    code.extend(if cfg!(target_arch = "x86_64") {
        &b"\xb8\x29\0\0\0\x48\x89\xf7\x0f\x05\xc3"[..]
    } else {
        &b"\xc8\x18\x80\xd2\x01\0\0\xd4"[..]
    });
    (PT_LOAD, PF_X, code)
}

#[test]
fn glibc_program_has_no_blocker() {
    assert_eq!(of(&elf(&[interp("/lib64/ld-linux-x86-64.so.2"), code(0)])), None);
    assert_eq!(
        of(&elf(&[interp("/nix/store/x/lib/ld-linux-aarch64.so.1"), code(0)])),
        None
    );
}

#[test]
fn static_program_with_a_socket_call_is_detected_anywhere_in_its_code() {
    for before in [0, 1, 4030, 4091, 4096, 4100, 20_000] {
        assert_eq!(
            of(&elf(&[code(before)])),
            Some(InjectionBlocker::Static),
            "{before}"
        );
    }
}

#[test]
fn static_program_without_a_socket_call_has_no_blocker() {
    assert_eq!(of(&elf(&[(PT_LOAD, PF_X, vec![0x90; 30_000])])), None);
    // a number like that of the call is no call
    let (_, _, sockets) = code(0);
    assert_eq!(of(&elf(&[(PT_LOAD, PF_X, sockets[..4].to_vec())])), None);
    assert_eq!(of(&elf(&[(PT_LOAD, 0, sockets)])), None);
}

fn add_section(file: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let contents_at = file.len() as u64;
    file.extend(contents);
    let names_at = file.len() as u64;
    file.extend([b"\0", name.as_bytes(), b"\0"].concat());
    let table = file.len() as u64;
    for (name, offset, size) in [
        (0_u32, 0, 0),
        (1, contents_at, contents.len() as u64),
        (0, names_at, 0),
    ] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
        file.extend(header);
    }
    file[40..48].copy_from_slice(&table.to_le_bytes());
    for (field, value) in [(58, 64_u16), (60, 3), (62, 2)] {
        file[field..field + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// An ELF file whose dynamic section has these names, each between two zeros.
fn dynamic(segments: &[(u32, u32, Vec<u8>)], names: &str) -> Vec<u8> {
    let count = segments.len();
    let own = [(PT_LOAD, 0, names.into()), (PT_DYNAMIC, 0, vec![0; 48])];
    let mut file = elf(&[segments, &own].concat());
    let field =
        |file: &[u8], index: usize| u64::from_le_bytes(file[64 + 56 * index + 8..][..8].try_into().unwrap());
    let (table, dynamic) = (field(&file, count), field(&file, count + 1) as usize);
    for (position, value) in [(0, 5), (8, table), (16, 10), (24, names.len() as u64)] {
        file[dynamic + position..][..8].copy_from_slice(&u64::to_le_bytes(value));
    }
    file
}

#[test]
fn musl_program_is_detected_by_its_linker_and_functions() {
    let linker = interp("/lib/ld-musl-x86_64.so.1");
    for (names, expected) in [
        ("\0puts\0", None),
        ("\0puts\0getaddrinfo\0", Some(InjectionBlocker::Libc)),
    ] {
        let file = dynamic(std::slice::from_ref(&linker), names);
        assert_eq!(of(&file), expected);
    }
}

#[test]
fn program_for_another_architecture_is_blocked() {
    let mut file = elf(&[code(0)]);
    file[18..20].copy_from_slice(&243_u16.to_le_bytes());
    assert_eq!(of(&file), Some(InjectionBlocker::Architecture));
    let mut file = elf(&[code(0)]);
    file[5] = 2;
    assert_eq!(of(&file), Some(InjectionBlocker::Architecture));
    let mut file = elf(&[code(0)]);
    file[4] = 1;
    assert_eq!(of(&file), Some(InjectionBlocker::Narrow));
}

#[test]
fn local_shell_has_no_blocker() {
    struct OnDisk(std::fs::File);
    impl File for OnDisk {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
            self.0.read_at(buffer, offset).ok()
        }
        fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize> {
            haystack.windows(needle.len()).position(|window| window == needle)
        }
    }
    for program in [Path::new("/bin/sh"), &std::env::current_exe().unwrap()] {
        let file = OnDisk(std::fs::File::open(program).unwrap());
        let mut head = [0; HEAD];
        let length = File::read_at(&file, 0, &mut head).unwrap();
        assert_eq!(
            injection_blocker(&file, &head[..length], None, || false, || false),
            None
        );
        // as setuid programs both would have a blocker, since both start other programs
        let elevated = Some(InjectionBlocker::SetUser);
        assert_eq!(
            injection_blocker(&file, &head[..length], elevated, || false, || false),
            elevated
        );
    }
}
