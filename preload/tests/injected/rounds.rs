//! Errors that occur once in thousands of calls: programs that race, fork and are cancelled, run thousands of times,
//! and once under valgrind. These tests take minutes and are run by hand (CONTRIBUTING.md).

use crate::hygiene::VALGRIND;
use crate::program::{Program, compiled_with};
use crate::relay::Relay;
use crate::script::Script;
use kinject_test_support::skip;
use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TARGET: &str = "10.96.10.3";

/// Longer than all rounds of one program take.
const LONG_TIMEOUT: Duration = Duration::from_secs(1800);

/// A program with its arguments.
type CommandLine = Vec<String>;

/// Short programs; `exec_family` starts itself by another function in each entry.
fn programs() -> Vec<CommandLine> {
    let connect = Script::Connect.port().to_string();
    let hanging = Script::ProgressForever.port().to_string();
    let own = compiled_with("own_connect", &["-shared", "-fPIC"]);
    let mut programs = vec![
        vec!["receive_nothing"],
        vec!["peer_buffers", TARGET, &connect],
        vec!["cancel", TARGET, &hanging],
        vec!["environment", TARGET, &connect],
        vec![
            "looked_up_functions",
            TARGET,
            &connect,
            own.to_str().expect("plain"),
        ],
    ];
    for function in [
        "execve",
        "execvp",
        "execle",
        "fexecve",
        "posix_spawn",
        "vfork",
        "system",
    ] {
        for environment in ["cleared", "empty", "large"] {
            let takes_one = function != "execvp" && function != "system";
            if takes_one || environment == "cleared" {
                programs.push(vec!["exec_family", function, environment]);
            }
        }
    }
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    programs.into_iter().map(owned).collect()
}

fn program(relay: &Relay, words: &CommandLine) -> Program {
    let (name, args) = words.split_first().expect("a name");
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Program::injected(relay, name, &args)
}

/// The number of rounds of each program; all entries of `exec_family` together have as many.
fn rounds() -> usize {
    env::var("KINJECT_TEST_ROUNDS").map_or(10_000, |rounds| rounds.parse().expect("a number of rounds"))
}

#[test]
#[ignore = "it takes minutes"]
fn thousands_of_racing_programs_print_the_same_output() {
    let programs = programs();
    let variants = programs.iter().filter(|words| words[0] == "exec_family").count();
    let workers = thread::available_parallelism().map_or(1, Into::into);
    for words in &programs {
        let count = match words[0].as_str() {
            "exec_family" => rounds().div_ceil(variants),
            _ => rounds(),
        };
        let (started, next) = (Instant::now(), AtomicUsize::new(0));
        let work = || {
            let relay = Relay::start();
            let expected = program(&relay, words).output();
            let expected = expected.replace(&*relay.socket().to_string_lossy(), "SOCKET");
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let output = program(&relay, words).output();
                let output = output.replace(&*relay.socket().to_string_lossy(), "SOCKET");
                assert_eq!(output, expected, "{words:?}");
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        println!("{}: {count} rounds, {:.0?}", words.join(" "), started.elapsed());
    }
}

/// A thousand programs in each of the threads of one process; and ten thousand in one.
#[test]
#[ignore = "it takes minutes"]
fn thousands_of_vfork_children_leak_no_memory() {
    let relay = Relay::start();
    for (count, threads) in [(rounds(), 1), (rounds().div_ceil(10), 8)] {
        let started = Instant::now();
        let (each, all) = (count.to_string(), threads.to_string());
        let output = Program::injected(&relay, "vfork_storm", &[&each, &all]).output_within(LONG_TIMEOUT);
        assert_eq!(output, "grew by 0 KiB\n");
        println!("vfork_storm {each} {all}: {:.0?}", started.elapsed());
    }
}

#[test]
#[ignore = "it takes minutes"]
fn racing_programs_and_their_children_have_no_valgrind_errors() {
    if !Path::new("/usr/bin/valgrind").exists() {
        return skip::not_run("the library under valgrind", "valgrind is not installed");
    }
    let relay = Relay::start();
    let storm = ["vfork_storm", "20", "2"].map(str::to_owned).to_vec();
    let suppressions = concat!(
        "--suppressions=",
        env!("CARGO_MANIFEST_DIR"),
        "/../c-tests/test_programs.supp"
    );
    let flags: Vec<_> = VALGRIND.into_iter().chain([suppressions]).collect();
    for words in programs().iter().chain([&storm]) {
        let output = program(&relay, words).under("/usr/bin/valgrind", &flags).output();
        assert!(!output.is_empty(), "{words:?}");
        println!("{}: nothing", words.join(" "));
    }
}
