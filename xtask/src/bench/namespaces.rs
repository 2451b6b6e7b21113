//! Two network namespaces with a veth pair between them.
//!
//! They have no names and no entry in the file system: the kernel removes each with the last process in it.
//!
//! Each side has half of the machine's processors to itself, as two machines would. Without that the scheduler puts a
//! client and a server that only ever wait for each other on one processor in some runs and not in others, where a byte
//! travels without the wake-up of an idle processor that happens between machines.

use std::ops::RangeInclusive;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use super::helper::{Helper, tied};
use crate::process;

/// The server's end of the veth pair.
pub(crate) const SERVER: &str = "10.213.0.2";
const CLIENT: &str = "10.213.0.1";
const LINK: &str = "wire";

/// A network namespace of the benchmark's own, with processors of its own.
pub(crate) struct Namespace {
    holder: Helper,
    processors: String,
}

impl Namespace {
    fn new(name: &str, processors: RangeInclusive<usize>) -> Result<Self> {
        // cat(1) ends with its standard input. Its echo shows that the namespace exists.
        let mut holder = Helper::start(name, tied("unshare").args(["--net", "cat"]))?;
        holder.tell("ready\n")?;
        holder.line()?;
        Ok(Self {
            holder,
            processors: format!("{}-{}", processors.start(), processors.end()),
        })
    }

    /// A program in the namespace, to which arguments can be added.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = tied("taskset");
        command.args(["--cpu-list", &self.processors, "nsenter"]);
        command.args(["--net", "--target", &self.holder.pid().to_string(), "--", program]);
        command
    }
}

/// A client's and a server's namespace, which stand for two machines.
pub(crate) struct Wire {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
}

impl Wire {
    pub(crate) fn new() -> Result<Self> {
        let (client, server) = halves(thread::available_parallelism()?.get());
        let wire = Self {
            client: Namespace::new("the client's network", client)?,
            server: Namespace::new("the server's network", server)?,
        };
        let peer = wire.server.holder.pid();
        configure(
            &wire.client,
            &format!("link add {LINK} type veth peer name {LINK} netns {peer}\n"),
        )?;
        for (namespace, address) in [(&wire.client, CLIENT), (&wire.server, SERVER)] {
            configure(
                namespace,
                &format!(
                    "link set lo up\naddr add {address}/30 dev {LINK} noprefixroute\nlink set {LINK} up\nroute add 10.213.0.0/30 dev {LINK} src {address}\n"
                ),
            )?;
            allow_many_connections(|program| namespace.command(program))?;
        }
        Ok(wire)
    }
}

/// The processors of the client's machine and of the server's, out of so many.
fn halves(processors: usize) -> (RangeInclusive<usize>, RangeInclusive<usize>) {
    let half = processors / 2;
    let last = processors.saturating_sub(1);
    (0..=half.saturating_sub(1), half..=last)
}

/// Thousands of connections in a row use up the ports of a network namespace when each rests for a minute.
pub(crate) fn allow_many_connections(enter: impl Fn(&str) -> Command) -> Result<()> {
    for (setting, value) in [
        ("ip_local_port_range", "1024 65535"),
        ("tcp_tw_reuse", "1"),
        ("tcp_max_tw_buckets", "262144"),
    ] {
        let write = format!("echo {value} > /proc/sys/net/ipv4/{setting}");
        process::output(enter("sh").args(["-c", &write]))?;
    }
    Ok(())
}

fn configure(namespace: &Namespace, lines: &str) -> Result<()> {
    process::output_with_input(namespace.command("ip").args(["-batch", "-"]), lines.as_bytes())
        .context("connecting two network namespaces")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_and_server_get_disjoint_processors() {
        assert_eq!(halves(2), (0..=0, 1..=1));
        assert_eq!(halves(5), (0..=1, 2..=4));
        assert_eq!(halves(1), (0..=0, 0..=0));
    }
}
