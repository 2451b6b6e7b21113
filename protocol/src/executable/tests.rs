//! Synthetic files, files of this machine, and inconsistent files.

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

#[test]
fn go_program_is_detected_by_its_note_and_classified_by_its_functions() {
    let interpreter = interp("/lib64/ld-linux-x86-64.so.2");
    // without a table of functions anything may be in it
    assert_eq!(of(&elf(&[go_note()])), Some(InjectionBlocker::Go));
    assert_eq!(
        of(&elf(&[interpreter.clone(), go_note()])),
        Some(InjectionBlocker::Go)
    );
    for (function, expected) in [
        ("net.(*netFD).connect", Some(InjectionBlocker::Go)),
        ("os.(*File).Write", None),
    ] {
        let mut file = elf(&[interpreter.clone(), go_note()]);
        add_section(&mut file, ".gopclntab", function.as_bytes());
        assert_eq!(of(&file), expected);
        let mut file = elf(&[]);
        add_section(&mut file, ".data.rel.ro.gopclntab", function.as_bytes());
        assert_eq!(of(&file), expected);
    }
}

/// Go's `Syscall6` from its system call on.
#[cfg(target_arch = "x86_64")]
const GO_SYSTEM_CALL: &[u8] =
    b"\x0f\x05\x48\x3d\x01\xf0\xff\xff\x76\x15\x48\xf7\xd8\x48\x89\xc1\x48\xc7\xc0\xff\xff\xff\xff\xc3";

/// Go's `runtime.open` from its system call on, which looks alike at first.
#[cfg(target_arch = "x86_64")]
const GO_RUNTIME_CALL: &[u8] = b"\x0f\x05\x48\x3d\x01\xf0\xff\xff\x76\x05\xb8\xff\xff\xff\xff\xc3";

