//! Scripts, and files that are inconsistent or cannot be read.

use super::*;

#[test]
fn script_interpreter_is_parsed_as_the_kernel_does() {
    for (script, expected) in [
        (&b"#!/bin/sh\necho"[..], Some(&b"/bin/sh"[..])),
        (b"#! \t/usr/bin/env python3\n", Some(b"/usr/bin/env")),
        (b"#!/bin/sh", Some(b"/bin/sh")),
        (b"#!\n/bin/sh", None),
        (b"#!   ", None),
        (b"#!", None),
        (b"echo #!/bin/sh", None),
        (b"", None),
    ] {
        assert_eq!(
            interpreter(script),
            expected,
            "{:?}",
            String::from_utf8_lossy(script)
        );
    }
    let long = [b"#!/", &[b'a'; 300][..], b"\n"].concat();
    assert_eq!(interpreter(&long), None);
}

/// Inconsistent headers lead to a classification and to no panic.
#[test]
fn inconsistent_elf_file_is_classified_without_failure() {
    let mut honest = elf(&[
        interp("/lib/ld-musl-x86_64.so.1"),
        go_note(),
        code(100),
        (PT_DYNAMIC, 0, vec![5; 64]),
    ]);
    add_section(&mut honest, ".gopclntab", b"net.(*netFD).connect");
    for length in 0..honest.len() {
        let _judged = of(&honest[..length].to_vec());
    }
    // a generator of its own makes every run the same
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..50_000 {
        let mut file = honest.clone();
        for _ in 0..=random() % 8 {
            let position = (random() % file.len() as u64) as usize;
            file[position] = match random() % 4 {
                0 => 0xff,
                1 => 0,
                2 => 0x7f,
                _ => random() as u8,
            };
        }
        let _judged = of(&file);
    }
}

#[test]
fn unreadable_file_is_classified_by_its_head() {
    struct Unreadable;
    impl File for Unreadable {
        fn read_at(&self, _: u64, _: &mut [u8]) -> Option<usize> {
            None
        }
        fn find(&self, _: &[u8], _: &[u8]) -> Option<usize> {
            None
        }
    }
    // an unreadable code segment may make any call
    assert_eq!(
        injection_blocker(&Unreadable, &elf(&[code(0)]), None, || false, || false),
        Some(InjectionBlocker::Static)
    );
    assert_eq!(
        injection_blocker(&Unreadable, b"\x7fELF", None, || false, || false),
        None
    );
}
