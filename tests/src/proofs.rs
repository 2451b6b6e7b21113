//! Shared by the two long comparisons, `cargo xtask matrix` and `cargo xtask suites`.
//!
//! Both compare programs bare and injected, and both keep their result in a page of the documentation ([`page`]), which
//! also lists known differences with their causes.

pub mod page;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;

use crate::binaries;

/// The folder that keeps builds and downloads from one run to the next.
pub fn folder() -> PathBuf {
    let profile = binaries::folder();
    profile.parent().unwrap_or(&profile).join("proofs")
}

/// The exit code: success only if there are no differences but known ones.
pub fn exit_code(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The day, for the page.
pub fn today() -> String {
    let date = Command::new("date")
        .args(["+%-d %B %Y"])
        .env("LC_ALL", "C")
        .output();
    let output = date.map_or_else(|_| Vec::new(), |output| output.stdout);
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Does `work` for each job, so many at once, and returns the results in the jobs' order.
pub fn at_once<J: Send, R: Send>(jobs: Vec<J>, workers: usize, work: impl Fn(J) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let next = queue.lock().expect("taking a job never panics").next();
            let Some((number, job)) = next else { return };
            let result = work(job);
            let mut results = results.lock().expect("keeping a result never panics");
            results.push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_inner().expect("keeping a result never panics");
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_their_jobs() {
        let doubled = at_once((0..100).collect(), 7, |number| number * 2);
        assert_eq!(doubled, (0..100).map(|number| number * 2).collect::<Vec<_>>());
    }
}
