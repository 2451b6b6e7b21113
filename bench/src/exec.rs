//! Measures the start of a program in several environments, in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::median;

const PROGRAM: &str = "/bin/true";
/// Warm-up starts in each environment, which are not measured.
const WARM_UP: usize = 20;

/// Starts the program `count` times in each environment, alternating between them, so that other load on the machine
/// affects all of them alike.
pub(crate) fn run(count: usize, environments: &Path) -> Result<Value> {
    let text = fs::read(environments).with_context(|| format!("reading {}", environments.display()))?;
    let environments: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&text).context("reading the environments")?;
    let mut taken: Vec<Vec<Duration>> = vec![Vec::with_capacity(count); environments.len()];
    for turn in 0..WARM_UP + count {
        for (variables, taken) in environments.values().zip(&mut taken) {
            let took = once(variables)?;
            if turn >= WARM_UP {
                taken.push(took);
            }
        }
    }
    let mut result = Map::new();
    for (name, taken) in environments.keys().zip(taken) {
        let spread = median::microseconds(taken).context("nothing was started")?;
        result.insert(
            name.clone(),
            json!({ "median_us": spread.median, "p99_us": spread.p99 }),
        );
    }
    Ok(Value::Object(result))
}

fn once(variables: &BTreeMap<String, String>) -> Result<Duration> {
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(variables).stdin(Stdio::null());
    let start = Instant::now();
    let status = command.status().with_context(|| format!("starting {PROGRAM}"))?;
    let took = start.elapsed();
    ensure!(status.success(), "{PROGRAM} failed with {status}");
    Ok(took)
}
