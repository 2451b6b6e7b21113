//! Programs that GCC or Clang built with sanitizers, whose run times intercept libc's functions as the library does, and want
//! to be loaded first.

use kinject_tests::on_both_places;
use kinject_tests::programs::{Program, clang, sanitized_c};
use kinject_tests::running::run;
use kinject_tests::scene::Scene;

const TARGET: [&str; 2] = ["echo.default", "7005"];

fn sanitized(flags: &[&str]) -> Program {
    sanitized_c("sanitized", flags).args(TARGET)
}

/// A shell of the session starts the program, whose run time is preloaded for it then.
fn started(program: &Program) -> Program {
    let shell = Program::new("/bin/sh").args(["-c", "exec \"$0\" \"$@\""]);
    shell.arg(&program.path).args(&program.arguments)
}

/// The word for the fault stands in the report of both runs, which end alike.
fn finds(scene: &Scene, flags: &[&str], fault: &str, words: &str) {
    let program = sanitized(flags).arg(fault);
    reports(scene, &program, words);
    reports(scene, &started(&program), words);
}

fn reports(scene: &Scene, program: &Program, words: &str) {
    let (bare, injected) = (run(&mut scene.bare(program)), run(&mut scene.injected(program)));
    for outcome in [&bare, &injected] {
        outcome.shows("welcome\n");
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
    assert_eq!(bare.status.code(), injected.status.code(), "{bare}{injected}");
}

on_both_places! {
    fn sanitized_programs_start_in_the_session(scene: shared) {
        for flags in [
            &["-fsanitize=address"][..],
            &["-fsanitize=thread"],
            &["-fsanitize=undefined"],
            &["-fsanitize=leak"],
            &["-fsanitize=address,undefined", "-static-libasan"],
        ] {
            scene.same(sanitized(flags)).prints("welcome\n");
            scene.same(started(&sanitized(flags))).prints("welcome\n");
        }
    }

    fn asan_reports_an_overflow_in_a_hooked_call(scene: shared) {
        for flags in [&["-fsanitize=address"][..], &["-fsanitize=address", "-static-libasan"]] {
            finds(scene, flags, "overflow", "heap-buffer-overflow");
        }
    }

    fn leak_sanitizer_reports_a_leak(scene: shared) {
        for flags in ["-fsanitize=address", "-fsanitize=leak"] {
            finds(scene, &[flags], "leak", "77 byte(s) leaked in 1 allocation(s)");
        }
    }

    fn ubsan_reports_undefined_behaviour(scene: shared) {
        finds(scene, &["-fsanitize=undefined"], "shift", "shift exponent 40 is too large");
    }

    /// ThreadSanitizer writes its report with memory of its own, and ends when it meets any other.
    fn tsan_reports_a_data_race(scene: shared) {
        for flags in [&["-fsanitize=thread"][..], &["-fsanitize=thread", "-static-libtsan"]] {
            finds(scene, flags, "race", "data race");
        }
    }

    /// The program's own options are all that AddressSanitizer asks for.
    fn program_with_its_own_asan_options_starts_in_the_session(scene: shared) {
        let program = sanitized_c("sanitizer_options", &["-fsanitize=address"]);
        scene.same(started(&program)).prints("leaked\n");
    }

    /// MemorySanitizer knows what was written only where libc's functions are its own.
    fn clang_sanitized_programs_stay_in_the_session(scene: shared) {
        for (flags, fault, words) in [
            (&["-fsanitize=address"][..], "overflow", "heap-buffer-overflow"),
            (&["-fsanitize=address", "-shared-libsan"], "overflow", "heap-buffer-overflow"),
            (&["-fsanitize=thread"], "race", "data race"),
            (&["-fsanitize=memory"], "none", ""),
        ] {
            let Some(program) = clang("sanitized", flags) else { return };
            let program = program.args(TARGET);
            scene.same(started(&program)).prints("welcome\n");
            reports(scene, &started(&program.arg(fault)), words);
        }
    }
}
