//! The records of every name of the world, and the zones' SOA records for names that do not exist.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::{A, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::world::{self, Pod, Service, Transport};

/// Seconds that every answer may be kept, negative ones included.
pub(super) const TTL: u32 = 30;

/// The version of Kubernetes' DNS specification that these names follow.
const SPECIFICATION: &str = "1.1.0";

/// The serial number of the zones: they never change.
const SERIAL: u32 = 1;

/// All records of a world.
pub struct Records {
    data: HashMap<Name, Vec<RData>>,
    /// Empty non-terminals: names without a record of their own above one that has records.
    above: HashSet<Name>,
    zones: Vec<Name>,
    broken: Name,
    /// The parent of the names that pods have by their address alone, by namespace.
    pod_domains: Vec<Name>,
}

/// The result for a name and a type.
#[derive(Debug)]
pub(super) enum Found {
    /// These records.
    Records(Vec<Record>),
    /// The name exists, without a record of that type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The lookup fails (SERVFAIL).
    Broken,
}

impl Records {
    /// The records of the sandbox's world.
    pub fn of_world() -> Result<Self, ProtoError> {
        let mut records = Self {
            data: HashMap::new(),
            above: HashSet::new(),
            zones: Vec::new(),
            broken: name(world::BROKEN_ZONE)?,
            pod_domains: Vec::new(),
        };
        for zone in [world::DOMAIN, "in-addr.arpa", world::EXTERNAL_ZONE] {
            records.add_zone(zone)?;
        }
        records.add(
            &format!("dns-version.{}", world::DOMAIN),
            RData::TXT(TXT::new(vec![SPECIFICATION.into()])),
        )?;
        for service in &world::SERVICES {
            records.add_service(service)?;
        }
        for (host, address) in world::EXTERNAL {
            records.add(host, RData::A(A(address)))?;
        }
        records.add(world::EMPTY, RData::TXT(TXT::new(vec!["no address here".into()])))?;
        Ok(records)
    }

    pub(super) fn find(&self, name: &Name, kind: RecordType) -> Found {
        if self.broken.zone_of(name) {
            return Found::Broken;
        }
        let by_address;
        let data = match self.data.get(name) {
            Some(data) => data,
            None => match self.pod_by_address(name) {
                Some(address) => {
                    by_address = vec![RData::A(A(address))];
                    &by_address
                }
                None if self.above.contains(name) => return Found::NoData,
                None => return Found::NoName,
            },
        };
        let wanted = data
            .iter()
            .filter(|data| kind == RecordType::ANY || data.record_type() == kind);
        let records: Vec<_> = wanted
            .map(|data| Record::from_rdata(name.clone(), TTL, data.clone()))
            .collect();
        if records.is_empty() {
            Found::NoData
        } else {
            Found::Records(records)
        }
    }

    /// The SOA record of the zone that `name` would be in, for negative answers.
    pub(super) fn authority(&self, name: &Name) -> Option<Record> {
        let zone = self.zones.iter().find(|zone| zone.zone_of(name))?;
        let soa = self
            .data
            .get(zone)?
            .iter()
            .find(|data| data.record_type() == RecordType::SOA)?;
        Some(Record::from_rdata(zone.clone(), TTL, soa.clone()))
    }

    /// The addresses of a name, for the additional section.
    pub(super) fn addresses(&self, name: &Name) -> Vec<Record> {
        match self.find(name, RecordType::A) {
            Found::Records(records) => records,
            Found::NoData | Found::NoName | Found::Broken => Vec::new(),
        }
    }

    /// `10-244-0-11.NAMESPACE.pod.cluster.local` is 10.244.0.11, whether there is such a pod or not.
    fn pod_by_address(&self, name: &Name) -> Option<Ipv4Addr> {
        if !self.pod_domains.contains(&name.base_name()) {
            return None;
        }
        let label = std::str::from_utf8(name.iter().next()?).ok()?;
        label.replace('-', ".").parse().ok()
    }

    fn add_zone(&mut self, zone: &str) -> Result<(), ProtoError> {
        let server = name(&format!("ns.dns.{}", world::DOMAIN))?;
        let owner = name(&format!("hostmaster.{}", world::DOMAIN))?;
        let soa = SOA::new(server.clone(), owner, SERIAL, 7200, 1800, 86400, TTL);
        self.add(zone, RData::SOA(soa))?;
        self.add(zone, RData::NS(NS(server)))?;
        self.zones.push(name(zone)?);
        Ok(())
    }

    fn add_service(&mut self, service: &Service) -> Result<(), ProtoError> {
        let fqdn = service.fqdn();
        self.add_pod_domain(service.namespace)?;
        for address in service.addresses() {
            self.add(&fqdn, RData::A(A(address)))?;
        }
        match service.cluster_ip {
            Some(address) => {
                self.add_ports(service, &fqdn, 100)?;
                self.add_reverse(address, &fqdn)?;
            }
            None => {
                let weight = 100 / u16::try_from(service.pods.len()).unwrap_or(u16::MAX).max(1);
                for pod in service.pods {
                    self.add_ports(service, &endpoint(service, pod), weight)?;
                }
            }
        }
        for pod in service.pods {
            self.add(&endpoint(service, pod), RData::A(A(pod.address)))?;
            self.add_reverse(pod.address, &endpoint(service, pod))?;
        }
        Ok(())
    }

    /// SRV records that point at `target`: one under each port's own name, and all of them under the service's.
    fn add_ports(&mut self, service: &Service, target: &str, weight: u16) -> Result<(), ProtoError> {
        for port in service.ports {
            let srv = RData::SRV(SRV::new(0, weight, port.number, name(target)?));
            let transport = match port.transport {
                Transport::Tcp => "_tcp",
                Transport::Udp => "_udp",
            };
            self.add(
                &format!("_{}.{transport}.{}", port.name, service.fqdn()),
                srv.clone(),
            )?;
            self.add(&service.fqdn(), srv)?;
        }
        Ok(())
    }

    fn add_pod_domain(&mut self, namespace: &str) -> Result<(), ProtoError> {
        let domain = name(&format!("{namespace}.pod.{}", world::DOMAIN))?;
        if !self.pod_domains.contains(&domain) {
            self.add_above(&domain);
            self.above.insert(domain.clone());
            self.pod_domains.push(domain);
        }
        Ok(())
    }

    fn add_reverse(&mut self, address: Ipv4Addr, target: &str) -> Result<(), ProtoError> {
        let [a, b, c, d] = address.octets();
        self.add(
            &format!("{d}.{c}.{b}.{a}.in-addr.arpa"),
            RData::PTR(PTR(name(target)?)),
        )
    }

    fn add(&mut self, owner: &str, data: RData) -> Result<(), ProtoError> {
        let owner = name(owner)?;
        self.add_above(&owner);
        self.data.entry(owner).or_default().push(data);
        Ok(())
    }

    fn add_above(&mut self, owner: &Name) {
        let mut parent = owner.base_name();
        // Names above the zone are not in it.
        while !parent.is_root() && self.zones.iter().any(|zone| zone.zone_of(&parent)) {
            self.above.insert(parent.clone());
            parent = parent.base_name();
        }
    }
}

/// The name of one pod within a service: its hostname, or its address with dashes.
fn endpoint(service: &Service, pod: &Pod) -> String {
    let label = pod
        .hostname
        .map_or_else(|| pod.address.to_string().replace('.', "-"), str::to_owned);
    format!("{label}.{}", service.fqdn())
}

fn name(text: &str) -> Result<Name, ProtoError> {
    Name::from_ascii(format!("{text}."))
}
