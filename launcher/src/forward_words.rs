//! What stands on the command line of `kinject forward`: targets with their ports, and addresses to listen at.

use crate::exit::Failure;
use kinject_protocol::forward::{
    Forward, ForwardRequest, ForwardTarget, ListenAddress, PortProtocol, RemotePort, SocksEndpoint,
};
use kinject_protocol::workload::{WorkloadKind, WorkloadName};
use std::net::{IpAddr, SocketAddr};

const PORTS: &str = "write LOCAL[:REMOTE][/udp], such as 8080:80, 8080:http, 5432 or 5353:53/udp";

const TARGETS: &str =
    "write a target and its ports, such as `db 5432`, `deploy/web 8080:80` or `db.example.com 5432`";

/// The longest name of a port (RFC 6335, 5.1).
const MAX_PORT_NAME: usize = 15;

/// The names of Services as a type.
const SERVICE: [&str; 3] = ["service", "services", "svc"];

/// Reads targets, each with the ports behind it.
pub(crate) fn forwards(words: &[String]) -> Result<Vec<Forward>, Failure> {
    let mut forwards: Vec<Forward> = Vec::new();
    let mut target: Option<(&str, ForwardTarget)> = None;
    let mut has_ports = true;
    for word in words {
        if is_ports(word) {
            let Some((_, target)) = &target else {
                return Err(Failure::own(
                    format!("no target stands before the ports {}", shown(word)),
                    TARGETS,
                ));
            };
            forwards.push(ports(word, target.clone())?);
            has_ports = true;
            continue;
        }
        if let (Some((written, _)), false) = (&target, has_ports) {
            return Err(without_ports(written));
        }
        target = Some((word, self::target(word)?));
        has_ports = false;
    }
    match (&target, has_ports) {
        (Some((written, _)), false) => Err(without_ports(written)),
        _ => Ok(forwards),
    }
}

fn without_ports(target: &str) -> Failure {
    Failure::own(
        format!("no ports stand behind {}", shown(target)),
        "write LOCAL[:REMOTE] behind it, such as 8080:80; a colon stands before the name of a port, as in :http",
    )
}

/// Whether a word is a pair of ports: it begins with a number or a colon, and has no other colon.
fn is_ports(word: &str) -> bool {
    let ports = word.split('/').next().unwrap_or_default();
    let local = ports.split(':').next().unwrap_or_default();
    let colons = ports.bytes().filter(|byte| *byte == b':').count();
    let is_number = !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_digit());
    match colons {
        0 => is_number,
        1 => is_number || local.is_empty(),
        _ => false,
    }
}

fn ports(word: &str, target: ForwardTarget) -> Result<Forward, Failure> {
    let wrong = |why: &str| Failure::own(format!("the ports {}: {why}", shown(word)), PORTS);
    let (pair, protocol) = match word.split_once('/') {
        None => (word, PortProtocol::Tcp),
        Some((pair, protocol)) => match protocol.to_ascii_lowercase().as_str() {
            "tcp" => (pair, PortProtocol::Tcp),
            "udp" => (pair, PortProtocol::Udp),
            _ => return Err(wrong("the protocol is tcp or udp")),
        },
    };
    let number = |text: &str| -> Result<u16, Failure> {
        let number = text.parse::<u16>();
        number.map_err(|_| wrong("a port is a number from 1 to 65535"))
    };
    let (local, remote) = match pair.split_once(':') {
        None => (number(pair)?, RemotePort::Number(number(pair)?)),
        Some((local, remote)) => {
            let local = match local {
                "" => 0,
                local => number(local)?,
            };
            let remote = match remote.bytes().all(|byte| byte.is_ascii_digit()) {
                true => RemotePort::Number(number(remote)?),
                false if is_port_name(remote) => RemotePort::Name(remote.to_owned()),
                false => return Err(wrong("the second one is neither a number nor a name of a port")),
            };
            (local, remote)
        }
    };
    if remote == RemotePort::Number(0) {
        return Err(wrong("the target's port cannot be 0"));
    }
    Ok(Forward {
        target,
        local,
        remote,
        protocol,
    })
}

/// The names that Kubernetes gives ports (RFC 6335, 5.1).
fn is_port_name(text: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= MAX_PORT_NAME
        && text.bytes().all(is_byte)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn target(word: &str) -> Result<ForwardTarget, Failure> {
    match word.split_once('/') {
        Some((kind, name)) if SERVICE.contains(&kind.to_ascii_lowercase().as_str()) => service(word, name),
        Some(_) => pods(word),
        None => host(word).map(ForwardTarget::Host),
    }
}

fn service(word: &str, name: &str) -> Result<ForwardTarget, Failure> {
    let mut labels = name.split('.');
    let (name, namespace, rest) = (labels.next().unwrap_or_default(), labels.next(), labels.next());
    let is_label = |label: &str| {
        let is_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_byte)
    };
    let is_valid = is_label(name) && namespace.is_none_or(is_label) && rest.is_none_or(|rest| rest == "svc");
    if !is_valid {
        return Err(Failure::own(
            format!("{} is no name of a service", shown(word)),
            "write service/NAME or service/NAME.NAMESPACE, such as svc/db.shop",
        ));
    }
    Ok(ForwardTarget::Service {
        name: name.to_owned(),
        namespace: namespace.map(str::to_owned),
    })
}

