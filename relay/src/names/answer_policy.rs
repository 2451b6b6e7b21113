//! Which answers are accepted, and which names this machine's name servers may be asked.
//!
//! Neither side may redirect a session's connections to the other side. The operator of a name server near this machine
//! could answer with the address of a Service, which the session would then reach over the local network; and the
//! cluster's name servers could answer with a loopback address, which is this machine's.

use super::advice::{Advice, Withheld};
use super::cluster_dns::ClusterDns;
use super::cluster_names::{self, ClusterOnly};
use super::hosts;
use super::ptr;
use super::query;
use kinject_dns::message::{self, Code, Query};
use kinject_dns::resolv_conf::ResolvConf;

use crate::routes::Routes;
use crate::trace::Traced;
use hickory_proto::rr::RecordType;
use kinject_protocol::NameFailure;
use kinject_protocol::control::is_of_every_machine;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time limit for the cluster to say whether an address is its own: its name servers answer that without others.
const OWNERSHIP_TIMEOUT: Duration = Duration::from_secs(2);

/// A name that exists in every cluster, without the cluster's domain.
const CONTROL_NAME: &str = "kubernetes.default.svc";

/// Maximum number of addresses of a local answer: the cluster is asked about each.
const MAX_ADDRESSES: usize = 64;

/// A cache of addresses that are not the cluster's.
#[derive(Default)]
struct NonClusterAddresses(parking_lot::Mutex<HashMap<IpAddr, Instant>>);

impl NonClusterAddresses {
    /// How long an entry is valid.
    const LIFE: Duration = Duration::from_secs(60);

    /// Maximum number of entries.
    const MAX_ENTRIES: usize = 1024;

    fn contains(&self, address: IpAddr) -> bool {
        self.0
            .lock()
            .get(&address)
            .is_some_and(|at| at.elapsed() < Self::LIFE)
    }

    fn insert(&self, address: IpAddr) {
        let mut known = self.0.lock();
        if known.len() >= Self::MAX_ENTRIES {
            known.clear();
        }
        known.insert(address, Instant::now());
    }
}

/// Decides where names are looked up, and which answers are accepted.
pub(super) struct AnswerPolicy {
    cluster: Rc<ClusterDns>,
    routes: Rc<Routes>,
    advice: Advice,
    non_cluster: NonClusterAddresses,
}

impl AnswerPolicy {
    /// `advice` reports to the user what is withheld.
    pub(super) fn new(cluster: Rc<ClusterDns>, routes: Rc<Routes>, advice: Advice) -> Self {
        Self {
            cluster,
            routes,
            advice,
            non_cluster: NonClusterAddresses::default(),
        }
    }

    /// Whether this machine's name servers may be asked for a name that does not exist in the cluster. A name that is
    /// withheld and that they may know is reported to the user.
    pub(super) async fn may_ask_locally(&self, conf: &ResolvConf, name: &str) -> bool {
        let withheld = match cluster_names::cluster_only(conf, name) {
            None if !self.is_under_service_or_namespace(conf, name).await => return true,
            Some(ClusterOnly::Service) => None,
            Some(_) if hosts::is_own_name(name) => None,
            None | Some(ClusterOnly::SearchedDomain) => Some(Withheld::SearchedDomain),
            Some(ClusterOnly::ShortName) => Some(Withheld::ShortName),
        };
        if let Some(reason) = withheld {
            self.advice.report(name, reason);
        }
        false
    }

    /// Whether these addresses, from this machine's own names or name servers, are accepted; refused ones are reported
    /// to the user.
    pub(super) async fn accepts_local_addresses(
        &self,
        name: &str,
        addresses: &[IpAddr],
        traced: &mut Traced<'_>,
    ) -> bool {
        let asked = addresses.iter().map(|address| async move {
            (!is_of_every_machine(*address) && self.is_cluster_address(*address).await).then_some(*address)
        });
        if addresses.len() > MAX_ADDRESSES {
            traced.remark(format_args!(
                "{} addresses of a local answer are too many",
                addresses.len()
            ));
            return false;
        }
        let found = futures::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .next();
        if let Some(address) = found {
            traced.remark(format_args!(
                "{address}, which was found locally, is the cluster's"
            ));
            self.advice.report(name, Withheld::ClusterAddress(address));
        }
        found.is_none()
    }

