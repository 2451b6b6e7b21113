//! Programs that GCC built with its sanitizers, whose run times intercept libc's functions as the library does, and want
//! to be loaded first.

use kinject_tests::on_both_places;
use kinject_tests::programs::{Program, sanitized_c};
use kinject_tests::running::run;
use kinject_tests::scene::Scene;

const TARGET: [&str; 2] = ["echo.default", "7005"];

fn sanitized(flags: &[&str]) -> Program {
    sanitized_c("sanitized", flags).args(TARGET)
}

/// The word for the fault stands in the report of both runs, which end alike.
fn finds(scene: &Scene, flags: &[&str], fault: &str, words: &str) {
    let program = sanitized(flags).arg(fault);
    let (bare, injected) = (run(&mut scene.bare(&program)), run(&mut scene.injected(&program)));
    for outcome in [&bare, &injected] {
        outcome.shows("welcome\n");
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
    assert_eq!(bare.status.code(), injected.status.code(), "{bare}{injected}");
}

on_both_places! {
    fn programs_with_a_sanitizer_start_in_the_session(scene: shared) {
        for flags in [
            &["-fsanitize=address"][..],
            &["-fsanitize=thread"],
            &["-fsanitize=undefined"],
            &["-fsanitize=leak"],
            &["-fsanitize=address,undefined", "-static-libasan"],
        ] {
            scene.same(sanitized(flags)).prints("welcome\n");
        }
    }

    fn a_sanitizer_finds_a_fault_in_a_call_that_has_a_hook(scene: shared) {
        for flags in [&["-fsanitize=address"][..], &["-fsanitize=address", "-static-libasan"]] {
            finds(scene, flags, "overflow", "heap-buffer-overflow");
        }
    }

    fn a_sanitizer_finds_a_leak(scene: shared) {
        for flags in ["-fsanitize=address", "-fsanitize=leak"] {
            finds(scene, &[flags], "leak", "77 byte(s) leaked in 1 allocation(s)");
        }
    }
}
