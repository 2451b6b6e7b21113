//! Two network namespaces with a wire between them.
//!
//! They have no names and no place in the file system: each lives in a process, and is gone with the last one in it.

use std::process::Command;

use anyhow::{Context, Result};

use super::helper::{Helper, tied};
use crate::process;

/// The server's end of the wire.
pub(crate) const SERVER: &str = "10.213.0.2";
const CLIENT: &str = "10.213.0.1";
const LINK: &str = "wire";

/// A network namespace of the benchmark's own.
pub(crate) struct Namespace {
    holder: Helper,
}

impl Namespace {
    fn new(name: &str) -> Result<Self> {
        // cat(1) ends with its standard input. What it repeats shows that the namespace is there.
        let mut holder = Helper::start(name, tied("unshare").args(["--net", "cat"]))?;
        holder.tell("ready\n")?;
        holder.line()?;
        Ok(Self { holder })
    }

    /// A program in the namespace, to which arguments can be added.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = tied("nsenter");
        command.args(["--net", "--target", &self.holder.pid().to_string(), "--", program]);
        command
    }
}

/// A client's and a server's machine, as far as TCP can tell.
pub(crate) struct Wire {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
}

impl Wire {
    pub(crate) fn new() -> Result<Self> {
        let wire = Self {
            client: Namespace::new("the client's network")?,
            server: Namespace::new("the server's network")?,
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
            // Thousands of connections in a row use up the ports when each rests for a minute.
            for (setting, value) in [
                ("ip_local_port_range", "1024 65535"),
                ("tcp_tw_reuse", "1"),
                ("tcp_max_tw_buckets", "262144"),
            ] {
                let write = format!("echo {value} > /proc/sys/net/ipv4/{setting}");
                process::output(namespace.command("sh").args(["-c", &write]))?;
            }
        }
        Ok(wire)
    }
}

fn configure(namespace: &Namespace, lines: &str) -> Result<()> {
    process::output_with_input(namespace.command("ip").args(["-batch", "-"]), lines.as_bytes())
        .context("connecting two network namespaces")?;
    Ok(())
}
