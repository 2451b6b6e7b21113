//! The world that a sandbox shows: the services, pods and outside addresses, as plain data.
//!
//! The test cluster shows the same one, so a program cannot tell them apart by what it connects to. Everything
//! here stands in reserved ranges: pods in 10.244.0.0/16, services in 10.96.0.0/16, the rest in the ranges that
//! RFC 5737 keeps for documentation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::serve::Protocol;

/// The domain of the cluster.
pub const DOMAIN: &str = "cluster.local";

/// Where the cluster's DNS answers, on port 53 over UDP and TCP.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The agent's pod: the peer that services see.
pub const AGENT_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 5);

/// An address outside of the cluster that pods can reach, as a database of a cloud is.
pub const DATABASE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// An address that never answers.
pub const SILENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// An unroutable address: EHOSTUNREACH.
pub const UNROUTABLE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The zone of names outside of the cluster.
pub const EXTERNAL_ZONE: &str = "external.test";

/// The zone whose every lookup fails.
pub const BROKEN_ZONE: &str = "broken.test";

/// The names outside of the cluster that have an address.
pub const EXTERNAL: [(&str, Ipv4Addr); 4] = [
    ("database.external.test", DATABASE),
    // bücher.external.test
    ("xn--bcher-kva.external.test", DATABASE),
    ("silent.external.test", SILENT),
    ("unroutable.external.test", UNROUTABLE),
];

/// A name that exists and has no address.
pub const EMPTY: &str = "empty.external.test";

/// The `resolv.conf` of a pod in the namespace `default`.
pub fn resolv_conf() -> String {
    format!(
        "search default.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\n\
         nameserver {NAMESERVER}\n\
         options ndots:5\n"
    )
}

/// TCP or UDP, as a SRV record spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `_tcp`
    Tcp,
    /// `_udp`
    Udp,
}

/// What answers on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// HTTP with the pod's greeting.
    Http,
    /// One of the TCP protocols.
    Tcp(Protocol),
    /// The UDP echo.
    Udp,
    /// The DNS server.
    Dns,
    /// Nothing.
    Nothing,
}

/// A port of a service.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Its transport.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
    /// What answers there.
    pub sample: Sample,
}

/// A pod behind a service.
#[derive(Clone, Copy, Debug)]
pub struct Pod {
    /// Its own name within a headless service.
    pub hostname: Option<&'static str>,
    /// Its address.
    pub address: Ipv4Addr,
    /// The NAME of its sample server.
    pub greeting: &'static str,
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: &'static str,
    /// Its ClusterIP; a headless service has none.
    pub cluster_ip: Option<Ipv4Addr>,
    /// Its ports.
    pub ports: &'static [Port],
    /// The pods it selects.
    pub pods: &'static [Pod],
}

impl Service {
    /// Its full name in DNS, without the final dot.
    pub fn fqdn(&self) -> String {
        format!("{}.{}.svc.{DOMAIN}", self.name, self.namespace)
    }

    /// The addresses that its name resolves to.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        match self.cluster_ip {
            Some(address) => vec![address],
            None => self.pods.iter().map(|pod| pod.address).collect(),
        }
    }
}

/// Everything in the cluster that has a name.
pub const SERVICES: [Service; 8] = [
    service(
        "kubernetes",
        "default",
        Some(cluster_ip(0, 1)),
        &[port("https", 443, Sample::Nothing)],
        &[],
    ),
    service(
        "kube-dns",
        "kube-system",
        Some(NAMESERVER),
        &[
            Port {
                name: "dns",
                transport: Transport::Udp,
                number: 53,
                sample: Sample::Dns,
            },
            port("dns-tcp", 53, Sample::Dns),
        ],
        &[],
    ),
    service("web", "default", Some(cluster_ip(10, 1)), HTTP, &[pod(11, "web")]),
    service("api", "default", Some(cluster_ip(10, 2)), HTTP, &[pod(12, "api")]),
    service(
        "web",
        "other",
        Some(cluster_ip(10, 4)),
        HTTP,
        &[pod(14, "other web")],
    ),
    service(
        "echo",
        "default",
        Some(cluster_ip(10, 3)),
        &PROTOCOLS,
        &[pod(13, "echo")],
    ),
    service(
        "db",
        "default",
        None,
        &PROTOCOLS,
        &[member("db-0", 21), member("db-1", 22), member("db-2", 23)],
    ),
    service(
        "refused",
        "default",
        Some(cluster_ip(10, 9)),
        &[port("http", 80, Sample::Nothing)],
        &[],
    ),
];

