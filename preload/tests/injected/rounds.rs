//! What goes wrong once in thousands of calls: programs that race, fork and are cancelled, again and again; and the same under
//! valgrind. It takes minutes, and is run by hand (CONTRIBUTING.md).

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
const LONG: Duration = Duration::from_secs(1800);

/// A program with its arguments.
type Words = Vec<String>;

/// Programs that end soon; `exec_family` starts itself by another function each time.
fn programs() -> Vec<Words> {
    let connect = Script::Connect.port().to_string();
    let hanging = Script::ProgressForEver.port().to_string();
    let own = compiled_with("own_connect", &["-shared", "-fPIC"]);
    let mut programs = vec![
        vec!["receive_nothing"],
        vec!["peer_buffers", TARGET, &connect],
        vec!["cancel", TARGET, &hanging],
        vec!["environment", TARGET, &connect],
        vec!["asked_functions", TARGET, &connect, own.to_str().expect("plain")],
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

fn program(relay: &Relay, words: &Words) -> Program {
    let (name, args) = words.split_first().expect("a name");
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Program::injected(relay, name, &args)
}

/// How many rounds each has: of the programs that start themselves, all variants together.
fn rounds() -> usize {
    env::var("KINJECT_TEST_ROUNDS").map_or(10_000, |rounds| rounds.parse().expect("a number of rounds"))
}

#[test]
#[ignore = "it takes minutes"]
fn every_round_of_thousands_says_what_the_first_one_said() {
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
                let said = program(&relay, words).output();
                let said = said.replace(&*relay.socket().to_string_lossy(), "SOCKET");
                assert_eq!(said, expected, "{words:?}");
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
fn thousands_of_vfork_children_leave_a_bounded_amount_of_memory() {
    let relay = Relay::start();
    for (count, threads) in [(rounds(), 1), (rounds().div_ceil(10), 8)] {
        let started = Instant::now();
        let (each, all) = (count.to_string(), threads.to_string());
        let said = Program::injected(&relay, "vfork_storm", &[&each, &all]).output_within(LONG);
        assert_eq!(said, "grew by 0 KiB\n");
        println!("vfork_storm {each} {all}: {:.0?}", started.elapsed());
    }
}

#[test]
#[ignore = "it takes minutes"]
fn valgrind_finds_nothing_to_say_of_programs_that_race_and_start_others() {
    if !Path::new("/usr/bin/valgrind").exists() {
        return skip::not_run("the library under valgrind", "valgrind is not installed");
    }
    let relay = Relay::start();
    let storm = ["vfork_storm", "20", "2"].map(str::to_owned).to_vec();
    let suppressions = concat!(
        "--suppressions=",
        env!("CARGO_MANIFEST_DIR"),
        "/../c-tests/own_faults.supp"
    );
    let flags: Vec<_> = VALGRIND.into_iter().chain([suppressions]).collect();
    for words in programs().iter().chain([&storm]) {
        let said = program(&relay, words).under("/usr/bin/valgrind", &flags).output();
        assert!(!said.is_empty(), "{words:?}");
        println!("{}: nothing", words.join(" "));
    }
}