fn pods(word: &str) -> Result<ForwardTarget, Failure> {
    let workload: WorkloadName = word.parse().map_err(|_| {
        Failure::own(
            format!("{} is no TYPE/NAME of what has pods", shown(word)),
            "write service, pod, deployment, statefulset, daemonset, replicaset, job or rollout before the name",
        )
    })?;
    if workload.kind == WorkloadKind::CronJob {
        return Err(Failure::own(
            format!("{workload} has no pods of its own"),
            "name one of its jobs, as `kubectl get jobs` lists them: job/NAME",
        ));
    }
    Ok(ForwardTarget::Pods(workload))
}

fn host(word: &str) -> Result<String, Failure> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(word);
    let is_of_this_machine = match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    if is_of_this_machine {
        return Err(Failure::own(
            format!("{} is this machine itself", shown(word)),
            "name a service, a pod or a host that the cluster reaches",
        ));
    }
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = bare.is_none()
        && !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(is_byte)
        && !host.starts_with(['-', '.']);
    if is_name || host.parse::<IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    Err(Failure::own(
        format!("{} is neither a target nor a pair of ports", shown(word)),
        TARGETS,
    ))
}

/// An address of `--address`.
pub(crate) fn address(text: &str) -> Result<ListenAddress, Failure> {
    listen_address(text).ok_or_else(|| {
        Failure::own(
            format!("--address {}: no address", shown(text)),
            "write localhost, or an address of this machine without a port",
        )
    })
}

fn listen_address(text: &str) -> Option<ListenAddress> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(ListenAddress::Localhost);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok().map(ListenAddress::Ip)
}

/// The address and port of `--socks`.
pub(crate) fn socks(text: &str) -> Result<SocksEndpoint, Failure> {
    let endpoint = match (text.parse::<SocketAddr>(), text.rsplit_once(':')) {
        (Ok(address), _) => Some((ListenAddress::Ip(address.ip()), address.port())),
        (Err(_), Some((address, port))) => address
            .eq_ignore_ascii_case("localhost")
            .then(|| port.parse().ok())
            .flatten()
            .map(|port| (ListenAddress::Localhost, port)),
        (Err(_), None) => text.parse().ok().map(|port| (ListenAddress::Localhost, port)),
    };
    let (address, port) = endpoint.ok_or_else(|| {
        Failure::own(
            format!("--socks {}: no address and port", shown(text)),
            "write ADDRESS:PORT, such as 127.0.0.1:1080",
        )
    })?;
    Ok(SocksEndpoint { address, port })
}

/// Refuses a local port that is given twice.
pub(crate) fn check_local_ports(request: &ForwardRequest) -> Result<(), Failure> {
    let of_forwards = request
        .forwards
        .iter()
        .map(|forward| (forward.local, forward.protocol));
    let of_socks = request.socks.map(|socks| (socks.port, PortProtocol::Tcp));
    let mut taken = Vec::new();
    for (port, protocol) in of_forwards.chain(of_socks).filter(|(port, _)| *port != 0) {
        if taken.contains(&(port, protocol)) {
            return Err(Failure::own(
                format!("the local port {port}{} is given twice", protocol.suffix()),
                &format!(
                    "write another one, as {}:REMOTE, or :REMOTE for a free one",
                    other_port(port)
                ),
            ));
        }
        taken.push((port, protocol));
    }
    Ok(())
}

fn other_port(port: u16) -> u16 {
    match port {
        0..55_535 => port + 10_000,
        _ => port - 10_000,
    }
}

/// Refuses what only Kubernetes can answer, for an agent that was started by hand.
pub(crate) fn check_without_kubernetes(request: &ForwardRequest) -> Result<(), Failure> {
    for forward in &request.forwards {
        if !matches!(forward.target, ForwardTarget::Host(_)) {
            return Err(Failure::own(
                format!("{} needs Kubernetes, and --agent uses none", forward.target),
                "name the host as the agent resolves it, such as NAME.NAMESPACE for a service",
            ));
        }
        if let RemotePort::Name(name) = &forward.remote {
            return Err(Failure::own(
                format!(
                    "the port {name} of {} needs Kubernetes, and --agent uses none",
                    forward.target
                ),
                "write the port's number",
            ));
        }
    }
    Ok(())
}

fn shown(word: &str) -> String {
    kinject_escape::word(&kinject_escape::line(word))
}

#[cfg(test)]
mod tests;
