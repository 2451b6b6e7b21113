//! What the numbers were measured on.

use std::fs;

use serde_json::{Value, json};

/// Processor, cores and kernel, as far as the machine tells.
pub(crate) fn describe() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    json!({
        "processor": processor,
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "kernel": kernel.as_deref().map(str::trim),
    })
}
