//! Resolves host names: in the cluster first, then on this machine.
//!
//! All candidates of the search list are asked at once, and the answer is selected in glibc's order (`res_search`,
//! resolver(3)), so that a lookup costs one round trip. Only if a name does not exist in the cluster, this machine's
//! hosts file is read, and the local resolver is asked for names that cannot be the cluster's. Only a local answer with
//! addresses replaces the cluster's NXDOMAIN. A rule for a name has only one side asked.

use super::advice::Advice;
use super::answer_policy::AnswerPolicy;
use super::cluster_dns::ClusterDns;
use super::host_name::is_host_name;
use super::hosts;
use super::local::{LocalNames, Reason};
use super::order;
use super::pod_hosts::{HostsLine, PodHosts};
use super::query::{self, Outcome};
use super::search_list::{self, CandidateOutcome};
use crate::log;
use crate::routes::Routes;
use crate::trace::{Trace, Traced};
use crate::uplink::Uplink;
use crate::words;
use hickory_proto::rr::RecordType;
use kinject_dns::message::Query;
use kinject_dns::resolv_conf::ResolvConf;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{Family, Purpose, Reply};
use kinject_protocol::rules::Egress;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// The session's resolver.
pub(crate) struct Resolver {
    pub(super) uplink: Rc<Uplink>,
    pub(super) routes: Rc<Routes>,
    pub(super) trace: Rc<Trace>,
    pub(super) local: LocalNames,
    pub(super) cluster: Rc<ClusterDns>,
    pub(super) policy: AnswerPolicy,
    pub(super) pod_hosts: PodHosts,
}

/// The addresses of a name and its canonical form.
struct Found {
    canonical: String,
    addresses: Vec<IpAddr>,
}

impl Resolver {
    /// A resolver with an empty cache.
    pub(crate) fn new(uplink: Rc<Uplink>, trace: Rc<Trace>, advice: Advice, local: LocalNames) -> Self {
        let routes = Rc::clone(trace.routes());
        let cluster = Rc::new(ClusterDns::new(Rc::clone(&uplink)));
        Self {
            policy: AnswerPolicy::new(Rc::clone(&cluster), Rc::clone(&routes), advice),
            uplink,
            routes,
            trace,
            local,
            cluster,
            pod_hosts: PodHosts::default(),
        }
    }

    /// Replaces the lines of the pod's hosts file.
    pub(crate) fn set_pod_hosts(&self, lines: Vec<HostsLine>) {
        self.pod_hosts.set(lines);
    }

    /// Drops all cached answers.
    pub(crate) fn forget(&self) {
        self.cluster.forget();
    }

    /// Looks up a name as a program gave it.
    pub(crate) async fn resolve(&self, name: &[u8], family: Family, purpose: Purpose) -> Reply {
        let mut traced = self.trace.lookup(name);
        let reply = self.look_up(name, family, purpose, &mut traced).await;
        traced.answered(&reply, purpose);
        reply
    }

