//! Prints the environment of this process, so that the caller can start others in it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Prints it, then waits for the end of standard input.
pub(crate) fn hold() -> Result<Value> {
    // A session sets no variable that is not UTF-8.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    println!("{}", json!({ "environment": environment }));
    io::stdout().flush().context("writing")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("waiting for the end")?;
    Ok(json!({}))
}
