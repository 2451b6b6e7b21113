//! Programs with a sanitizer, whose runtime has to be the first library.

use crate::program::{Program, compiled_with, library};
use crate::relay::Relay;
use crate::uninjectable::functions;

#[test]
fn sanitized_program_started_by_any_function_runs() {
    let relay = Relay::start();
    for sanitizer in ["-fsanitize=address", "-fsanitize=thread", "-fsanitize=leak"] {
        let file = compiled_with("uninjectable", &[sanitizer]);
        let (folder, name) = (
            file.parent().expect("a folder"),
            file.file_name().expect("a name"),
        );
        let words = [folder.to_str(), name.to_str()].map(|word| word.expect("plain"));
        for function in functions() {
            let output = Program::injected(&relay, "start", &[function, words[0], words[1]]).output();
            assert_eq!(output, "said\n", "{function} {sanitizer}");
        }
    }
}

#[test]
fn sanitizers_runtime_is_preloaded_for_its_program_and_not_for_children() {
    let relay = Relay::start();
    let flags = ["-fsanitize=address"];
    // the sanitizer reports memory that main never frees
    let quiet = "detect_leaks=0";
    for (preloaded, expected) in [
        (library().display().to_string(), library().display().to_string()),
        // a runtime that the user preloads stays for all programs
        (
            format!("libasan.so.8:{}", library().display()),
            format!("libasan.so.8:{}", library().display()),
        ),
    ] {
        for args in [
            &["show"][..],
            &["system", "own"],
            &["execve", "empty"],
            &["posix_spawn", "cleared"],
        ] {
            let output = Program::started(&relay, "exec_family", &flags, args)
                .env("LD_PRELOAD", &preloaded)
                .env("ASAN_OPTIONS", quiet)
                .output();
            let is_new = args.contains(&"empty") || args.contains(&"cleared");
            let expected = if is_new {
                library().display().to_string()
            } else {
                expected.clone()
            };
            assert!(
                output.contains(&format!("LD_PRELOAD={expected}\n")),
                "{args:?}: {output}"
            );
        }
    }
}