const HTTP: &[Port] = &[port("http", 80, Sample::Http)];

/// The port of a pod's HTTP server.
pub const POD_HTTP: u16 = 8080;

/// The first of the ports of the TCP protocols, and the port of the UDP echo.
pub const FIRST_PROTOCOL: u16 = 7000;

/// The ports 7000 to 7007 and the UDP echo.
pub const PROTOCOLS: [Port; 9] = protocols();

const fn protocols() -> [Port; 9] {
    let echo = Port {
        name: "echo-udp",
        transport: Transport::Udp,
        number: FIRST_PROTOCOL,
        sample: Sample::Udp,
    };
    let mut ports = [echo; 9];
    let mut index = 0;
    while index < Protocol::ALL.len() {
        let protocol = Protocol::ALL[index];
        ports[index] = port(
            protocol.name(),
            FIRST_PROTOCOL + index as u16,
            Sample::Tcp(protocol),
        );
        index += 1;
    }
    ports
}

/// One thing that has to be served: what, where, and the name it greets with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What answers.
    pub sample: Sample,
    /// Where.
    pub address: SocketAddr,
    /// The NAME of the sample server.
    pub greeting: &'static str,
}

/// Everything that has to be served, but for DNS: each service at its ClusterIP, each pod with all its ports, and
/// the database outside.
pub fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for service in SERVICES {
        let Some(first) = service.pods.first() else {
            continue;
        };
        if let Some(address) = service.cluster_ip {
            endpoints.extend(
                service
                    .ports
                    .iter()
                    .map(|port| endpoint(address, port, first.greeting)),
            );
        }
        for pod in service.pods {
            let http = port("http", POD_HTTP, Sample::Http);
            endpoints.push(endpoint(pod.address, &http, pod.greeting));
            endpoints.extend(
                PROTOCOLS
                    .iter()
                    .map(|port| endpoint(pod.address, port, pod.greeting)),
            );
        }
    }
    endpoints.extend(PROTOCOLS.iter().map(|port| endpoint(DATABASE, port, "database")));
    endpoints
}

/// Every address that the sandbox answers for, the agent's own excepted.
pub fn addresses() -> Vec<Ipv4Addr> {
    let services = SERVICES.iter().filter_map(|service| service.cluster_ip);
    let pods = SERVICES
        .iter()
        .flat_map(|service| service.pods)
        .map(|pod| pod.address);
    services.chain(pods).chain([DATABASE]).collect()
}

fn endpoint(address: Ipv4Addr, port: &Port, greeting: &'static str) -> Endpoint {
    Endpoint {
        sample: port.sample,
        address: SocketAddr::new(IpAddr::V4(address), port.number),
        greeting,
    }
}

const fn cluster_ip(third: u8, fourth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, third, fourth)
}

const fn port(name: &'static str, number: u16, sample: Sample) -> Port {
    Port {
        name,
        transport: Transport::Tcp,
        number,
        sample,
    }
}

const fn pod(last: u8, greeting: &'static str) -> Pod {
    Pod {
        hostname: None,
        address: Ipv4Addr::new(10, 244, 0, last),
        greeting,
    }
}

const fn member(hostname: &'static str, last: u8) -> Pod {
    Pod {
        hostname: Some(hostname),
        address: Ipv4Addr::new(10, 244, 0, last),
        greeting: hostname,
    }
}

const fn service(
    name: &'static str,
    namespace: &'static str,
    cluster_ip: Option<Ipv4Addr>,
    ports: &'static [Port],
    pods: &'static [Pod],
) -> Service {
    Service {
        name,
        namespace,
        cluster_ip,
        ports,
        pods,
    }
}
