//! Programs that a sanitizer was built into, whose runtime wants to be the first library.

use crate::program::{Program, compiled_with, library};
use crate::relay::Relay;
use crate::uninjectable::FUNCTIONS;

#[test]
fn every_function_starts_a_program_whose_sanitizer_wants_to_be_first() {
    let relay = Relay::start();
    for sanitizer in ["-fsanitize=address", "-fsanitize=thread", "-fsanitize=leak"] {
        let file = compiled_with("uninjectable", &[sanitizer]);
        let (folder, name) = (
            file.parent().expect("a folder"),
            file.file_name().expect("a name"),
        );
        let words = [folder.to_str(), name.to_str()].map(|word| word.expect("plain"));
        for function in FUNCTIONS {
            let said = Program::injected(&relay, "start", &[function, words[0], words[1]]).output();
            assert_eq!(said, "said\n", "{function} {sanitizer}");
        }
    }
}

#[test]
fn a_sanitizers_runtime_is_preloaded_for_its_program_and_not_for_the_children() {
    let relay = Relay::start();
    let flags = ["-fsanitize=address"];
    // the sanitizer is sure that what main begins with is not given back
    let quiet = "detect_leaks=0";
    for (preloaded, expected) in [
        (library().display().to_string(), library().display().to_string()),
        // where the user preloads it, it stays for all
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
            let said = Program::started(&relay, "exec_family", &flags, args)
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
                said.contains(&format!("LD_PRELOAD={expected}\n")),
                "{args:?}: {said}"
            );
        }
    }
}
