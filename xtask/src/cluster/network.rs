//! The network of the cluster: a link between the machine and the node's namespace, and routes that keep all traffic
//! inside.
//!
//! ```text
//! machine                          node's namespace                pods
//! kinject0 10.201.0.1 ──veth── eth0 10.201.0.2 (API server) ── 10.244.0.0/24, a link each
//!                                 lo 203.0.113.10 (the database outside the cluster)
//! ```
//!
//! The node has no default route, so no packet gets from it to the machine's other networks whatever the
//! machine forwards. On the machine, Services, pods and the addresses outside the cluster are `unreachable`:
//! a program that reaches one of them got there through kinject, and one that leaks does not send to the
//! machine's gateway.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Pid;

use super::config::{
    DATABASE, LINK_PREFIX, MACHINE_ADDRESS, NODE_ADDRESS, PODS, SERVICES, SILENT, UNROUTABLE,
};
use crate::{hint, process};

/// The machine's end of the link.
const MACHINE_LINK: &str = "kinject0";
/// The node's end.
const NODE_LINK: &str = "eth0";
/// Marks the machine's routes as the cluster's (a number of `rtnetlink(7)`'s `rtm_protocol` that nobody has
/// registered).
const ROUTE_PROTOCOL: &str = "211";

/// Fails when the machine already uses the cluster's addresses for something else.
pub(crate) fn check_free() -> Result<()> {
    for prefix in [SERVICES, PODS, &format!("{MACHINE_ADDRESS}/{LINK_PREFIX}")] {
        let used = process::output(Command::new("ip").args(["-4", "route", "show", "root", prefix]))?;
        if let Some(route) = used.lines().next() {
            return Err(hint::error(
                format!("the machine already has a route in {prefix}: {}", route.trim()),
                "the test cluster needs these addresses: end what made the route (another cluster, a VPN)",
            ));
        }
    }
    Ok(())
}

/// Connects the machine with the namespace of a process.
pub(crate) fn connect(node: Pid) -> Result<()> {
    let pid = node.as_raw_nonzero().to_string();
    let mut batch = format!(
        "\
link add {MACHINE_LINK} type veth peer name {NODE_LINK} netns {pid}
link set {MACHINE_LINK} addrgenmode none
addr add {MACHINE_ADDRESS}/{LINK_PREFIX} dev {MACHINE_LINK}
link set {MACHINE_LINK} up
"
    );
    for address in [SERVICES, PODS].into_iter().map(Ok).chain(external_addresses()) {
        batch.push_str(&format!(
            "route add unreachable {} protocol {ROUTE_PROTOCOL}\n",
            address?
        ));
    }
    ip_batch(&mut Command::new("ip"), &batch)?;
    // What goes to a Service needs a route before kube-proxy's rules translate its address or refuse it. What
    // they leave alone is refused by the node's own.
    let inside = format!(
        "\
link set {NODE_LINK} addrgenmode none
addr add {NODE_ADDRESS}/{LINK_PREFIX} dev {NODE_LINK}
link set {NODE_LINK} up
route add {SERVICES} dev {NODE_LINK}
"
    );
    ip_batch(
        Command::new("nsenter").args(["--net", "--target", &pid, "ip"]),
        &inside,
    )
}

/// The addresses outside the cluster that the machine reaches through a gateway, if at all. One that is in a
/// network of the machine's own (a virtual machine may well use one for documentation) keeps its route: it may be the
/// gateway itself.
fn external_addresses() -> impl Iterator<Item = Result<&'static str>> {
    [SILENT, UNROUTABLE, DATABASE].into_iter().filter_map(|address| {
        match Command::new("ip").args(["-4", "route", "get", address]).output() {
            Ok(route) if !route.status.success() => Some(Ok(address)),
            Ok(route) => String::from_utf8_lossy(&route.stdout)
                .contains(" via ")
                .then_some(Ok(address)),
            Err(error) => Some(Err(error).context("cannot start `ip`")),
        }
    })
}

/// Takes back everything that `connect` does to the machine, as far as it is there.
pub(crate) fn disconnect() -> Result<()> {
    process::output(Command::new("ip").args(["-4", "route", "flush", "protocol", ROUTE_PROTOCOL]))?;
    if fs::exists(format!("/sys/class/net/{MACHINE_LINK}"))? {
        let deleted = process::output(Command::new("ip").args(["link", "del", MACHINE_LINK]));
        // The kernel removes the link by itself when the node's namespace goes, which may be just then.
        if fs::exists(format!("/sys/class/net/{MACHINE_LINK}"))? {
            deleted?;
        }
    }
    Ok(())
}

/// Prepares the namespace that this process is in; runs inside the node.
pub(crate) fn prepare_node() -> Result<()> {
    for (setting, value) in [
        ("ipv4/ip_forward", "1"),
        // The kernel's limits on ICMP errors would turn the refusals of a busy test into silence.
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv4/icmp_msgs_per_sec", "100000"),
        ("ipv4/icmp_msgs_burst", "100000"),
    ] {
        let path = format!("/proc/sys/net/{setting}");
        match fs::write(&path, value) {
            // Older kernels have some of the limits once for the whole machine, and do not show them here.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            written => written.with_context(|| format!("writing {path}"))?,
        }
    }
    ip_batch(
        &mut Command::new("ip"),
        &format!("link set lo up\naddr add {DATABASE}/32 dev lo\nroute add unreachable {UNROUTABLE}/32\n"),
    )?;
    let rules = format!(
        "\
*raw
-A PREROUTING -d {SILENT}/32 -j DROP
COMMIT
*filter
-A INPUT -i {NODE_LINK} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -i {NODE_LINK} -p tcp --dport 6443 -j ACCEPT
-A INPUT -i {NODE_LINK} -j DROP
-A FORWARD -i {NODE_LINK} -j DROP
-A FORWARD -o {NODE_LINK} -j REJECT --reject-with icmp-host-unreachable
COMMIT
"
    );
    process::output_with_input(&mut Command::new("iptables-restore"), rules.as_bytes())?;
    Ok(())
}

fn ip_batch(ip: &mut Command, lines: &str) -> Result<()> {
    process::output_with_input(ip.args(["-batch", "-"]), lines.as_bytes())?;
    Ok(())
}
