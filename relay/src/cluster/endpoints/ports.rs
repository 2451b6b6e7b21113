//! Ports of containers and Services, by number and by name.

use crate::report::Failure;
use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};
use kinject_protocol::forward::{Forward, PortProtocol, RemotePort};
use kinject_protocol::session::Report;
use std::fmt::Display;

/// The protocol of ports that name none.
pub(super) const DEFAULT_PROTOCOL: &str = "TCP";

/// The ports of a pod's containers.
pub(super) fn of_pod(spec: &PodSpec) -> impl Iterator<Item = &ContainerPort> {
    // an init container that goes on beside the others serves as they do
    let side_cars = spec.init_containers.iter().flatten();
    let containers = spec.containers.iter().chain(side_cars);
    containers.flat_map(|container| container.ports.iter().flatten())
}

fn protocol_of(port: &ContainerPort) -> &str {
    port.protocol.as_deref().unwrap_or(DEFAULT_PROTOCOL)
}

/// The number of the port of that name and protocol.
pub(super) fn number(spec: &PodSpec, name: &str, protocol: PortProtocol) -> Option<u16> {
    let mut ports = of_pod(spec).filter(|port| protocol_of(port) == protocol.in_api());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Checks that pods have the port of a forward. A port that no container declares may be open all the same, so that
/// only a missing name is a failure; a port that is declared for the other protocol alone is worth a warning.
pub(super) fn check(
    target: &impl Display,
    spec: &PodSpec,
    forward: &Forward,
) -> Result<Option<Report>, Failure> {
    let protocol = forward.protocol;
    match &forward.remote {
        RemotePort::Name(name) if number(spec, name, protocol).is_none() => Err(Failure::lasting(
            format!("{target} has no port {name}{}", protocol.suffix()),
            &match shown(of_pod(spec)) {
                ports if ports.is_empty() => "its containers name none: write the number of one".to_owned(),
                ports => format!("write one of its ports, or another number: {ports}"),
            },
        )),
        RemotePort::Name(_) => Ok(None),
        RemotePort::Number(number) => {
            let declared = of_pod(spec).filter(|port| port.container_port == i32::from(*number));
            let declared: Vec<_> = declared.map(protocol_of).collect();
            let only_other = !declared.is_empty() && !declared.contains(&protocol.in_api());
            Ok(only_other.then(|| {
                let failure = Failure::lasting(
                    format!(
                        "{target} declares its port {number} for {} alone, and not for {}",
                        declared.join(", "),
                        protocol.in_api()
                    ),
                    other_protocol(protocol),
                );
                failure.into()
            }))
        }
    }
}

/// How the other protocol is written.
pub(super) fn other_protocol(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "write /udp behind the ports for datagrams",
        PortProtocol::Udp => "leave /udp out for connections",
    }
}

fn shown<'a>(ports: impl Iterator<Item = &'a ContainerPort>) -> String {
    let ports = ports.map(|port| {
        let suffix = match protocol_of(port) {
            DEFAULT_PROTOCOL => String::new(),
            other => format!("/{}", other.to_lowercase()),
        };
        match &port.name {
            Some(name) => format!("{}{suffix} ({name})", port.container_port),
            None => format!("{}{suffix}", port.container_port),
        }
    });
    ports.collect::<Vec<_>>().join(", ")
}