    async fn look_up(&self, name: &[u8], family: Family, purpose: Purpose, traced: &mut Traced<'_>) -> Reply {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_host_name(name)) else {
            return Reply::NameFailed(NameFailure::NotFound);
        };
        let only = self.routes.egress_of_name(name);
        if only == Some(Egress::Local) {
            let asked = self.local.by_libc_for_a_rule(look_up_by_libc(name.to_owned()));
            // no answer counts as a negative answer
            let addresses = asked.await.unwrap_or_default();
            return match Found::of(name, addresses, family) {
                Some(found) => self.learn_locally(name, found),
                None => Reply::NameFailed(NameFailure::NotFound),
            };
        }
        if let Some(found) = self.find_in_pod_hosts(name, family, only, traced) {
            // the pod's own addresses stay the session's: its programs may listen there
            let is_own = |address: &IpAddr| self.routes.stand_in(SocketAddr::new(*address, 0)).is_some();
            let aliased = found.addresses.iter().copied().filter(|address| !is_own(address));
            let aliased: Vec<_> = aliased.collect();
            self.routes.learned_from_cluster(name, &aliased);
            log::debug!("lookup of {name}: in the pod's hosts file");
            return found.into_reply();
        }
        let Some(up) = self.cluster.up().await else {
            return Reply::NameFailed(NameFailure::TryAgain);
        };
        let family = match purpose {
            Purpose::ConfiguredAddressInfo => match up.names.configured(family) {
                Some(family) => family,
                // as glibc does
                None => return Reply::NameFailed(NameFailure::NotFound),
            },
            Purpose::AddressInfo | Purpose::HostEntry => family,
        };
        let failure = match self.ask_cluster(&up.names.conf, name, family).await {
            Ok(mut found) => {
                if only.is_none() {
                    self.policy
                        .drop_loopback_addresses(name, &mut found.addresses, traced);
                }
                if !found.addresses.is_empty() {
                    self.routes.learned_from_cluster(name, &found.addresses);
                    if purpose != Purpose::HostEntry {
                        order::sort(&mut found.addresses, &up.names.sources);
                    }
                    log::debug!(
                        "lookup of {name}: {} from the cluster",
                        words::list(&found.addresses)
                    );
                    return found.into_reply();
                }
                NameFailure::NoData
            }
            // a name of the pod's that has no address of this family is no name of this machine's
            Err(NameFailure::NotFound) if only.is_none() && self.pod_hosts.addresses(name).is_none() => {
                match self.resolve_locally(&up.names.conf, name, family).await {
                    Some(found)
                        if self
                            .policy
                            .accepts_local_addresses(name, &found.addresses, traced)
                            .await =>
                    {
                        return self.learn_locally(name, found);
                    }
                    Some(_) | None => NameFailure::NotFound,
                }
            }
            Err(failure) => failure,
        };
        log::debug!("lookup of {name}: {}", words::name_failure(failure, purpose));
        Reply::NameFailed(failure)
    }

    /// Looks up a name in the pod's hosts file.
    fn find_in_pod_hosts(
        &self,
        name: &str,
        family: Family,
        only: Option<Egress>,
        traced: &mut Traced<'_>,
    ) -> Option<Found> {
        let (canonical, mut addresses) = self.pod_hosts.addresses(name)?;
        if only.is_none() {
            self.policy.drop_loopback_addresses(name, &mut addresses, traced);
        }
        Found::of(&canonical, addresses, family)
    }

    /// Looks up a name on this machine that does not exist in the cluster: its own names first, then its name servers,
    /// which are asked only for names that cannot be the cluster's, and only for the requested name and family.
    async fn resolve_locally(&self, conf: &ResolvConf, name: &str, family: Family) -> Option<Found> {
        let own = Found::of(name, hosts::addresses(name).await, family);
        if own.is_some() {
            return own;
        }
        let found = if self.policy.may_ask_locally(conf, name).await {
            let absolute = format!("{}.", name.trim_end_matches('.'));
            let servers = async |reason| self.ask_local_name_servers(name, family, reason).await;
            self.local.by_libc(look_up_by_libc(absolute), servers).await
        } else if hosts::is_own_name(name) {
            self.local.by_libc_only(look_up_by_libc(name.to_owned())).await
        } else {
            None
        };
        found.and_then(|addresses| Found::of(name, addresses, family))
    }

    /// Asks this machine's name servers for the addresses of a name.
    async fn ask_local_name_servers(
        &self,
        name: &str,
        family: Family,
        reason: Reason,
    ) -> Option<Vec<IpAddr>> {
        let ask = |record| async move {
            let question = query::question(name, record)?;
            let asked = Query::parse(&question).ok()?;
            let answer = self.local.ask(&asked, reason).await?;
            match query::answer(&answer, record).outcome {
                Outcome::Found { addresses, .. } => Some(addresses),
                _ => None,
            }
        };
        let (v4, v6) = match family {
            Family::V4 => (ask(RecordType::A).await, None),
            Family::V6 => (None, ask(RecordType::AAAA).await),
            Family::Any | Family::Mapped => tokio::join!(ask(RecordType::A), ask(RecordType::AAAA)),
        };
        let found = [v4, v6].into_iter().flatten().flatten().collect::<Vec<_>>();
        (!found.is_empty()).then_some(found)
    }

    fn learn_locally(&self, name: &str, found: Found) -> Reply {
        self.routes.learned_locally(name, &found.addresses);
        log::debug!(
            "lookup of {name}: {} from this machine",
            words::list(&found.addresses)
        );
        found.into_reply()
    }

    /// Asks for all candidates at once and selects the answer in their order.
    async fn ask_cluster(&self, conf: &ResolvConf, name: &str, family: Family) -> Result<Found, NameFailure> {
        let candidates = search_list::host_candidates(conf, name);
        let asked = candidates.iter().map(|candidate| async {
            let name = candidate.name(name);
            self.ask_one(&name, family).await
        });
        let mut answers = futures::future::join_all(asked).await;
        let selected = search_list::select_answer(&candidates, answers.iter().map(candidate_outcome))?;
        match answers.swap_remove(selected) {
            Outcome::Found { canonical, addresses } => Ok(Found { canonical, addresses }),
            _ => Err(NameFailure::NotFound),
        }
    }

    /// Asks for one fully qualified name, both families at once.
    async fn ask_one(&self, name: &str, family: Family) -> Outcome {
        match family {
            Family::V4 => self.cluster.ask_record(name, RecordType::A).await,
            Family::V6 => self.cluster.ask_record(name, RecordType::AAAA).await,
            Family::Any | Family::Mapped => {
                let (v4, v6) = tokio::join!(
                    self.cluster.ask_record(name, RecordType::A),
                    self.cluster.ask_record(name, RecordType::AAAA)
                );
                both(v4, v6)
            }
        }
    }
}

