//! Runs a program in the container and injected, and compares what it prints.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kinject_tests::running;

use crate::objects::VALUES;
use crate::prepare::Prepared;
use crate::rows::{Folder, Invocation};
use crate::stage::Stage;

/// How long a program may take: CPython's tests take a minute on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);

/// The line by which a program asks for other values in the ConfigMaps.
const CHANGE: &str = "CHANGE";

/// A program with both outputs.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) prepared: Prepared,
    /// The lines that it printed bare and injected, its standard error last; none if it was not run.
    pub(crate) outputs: Option<[Vec<String>; 2]>,
    /// How long it took, bare and injected.
    pub(crate) took: [Duration; 2],
}

impl Compared {
    /// Whether the bare program did its work.
    pub(crate) fn is_shown(&self) -> bool {
        let shows = self.prepared.row.shows;
        let shown = |lines: &Vec<String>| format!("\n{}\n", lines.join("\n")).contains(shows);
        self.outputs.as_ref().is_some_and(|[bare, _]| shown(bare))
    }

    /// The lines that only one of the two has.
    pub(crate) fn differences(&self) -> Vec<String> {
        let Some([bare, injected]) = &self.outputs else {
            return Vec::new();
        };
        difference(bare, injected)
    }

    /// Everything that the program printed bare.
    pub(crate) fn words(&self) -> String {
        let lines = self.outputs.iter().flat_map(|[bare, _]| bare);
        lines.map(|line| format!("    {line}\n")).collect()
    }
}

/// Runs it both ways, one after the other.
pub(crate) fn both_ways(stage: &Stage, prepared: Prepared) -> Compared {
    let mut took = [Duration::ZERO; 2];
    let outputs = prepared.program.as_ref().ok().map(|start| {
        stage.reset().unwrap_or_else(|error| panic!("{error:#}"));
        let bare = match prepared.row.invocation {
            Invocation::CPython(_, Folder::Machine) => stage.local(&start.program, &start.variables),
            _ => stage.bare(&start.program, &start.variables),
        };
        let injected = stage.injected(&start.program, &start.variables);
        let mut outputs = [bare, injected].map(|command| {
            let started = Instant::now();
            let lines = output(stage, command);
            let took = started.elapsed();
            if lines.iter().any(|line| line == CHANGE) {
                stage.reset().unwrap_or_else(|error| panic!("{error:#}"));
            }
            (lines, took)
        });
        took = [outputs[0].1, outputs[1].1];
        outputs.each_mut().map(|(lines, _)| std::mem::take(lines))
    });
    Compared {
        prepared,
        outputs,
        took,
    }
}

/// What a program prints, with its exit status as the last line.
fn output(stage: &Stage, mut command: Command) -> Vec<String> {
    command.stdin(Stdio::null());
    let what = running::describe(&command);
    let mut child = running::spawn(&mut command);
    let out = child.stdout.take().expect("it is piped");
    let mut errors = child.stderr.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        // a program that was killed has said what it has said
        let _complete = errors.read_to_end(&mut text).is_ok();
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + LIMIT;
    let mut output = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == CHANGE => {
                stage
                    .change(VALUES[1])
                    .unwrap_or_else(|error| panic!("{error:#}"));
                output.push(line);
            }
            Ok(line) => output.push(plain(&line)),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                output.push(format!("hangs: not done after {} s", LIMIT.as_secs()));
                child
                    .kill()
                    .unwrap_or_else(|error| panic!("cannot end {what}: {error}"));
                break;
            }
        }
    }
    let status = child
        .wait()
        .unwrap_or_else(|error| panic!("cannot wait for {what}: {error}"));
    let hung = output.last().is_some_and(|line| line.starts_with("hangs: "));
    if !hung {
        reader.join().expect("the reader never panics");
        let complaints = complaints.join().expect("the reader never panics");
        let of_kubectl = |line: &&str| !line.starts_with("command terminated with exit code");
        output.extend(complaints.lines().filter(of_kubectl).map(plain));
        output.push(format!("status {:?}", status.code()));
    }
    output
}

/// A line without the times in the names of the kubelet's folders.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(start) = rest.find("..2") {
        plain.push_str(&rest[..start]);
        plain.push_str("..TIME");
        let time = &rest[start + 2..];
        let end = time.find(|c: char| !c.is_ascii_digit() && !"_.".contains(c));
        rest = &time[end.unwrap_or(time.len())..];
    }
    plain + rest
}

/// The lines that differ, in the manner of diff(1): line by line where both have as many, otherwise all between the
/// equal lines at both ends.
fn difference(bare: &[String], injected: &[String]) -> Vec<String> {
    if bare.len() == injected.len() {
        let pairs = bare
            .iter()
            .zip(injected)
            .filter(|(bare, injected)| bare != injected);
        return pairs
            .flat_map(|(bare, injected)| [format!("- {bare}"), format!("+ {injected}")])
            .collect();
    }
    let first = bare
        .iter()
        .zip(injected)
        .take_while(|(bare, injected)| bare == injected)
        .count();
    let (bare, injected) = (&bare[first..], &injected[first..]);
    let ends = bare.iter().rev().zip(injected.iter().rev());
    let last = ends.take_while(|(bare, injected)| bare == injected).count();
    let bare = bare[..bare.len() - last].iter().map(|line| format!("- {line}"));
    bare.chain(
        injected[..injected.len() - last]
            .iter()
            .map(|line| format!("+ {line}")),
    )
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn difference_leaves_out_equal_lines() {
        assert_eq!(difference(&lines("a b c"), &lines("a x c")), ["- b", "+ x"]);
        assert_eq!(difference(&lines("a b c"), &lines("a c")), ["- b"]);
        assert_eq!(difference(&lines("a a"), &lines("a")), ["- a"]);
        assert!(difference(&lines("a b"), &lines("a b")).is_empty());
    }

    #[test]
    fn times_of_the_kubelets_folders_are_left_out() {
        assert_eq!(plain("/a/..2026_11_28_21_00_01.123/b"), "/a/..TIME/b");
        assert_eq!(plain("../a ..data"), "../a ..data");
    }
}
