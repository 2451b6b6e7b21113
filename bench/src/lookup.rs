//! Names, by getaddrinfo(3).

use std::net::{Ipv4Addr, ToSocketAddrs};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::median;

/// Repeats the lookup of one name, after a first lookup that is not measured.
pub(crate) fn again(name: &str, count: usize) -> Result<Value> {
    look_up(name)?;
    measure(count, |_| name.to_owned())
}

/// Looks up names that no cache holds: those of pods by their addresses, `10-1-2-3.DOMAIN`.
pub(crate) fn fresh(domain: &str, count: usize) -> Result<Value> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0)) | (now.as_micros() as u32 & 0x00ff_ffff);
    measure(count, |index| {
        let address = Ipv4Addr::from(first.wrapping_add(index as u32)).to_string();
        format!("{}.{domain}", address.replace('.', "-"))
    })
}

fn measure(count: usize, name: impl Fn(usize) -> String) -> Result<Value> {
    let mut taken = Vec::with_capacity(count);
    for index in 0..count {
        let name = name(index);
        let start = Instant::now();
        look_up(&name)?;
        taken.push(start.elapsed());
    }
    let spread = median::microseconds(taken).context("not one lookup")?;
    Ok(json!({ "median_us": spread.median, "p99_us": spread.p99 }))
}

fn look_up(name: &str) -> Result<()> {
    let mut addresses = (name, 0)
        .to_socket_addrs()
        .with_context(|| format!("looking up {name}"))?;
    addresses
        .next()
        .map(drop)
        .with_context(|| format!("{name} has no address"))
}