#[test]
#[cfg(target_arch = "x86_64")]
fn cgo_program_has_no_blocker_if_its_system_call_is_found_anywhere() {
    let with = |names: &str, before: usize, code: &[u8]| {
        let code = [&vec![0x90; before], code, &[0xcc; 40]].concat();
        let mut file = dynamic(
            &[
                interp("/lib64/ld-linux-x86-64.so.2"),
                go_note(),
                (PT_LOAD, PF_X, code),
            ],
            names,
        );
        add_section(&mut file, ".gopclntab", b"net.(*netFD).connect");
        of(&file)
    };
    for before in [0, 1, 4000, 4032, 4086, 4096, 4100, 20_000] {
        assert_eq!(
            with("\0pthread_create\0", before, GO_SYSTEM_CALL),
            None,
            "{before}"
        );
    }
    assert_eq!(
        with("\0libc.so.6\0pthread_create_not\0", 0, GO_SYSTEM_CALL),
        Some(InjectionBlocker::Go)
    );
    assert_eq!(
        with("\0pthread_create\0", 0, GO_RUNTIME_CALL),
        Some(InjectionBlocker::Go)
    );
    let cut = &GO_SYSTEM_CALL[..GO_SYSTEM_CALL.len() - 14];
    assert_eq!(with("\0pthread_create\0", 0, cut), Some(InjectionBlocker::Go));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn go_system_call_is_located_with_its_return_addresses() {
    let find = |haystack: &[u8], needle: &[u8]| Vec::new().find(haystack, needle);
    let code = [GO_RUNTIME_CALL, &[0x90; 7], GO_RUNTIME_CALL, GO_SYSTEM_CALL].concat();
    let begin = 2 * GO_RUNTIME_CALL.len() + 7;
    let found = system_call(&code, find);
    let expected = SystemCall {
        begin,
        success: begin + 10 + 0x15,
        failure: begin + REPLACEABLE,
    };
    assert_eq!(found, Some(expected));
    for end in begin..begin + REPLACEABLE {
        assert_eq!(system_call(&code[..end], find), None);
    }
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
fn file_rights_are_a_blocker_only_where_they_elevate() {
    let plain = Rights {
        mode: 0o100_755,
        owner: 0,
        group: 0,
        user: 1000,
        own_group: 1000,
        has_capabilities: false,
    };
    for (rights, expected) in [
        (plain, None),
        (
            Rights {
                mode: 0o104_755,
                ..plain
            },
            Some(InjectionBlocker::SetUser),
        ),
        (
            Rights {
                mode: 0o104_755,
                user: 0,
                own_group: 0,
                ..plain
            },
            None,
        ),
        (
            Rights {
                mode: 0o102_755,
                ..plain
            },
            Some(InjectionBlocker::SetGroup),
        ),
        (
            Rights {
                mode: 0o102_745,
                ..plain
            },
            None,
        ),
        (
            Rights {
                mode: 0o102_755,
                own_group: 0,
                ..plain
            },
            None,
        ),
        (
            Rights {
                has_capabilities: true,
                ..plain
            },
            Some(InjectionBlocker::Capabilities),
        ),
        (
            Rights {
                has_capabilities: true,
                user: 0,
                ..plain
            },
            None,
        ),
    ] {
        assert_eq!(rights.blocker(), expected, "{rights:?}");
    }
    assert!(holds_capabilities(
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    ));
    assert!(holds_capabilities(
        b"\0\0\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"
    ));
    assert!(!holds_capabilities(
        b"\0\0\0\x02\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\0\0"
    ));
    assert!(!holds_capabilities(b""));
}

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

#[test]
fn go_command_message_describes_the_programs_it_starts() {
    let message = InjectionBlocker::Go.message("/usr/local/go/bin/go", false);
    assert_eq!(
        message,
        "/usr/local/go/bin/go itself runs outside of the session; what it builds with cgo and starts is in it"
    );
    for (blocker, program, is_refused) in [
        (InjectionBlocker::Go, "/bin/cargo", false),
        (InjectionBlocker::Go, "/usr/local/go/bin/go", true),
        (InjectionBlocker::Static, "go", false),
    ] {
        let message = blocker.message(program, is_refused);
        assert!(message.contains(blocker.reason()), "{message}");
    }
}

#[test]
fn mdwe_without_inheritance_does_not_apply_to_children() {
    for (answer, holds, for_children) in [
        (-1, false, false),
        (0, false, false),
        (1, true, true),
        (3, true, false),
    ] {
        let sealing = Mdwe::from_answer(answer);
        assert_eq!(
            (sealing.holds(), sealing.holds_for_children()),
            (holds, for_children)
        );
    }
}

/// A dynamic program that depends on these libraries.
fn linked_to(libraries: &[&str], interpreter: &str) -> Vec<u8> {
    let mut names = String::from("\0");
    let mut entries = Vec::new();
    for library in libraries {
        entries.push([1, names.len() as u64]);
        names += library;
        names += "\0";
    }
    let segments = [
        interp(interpreter),
        (PT_LOAD, 0, names.clone().into_bytes()),
        (PT_DYNAMIC, 0, vec![0; 16 * (entries.len() + 3)]),
    ];
    let mut file = elf(&segments);
    let position =
        |file: &[u8], index: usize| u64::from_le_bytes(file[64 + 56 * index + 8..][..8].try_into().unwrap());
    let (table, dynamic) = (position(&file, 1), position(&file, 2) as usize);
    entries.extend([[5, table], [10, names.len() as u64]]);
    for (index, word) in entries.concat().into_iter().enumerate() {
        file[dynamic + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
    }
    file
}

#[test]
fn sanitizer_runtime_is_the_first_needed_library() {
    const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";
    let name_of = |file: &Vec<u8>| {
        let runtime = runtime(file, &file[..file.len().min(HEAD)]);
        runtime.map(|runtime| String::from_utf8(runtime.name().to_vec()).unwrap())
    };
    let long = format!("/{}/libasan.so.8", "x".repeat(100));
    for (libraries, expected) in [
        (&["libasan.so.8", "libc.so.6"][..], Some("libasan.so.8")),
        (&["libtsan.so.2", "libc.so.6"], Some("libtsan.so.2")),
        (
            &["/opt/lib/libclang_rt.asan-x86_64.so"],
            Some("/opt/lib/libclang_rt.asan-x86_64.so"),
        ),
        (&["libm.so.6", "libasan.so.8"], None),
        (&["libubsan.so.1", "libc.so.6"], None),
        (&["libasan", "libc.so.6"], None),
        (&["/opt/my libs/libasan.so.8"], None),
        (&[&long], None),
        (&[], None),
    ] {
        assert_eq!(
            name_of(&linked_to(libraries, LINKER)).as_deref(),
            expected,
            "{libraries:?}"
        );
    }
    assert_eq!(
        name_of(&linked_to(&["libasan.so.8"], "/lib/ld-musl-x86_64.so.1")),
        None
    );
    let many = [vec!["libasan.so.8"], vec!["libc.so.6"; 200]].concat();
    assert_eq!(
        name_of(&linked_to(&many, LINKER)).as_deref(),
        Some("libasan.so.8")
    );
    let whole = linked_to(&["libasan.so.8"], LINKER);
    for length in 0..whole.len() {
        let _no_panic = name_of(&whole[..length].to_vec());
    }
}
