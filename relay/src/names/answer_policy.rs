//! Which answers are believed, and which names this machine's name servers may see.
//!
//! Neither side may lead a session's connections to where the other one's are. Whoever runs a name server near this
//! machine could answer with the address of a Service, which the session would then reach over the local network; and the
//! cluster's name servers could answer with loopback, which is this machine's.

use super::advice::{Advice, Withheld};
use super::cluster_dns::ClusterDns;
use super::cluster_names::{self, ClustersAlone};
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

/// How long the cluster may take to say whether an address is its own: its name servers know that by themselves.
const OWNERSHIP_PATIENCE: Duration = Duration::from_secs(2);

/// A name that every cluster has, without the cluster's domain.
const CONTROL: &str = "kubernetes.default.svc";

/// How many addresses a local answer may hold: the cluster is asked about each.
const MOST_ADDRESSES: usize = 64;

/// Addresses that turned out not to be the cluster's, for a while.
#[derive(Default)]
struct Foreign(parking_lot::Mutex<HashMap<IpAddr, Instant>>);

impl Foreign {
    /// For how long that is believed.
    const LIFE: Duration = Duration::from_secs(60);

    /// How many are remembered.
    const MOST: usize = 1024;

    fn knows(&self, address: IpAddr) -> bool {
        self.0
            .lock()
            .get(&address)
            .is_some_and(|at| at.elapsed() < Self::LIFE)
    }

    fn remember(&self, address: IpAddr) {
        let mut known = self.0.lock();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(address, Instant::now());
    }
}

/// What is asked where, and which answers count.
pub(super) struct AnswerPolicy {
    cluster: Rc<ClusterDns>,
    routes: Rc<Routes>,
    advice: Advice,
    foreign: Foreign,
}

impl AnswerPolicy {
    /// Tells the user by `advice` of what is withheld.
    pub(super) fn new(cluster: Rc<ClusterDns>, routes: Rc<Routes>, advice: Advice) -> Self {
        Self {
            cluster,
            routes,
            advice,
            foreign: Foreign::default(),
        }
    }

    /// Whether this machine's name servers may see a name that the cluster does not have. The user is told of one that
    /// they may know.
    pub(super) async fn may_be_asked_here(&self, conf: &ResolvConf, name: &str) -> bool {
        let why = match cluster_names::clusters_alone(conf, name) {
            None if !self.is_under_a_service(conf, name).await => return true,
            Some(ClustersAlone::Service) => None,
            Some(_) if hosts::is_own_name(name) => None,
            None | Some(ClustersAlone::SearchedDomain) => Some(Withheld::SearchedDomain),
            Some(ClustersAlone::ShortName) => Some(Withheld::ShortName),
        };
        if let Some(why) = why {
            self.advice.tell(name, why);
        }
        false
    }

    /// Whether these addresses, which this machine's own names or name servers gave, may be taken; the user is told of those
    /// that may not.
    pub(super) async fn believes_locally(
        &self,
        name: &str,
        addresses: &[IpAddr],
        traced: &mut Traced<'_>,
    ) -> bool {
        let asked = addresses.iter().map(|address| async move {
            (!is_of_every_machine(*address) && self.is_clusters(*address).await).then_some(*address)
        });
        if addresses.len() > MOST_ADDRESSES {
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
            self.advice.tell(name, Withheld::LeadsToCluster(address));
        }
        found.is_none()
    }

    /// Whether an address is the cluster's: as it has shown, or as its name servers say when they are asked for its name. Where
    /// they cannot be asked it counts as theirs.
    async fn is_clusters(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.routes.is_clusters(address) {
            return true;
        }
        if self.foreign.knows(address) {
            return false;
        }
        let (Some(question), Some(up)) = (ptr::question(address), self.cluster.now()) else {
            return true;
        };
        let conf = &up.names.conf;
        // the cluster's name servers know that name by themselves: if they tell it and not the other, the other question went
        // on to servers of somebody else's, and the address is not theirs
        let control = cluster_names::cluster_domain(conf)
            .and_then(|domain| query::question(&format!("{CONTROL}.{domain}"), RecordType::A));
        let (answer, control) =
            tokio::join!(self.ask_soon(Some(&question)), self.ask_soon(control.as_deref()));
        let verdict = match answer.as_deref().map(ptr::names) {
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
        if !verdict {
            self.foreign.remember(address);
        }
        verdict
    }

    /// Whether a name with dots lies under a Service or a namespace that exists, as `POD.SERVICE` and `SERVICE.NAMESPACE` do: the
    /// cluster says of its parent that it exists. Where it cannot be asked, the name counts as the cluster's.
    async fn is_under_a_service(&self, conf: &ResolvConf, name: &str) -> bool {
        let Some((_, parent)) = name.trim_end_matches('.').split_once('.') else {
            return false;
        };
        let asked = cluster_names::service_domains(conf).map(|domain| async move {
            let question = query::question(&format!("{parent}.{domain}"), RecordType::A);
            // what is no name of DNS is no Service's
            let Some(question) = question else {
                return false;
            };
            let answer = self.ask_soon(Some(&question)).await;
            !answer.is_some_and(|answer| message::code(&answer) == Code::NxDomain)
        });
        futures::future::join_all(asked).await.contains(&true)
    }

    /// What the cluster answers within a moment, unless that is that it cannot.
    async fn ask_soon(&self, question: Option<&[u8]>) -> Option<Vec<u8>> {
        let query = Query::parse(question?).ok()?;
        let answer = tokio::time::timeout(OWNERSHIP_PATIENCE, self.cluster.exchange(&query)).await;
        answer
            .ok()
            .filter(|answer| matches!(message::code(answer), Code::NoError | Code::NxDomain))
    }

    /// Takes addresses of this machine out of what the cluster gave, unless a rule makes the name the cluster's.
    pub(super) fn drop_leading_here(&self, name: &str, addresses: &mut Vec<IpAddr>, traced: &mut Traced<'_>) {
        let dropped = addresses
            .iter()
            .copied()
            .find(|address| is_of_every_machine(*address));
        if let Some(dropped) = dropped {
            addresses.retain(|address| !is_of_every_machine(*address));
            self.tell_leading_here(name, dropped, traced);
        }
    }

    /// The same for a message. One whose answers lead here has no answers then; one whose further records do has none of
    /// these.
    pub(super) fn without_leading_here(
        &self,
        query: &Query<'_>,
        name: &str,
        mut answer: Vec<u8>,
        traced: &mut Traced<'_>,
    ) -> Vec<u8> {
        let everywhere = message::all_addresses(&answer);
        let Some(dropped) = everywhere
            .into_iter()
            .find(|address| is_of_every_machine(*address))
        else {
            return answer;
        };
        self.tell_leading_here(name, dropped, traced);
        if message::addresses(&answer).into_iter().any(is_of_every_machine) {
            return query.refusal(Code::NoError);
        }
        message::keep_answers_alone(&mut answer);
        answer
    }

    fn tell_leading_here(&self, name: &str, dropped: IpAddr, traced: &mut Traced<'_>) {
        traced.remark(format_args!(
            "{dropped}, which the cluster gave, would be this machine"
        ));
        self.advice.tell(name, Withheld::LeadsHere(dropped));
    }
}