    /// Whether an address is the cluster's: by its earlier answers and its networks, or by the name that its name
    /// servers have for the address. If they cannot be asked, it counts as the cluster's.
    async fn is_cluster_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.routes.is_cluster_address(address) {
            return true;
        }
        if self.non_cluster.contains(address) {
            return false;
        }
        let (Some(question), Some(up)) = (ptr::question(address), self.cluster.now()) else {
            return true;
        };
        let conf = &up.names.conf;
        // the cluster's name servers answer the control question without others: if they answer it and not the reverse
        // lookup, they forwarded the latter to other servers, and the address is not the cluster's
        let control = cluster_names::cluster_domain(conf)
            .and_then(|domain| query::question(&format!("{CONTROL_NAME}.{domain}"), RecordType::A));
        let (answer, control) =
            tokio::join!(self.ask_soon(Some(&question)), self.ask_soon(control.as_deref()));
        let is_cluster_address = match answer.as_deref().map(ptr::names) {
            Some(Ok(names)) => match names
                .iter()
                .find(|name| cluster_names::is_under_cluster_domain(conf, name))
            {
                Some(name) => {
                    self.routes.learned_from_cluster(name, &[address]);
                    true
                }
                None => false,
            },
            Some(Err(NameFailure::NotFound | NameFailure::NoData)) => false,
            Some(Err(_)) | None => control.is_none(),
        };
        if !is_cluster_address {
            self.non_cluster.insert(address);
        }
        is_cluster_address
    }

    /// Whether a name with dots is under an existing Service or namespace, as `POD.SERVICE` and `SERVICE.NAMESPACE`
    /// are: its parent exists in the cluster. If the cluster cannot be asked, the name counts as the cluster's.
    async fn is_under_service_or_namespace(&self, conf: &ResolvConf, name: &str) -> bool {
        let Some((_, parent)) = name.trim_end_matches('.').split_once('.') else {
            return false;
        };
        let asked = cluster_names::service_domains(conf).map(|domain| async move {
            let question = query::question(&format!("{parent}.{domain}"), RecordType::A);
            // what is not a DNS name is not under a Service
            let Some(question) = question else {
                return false;
            };
            let answer = self.ask_soon(Some(&question)).await;
            !answer.is_some_and(|answer| message::code(&answer) == Code::NxDomain)
        });
        futures::future::join_all(asked).await.contains(&true)
    }

    /// The cluster's answer within [`OWNERSHIP_TIMEOUT`], if it is NOERROR or NXDOMAIN.
    async fn ask_soon(&self, question: Option<&[u8]>) -> Option<Vec<u8>> {
        let query = Query::parse(question?).ok()?;
        let answer = tokio::time::timeout(OWNERSHIP_TIMEOUT, self.cluster.exchange(&query)).await;
        answer
            .ok()
            .filter(|answer| matches!(message::code(answer), Code::NoError | Code::NxDomain))
    }

    /// Removes loopback addresses from an answer of the cluster. Not called if a rule makes the name the cluster's.
    pub(super) fn drop_loopback_addresses(
        &self,
        name: &str,
        addresses: &mut Vec<IpAddr>,
        traced: &mut Traced<'_>,
    ) {
        let dropped = addresses
            .iter()
            .copied()
            .find(|address| is_of_every_machine(*address));
        if let Some(dropped) = dropped {
            addresses.retain(|address| !is_of_every_machine(*address));
            self.report_loopback_address(name, dropped, traced);
        }
    }

    /// The same for a message: if its answers have loopback addresses, all answers are removed; if only further records
    /// do, these are removed.
    pub(super) fn without_loopback_addresses(
        &self,
        query: &Query<'_>,
        name: &str,
        mut answer: Vec<u8>,
        traced: &mut Traced<'_>,
    ) -> Vec<u8> {
        let addresses = message::all_addresses(&answer);
        let Some(dropped) = addresses
            .into_iter()
            .find(|address| is_of_every_machine(*address))
        else {
            return answer;
        };
        self.report_loopback_address(name, dropped, traced);
        if message::addresses(&answer).into_iter().any(is_of_every_machine) {
            return query.refusal(Code::NoError);
        }
        message::keep_answers_alone(&mut answer);
        answer
    }

    fn report_loopback_address(&self, name: &str, dropped: IpAddr, traced: &mut Traced<'_>) {
        traced.remark(format_args!(
            "{dropped}, which the cluster gave, would be this machine"
        ));
        self.advice.report(name, Withheld::LoopbackAddress(dropped));
    }
}
