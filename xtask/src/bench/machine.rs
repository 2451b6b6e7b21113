//! The machine that the numbers were measured on, and its other load.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::interrupt::Interrupt;

/// The sampling period of the machine's load.
const SAMPLING_PERIOD: Duration = Duration::from_millis(200);
/// The share of idle time that counts as idle: every machine has some background work.
const IDLE: f64 = 0.95;

/// Waits until nothing else keeps the machine busy, for so long at most, and returns the share of time that was idle in
/// the end.
pub(crate) fn wait_until_idle(limit: Duration, interrupt: &Interrupt) -> Result<f64> {
    let start = Instant::now();
    loop {
        interrupt.check()?;
        let (idle_before, all_before) = processor_time()?;
        thread::sleep(SAMPLING_PERIOD);
        let (idle, all) = processor_time()?;
        let share = (idle - idle_before) / (all - all_before).max(1.0);
        if share >= IDLE || start.elapsed() >= limit {
            return Ok(share);
        }
    }
}

/// Idle time and all time of all processors since the machine started, in the kernel's ticks.
fn processor_time() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    parse_processor_time(line).with_context(|| format!("/proc/stat begins with {line:?}"))
}

/// user, nice, system, idle, iowait, irq, softirq and steal: what guests take is part of user (proc_stat(5)).
fn parse_processor_time(line: &str) -> Option<(f64, f64)> {
    let fields = line.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<f64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}

/// Processor, cores and kernel, as far as /proc shows them.
pub(crate) fn describe() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    json!({
        "processor": processor,
        "cores": thread::available_parallelism().map(usize::from).ok(),
        "kernel": kernel.as_deref().map(str::trim),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iowait_counts_as_idle_time() {
        let line = "cpu  10 20 30 40 5 6 7 8 900 1000";
        assert_eq!(parse_processor_time(line), Some((45.0, 126.0)));
        assert_eq!(parse_processor_time("cpu0 1 2 3 4 5 6 7 8"), None);
        assert_eq!(parse_processor_time("cpu  1 2 x 4"), None);
    }
}
