//! The network of the sandbox: a loopback interface that has all of the world's addresses.
//!
//! | destination | how |
//! |---|---|
//! | services, pods, the database | `local` routes whose source is the agent's pod, so that a service sees that pod as its peer |
//! | the silent address | a route out by the loopback interface: the kernel drops the packet when it comes back in, since the address is not local |
//! | the unroutable address | an `unreachable` route: EHOSTUNREACH |
//! | anything else | no route: ENETUNREACH |

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::unshare::Forbidden;
use crate::world;

/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

/// The routing table of the addresses that are this machine's own.
const LOCAL_TABLE: u32 = 255;

/// As in a pod under containerd: no port needs a privilege.
const UNPRIVILEGED_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Sets up the network namespace that this process is in.
pub async fn set_up() -> Result<(), Forbidden> {
    fs::write(UNPRIVILEGED_PORTS, "0").map_err(|source| Forbidden::new("unprivileged ports", source))?;
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| Forbidden::new("netlink", source))?;
    let driver = tokio::spawn(connection);
    let done = configure(&handle).await;
    driver.abort();
    done
}

async fn configure(handle: &Handle) -> Result<(), Forbidden> {
    let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
    handle
        .link()
        .set(up)
        .execute()
        .await
        .map_err(failed("loopback"))?;
    let own = IpAddr::V4(world::AGENT_POD);
    handle
        .address()
        .add(LOOPBACK, own, 32)
        .execute()
        .await
        .map_err(failed("address"))?;
    let served = world::addresses().into_iter().map(local);
    for route in served.chain([silent(world::SILENT), unreachable(world::UNROUTABLE)]) {
        handle
            .route()
            .add(route)
            .execute()
            .await
            .map_err(failed("route"))?;
    }
    Ok(())
}

fn local(address: Ipv4Addr) -> RouteMessage {
    to(address)
        .kind(RouteType::Local)
        .table_id(LOCAL_TABLE)
        .scope(RouteScope::Host)
        .output_interface(LOOPBACK)
        .pref_source(world::AGENT_POD)
        .build()
}

fn silent(address: Ipv4Addr) -> RouteMessage {
    to(address)
        .scope(RouteScope::Link)
        .output_interface(LOOPBACK)
        .pref_source(world::AGENT_POD)
        .build()
}

fn unreachable(address: Ipv4Addr) -> RouteMessage {
    to(address).kind(RouteType::Unreachable).build()
}

fn to(address: Ipv4Addr) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32)
}

fn failed(step: &'static str) -> impl Fn(rtnetlink::Error) -> Forbidden {
    move |error| {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => std::io::Error::other(other),
        };
        Forbidden::new(step, source)
    }
}
