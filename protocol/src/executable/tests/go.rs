//! Go programs, by their note, their functions and their system call.

use super::*;

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
