//! Programs built with sanitizers by GCC or Clang. Their runtimes intercept libc's functions as the library does, and
//! have to be loaded first.

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{Program, clang, sanitized_c};
use kinject_tests::running::run;

const TARGET: [&str; 2] = ["echo.default", "7005"];

fn sanitized(flags: &[&str]) -> Program {
    sanitized_c("sanitized", flags).args(TARGET)
}

/// The program started by a shell of the session, so that the library preloads its runtime.
fn started(program: &Program) -> Program {
    let shell = Program::new("/bin/sh").args(["-c", "exec \"$0\" \"$@\""]);
    shell.arg(&program.path).args(&program.arguments)
}

/// Asserts that both runs report the fault and exit with the same status.
fn finds(fixture: &Fixture, flags: &[&str], fault: &str, words: &str) {
    let program = sanitized(flags).arg(fault);
    reports(fixture, &program, words);
    reports(fixture, &started(&program), words);
}

fn reports(fixture: &Fixture, program: &Program, words: &str) {
    let (bare, injected) = (
        run(&mut fixture.bare(program)),
        run(&mut fixture.injected(program)),
    );
    for outcome in [&bare, &injected] {
        outcome.shows("welcome\n");
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
    assert_eq!(bare.status.code(), injected.status.code(), "{bare}{injected}");
}

on_both_testbeds! {
    fn sanitized_programs_start_in_the_session(fixture: shared) {
        for flags in [
            &["-fsanitize=address"][..],
            &["-fsanitize=thread"],
            &["-fsanitize=undefined"],
            &["-fsanitize=leak"],
            &["-fsanitize=address,undefined", "-static-libasan"],
        ] {
            fixture.same(sanitized(flags)).prints("welcome\n");
            fixture.same(started(&sanitized(flags))).prints("welcome\n");
        }
    }

    fn asan_reports_an_overflow_in_a_hooked_call(fixture: shared) {
        for flags in [&["-fsanitize=address"][..], &["-fsanitize=address", "-static-libasan"]] {
            finds(fixture, flags, "overflow", "heap-buffer-overflow");
        }
    }

    fn leak_sanitizer_reports_a_leak(fixture: shared) {
        for flags in ["-fsanitize=address", "-fsanitize=leak"] {
            finds(fixture, &[flags], "leak", "77 byte(s) leaked in 1 allocation(s)");
        }
    }

    fn ubsan_reports_undefined_behaviour(fixture: shared) {
        finds(fixture, &["-fsanitize=undefined"], "shift", "shift exponent 40 is too large");
    }

    /// ThreadSanitizer writes its report with its own allocator, and aborts at memory of another one.
    fn tsan_reports_a_data_race(fixture: shared) {
        for flags in [&["-fsanitize=thread"][..], &["-fsanitize=thread", "-static-libtsan"]] {
            finds(fixture, flags, "race", "data race");
        }
    }

    /// AddressSanitizer needs nothing but the program's own options.
    fn program_with_its_own_asan_options_starts_in_the_session(fixture: shared) {
        let program = sanitized_c("sanitizer_options", &["-fsanitize=address"]);
        fixture.same(started(&program)).prints("leaked\n");
    }

    /// MemorySanitizer tracks initialized memory only through its own versions of libc's functions.
    fn clang_sanitized_programs_stay_in_the_session(fixture: shared) {
        for (flags, fault, words) in [
            (&["-fsanitize=address"][..], "overflow", "heap-buffer-overflow"),
            (&["-fsanitize=address", "-shared-libsan"], "overflow", "heap-buffer-overflow"),
            (&["-fsanitize=thread"], "race", "data race"),
            (&["-fsanitize=memory"], "none", ""),
        ] {
            let Some(program) = clang("sanitized", flags) else { return };
            let program = program.args(TARGET);
            fixture.same(started(&program)).prints("welcome\n");
            reports(fixture, &started(&program.arg(fault)), words);
        }
    }
}