impl Found {
    /// The addresses of that family without duplicates; none if there are none.
    fn of(name: &str, addresses: impl IntoIterator<Item = IpAddr>, family: Family) -> Option<Self> {
        let wanted = |address: &IpAddr| match family {
            Family::Any | Family::Mapped => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let mut unique = Vec::new();
        for address in addresses.into_iter().filter(wanted) {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        (!unique.is_empty()).then(|| Self {
            canonical: name.to_owned(),
            addresses: unique,
        })
    }

    fn into_reply(self) -> Reply {
        Reply::Addresses {
            canonical: self.canonical.into_bytes(),
            addresses: self.addresses,
        }
    }
}

/// The outcome of one candidate in the search.
fn candidate_outcome(outcome: &Outcome) -> CandidateOutcome {
    match outcome {
        Outcome::Found { .. } => CandidateOutcome::Positive,
        Outcome::NoData => CandidateOutcome::NoData,
        Outcome::NotFound => CandidateOutcome::NotFound,
        Outcome::ServerFailed => CandidateOutcome::ServerFailed,
        Outcome::NoAnswer => CandidateOutcome::EndsSearch(NameFailure::TryAgain),
        Outcome::Refused => CandidateOutcome::EndsSearch(NameFailure::NoRecovery),
    }
}

/// Joins the answers for both families: addresses win, IPv4 first as in glibc's answer before it is sorted.
fn both(v4: Outcome, v6: Outcome) -> Outcome {
    match (v4, v6) {
        (
            Outcome::Found {
                canonical,
                mut addresses,
            },
            Outcome::Found { addresses: more, .. },
        ) => {
            addresses.extend(more);
            Outcome::Found { canonical, addresses }
        }
        (found @ Outcome::Found { .. }, _) | (_, found @ Outcome::Found { .. }) => found,
        // a failure wins over "no such record": the other family may have an address
        (Outcome::NotFound | Outcome::NoData, failed) => failed,
        (failed, _) => failed,
    }
}

/// Looks up the addresses of a name by libc.
async fn look_up_by_libc(name: String) -> Option<Vec<IpAddr>> {
    let addresses = tokio::net::lookup_host((name, 0)).await.ok()?;
    Some(addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::query::found_for_tests as found;
    use crate::routes::{Pod, Transport};
    use crate::test_agent::{DEADLINE, TestAgent};
    use crate::uplink::Reconnector;
    use kinject_protocol::control::SessionAddresses;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    #[test]
    fn addresses_of_one_family_win_over_a_failure_of_the_other() {
        assert_eq!(
            both(found(&["10.0.0.1"]), Outcome::ServerFailed),
            found(&["10.0.0.1"])
        );
        assert_eq!(both(Outcome::NoAnswer, found(&["::1"])), found(&["::1"]));
        assert_eq!(
            both(found(&["10.0.0.1"]), found(&["::2"])),
            found(&["10.0.0.1", "::2"])
        );
    }

    #[test]
    fn server_failure_wins_over_a_missing_record() {
        assert_eq!(
            both(Outcome::NoData, Outcome::ServerFailed),
            Outcome::ServerFailed
        );
        assert_eq!(both(Outcome::NotFound, Outcome::NotFound), Outcome::NotFound);
        assert_eq!(both(Outcome::NoAnswer, Outcome::NoData), Outcome::NoAnswer);
    }

    #[tokio::test]
    async fn name_in_the_pods_hosts_file_is_answered_without_the_cluster() {
        let tasks = LocalSet::new();
        let test = tasks.run_until(async {
            let (events, _receiver) = mpsc::channel(8);
            let agent = TestAgent::start().await;
            let (_reconnector, uplink) = Reconnector::new(agent.connector(), events.clone());
            let routes = Rc::new(Routes::default());
            let own: IpAddr = "10.244.0.5".parse().unwrap();
            routes.set_pod(Pod::new([own].into_iter(), SessionAddresses::of(5), None));
            let trace = Rc::new(Trace::open(None, Rc::clone(&routes)).unwrap());
            let advice = Advice::new(events.clone());
            let resolver = Resolver::new(uplink, trace, advice, LocalNames::new(events));
            let line = |address: &str, names: &[&str]| HostsLine {
                address: address.parse().unwrap(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            resolver.set_pod_hosts(vec![
                line("10.244.0.5", &["pod"]),
                line("10.9.9.9", &["legacy.example", "legacy"]),
            ]);
            for (name, canonical, address) in [
                ("legacy", "legacy.example", "10.9.9.9"),
                ("POD", "pod", "10.244.0.5"),
            ] {
                let reply = resolver
                    .resolve(name.as_bytes(), Family::V4, Purpose::AddressInfo)
                    .await;
                let expected = Reply::Addresses {
                    canonical: canonical.as_bytes().to_vec(),
                    addresses: vec![address.parse().unwrap()],
                };
                assert_eq!(reply, expected, "{name}");
            }
            let reply = resolver.reverse("10.9.9.9".parse().unwrap()).await;
            assert_eq!(reply, Reply::Names(vec![b"legacy.example".to_vec()]));
            // programs of the session may listen at the pod's own address
            let decision = routes.decide(SocketAddr::new(own, 80), Transport::Tcp);
            assert_eq!(decision.egress, Egress::Local);
        });
        tokio::time::timeout(DEADLINE, test).await.unwrap();
    }
}
