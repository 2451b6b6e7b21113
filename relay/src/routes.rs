//! Decides the egress of a target: through the cluster, or over this machine's own network.
//!
//! The preloaded library keeps loopback targets local, so they are not decided here. For all others the first matching
//! rule of the session decides. Without one, a target goes through the cluster, except this machine's own addresses,
//! the pod's, and addresses that were learnt from a local answer: a connection is routed like its name. A local answer
//! does not make an address local that the cluster returned, or that is in a network of the cluster's: the operator of
//! a name server near this machine must not redirect a session's connections.

mod interfaces;
mod learned_addresses;
mod listeners;
mod pod;

pub(crate) use interfaces::is_of_this_machine;
pub(crate) use listeners::SessionListeners;
pub(crate) use pod::{Pod, Transport};

use ipnet::IpNet;
use kinject_dns::PORT;
use kinject_protocol::rules::{Egress, Rule};
use learned_addresses::LearnedAddresses;
use std::cell::LazyCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Maximum number of networks of each origin, since each decision checks all of them.
const MAX_NETWORKS: usize = 256;

/// The session's routes.
#[derive(Default)]
pub(crate) struct Routes {
    rules: Vec<Rule>,
    name_servers: Vec<IpAddr>,
    learned: parking_lot::Mutex<LearnedAddresses>,
    networks: parking_lot::Mutex<Networks>,
    pod: parking_lot::Mutex<Option<Pod>>,
}

/// The known networks of the cluster.
#[derive(Default)]
struct Networks {
    /// Networks in which the session's agents have addresses or to which they have routes, the latest agent's first.
    pods: Vec<IpNet>,
    /// Networks of Services and pods, from the API.
    api: Vec<IpNet>,
}

impl Networks {
    fn contain(&self, address: IpAddr) -> bool {
        self.pods
            .iter()
            .chain(&self.api)
            .any(|network| network.contains(&address))
    }
}

/// The egress of a target, and its cause.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    /// Through the cluster or over this machine's network.
    pub(crate) egress: Egress,
    /// The cause.
    pub(crate) cause: Cause<'a>,
    /// The name for which the target's address was learnt, if there are rules.
    pub(crate) name: Option<String>,
}

/// The cause of a decision.
#[derive(Debug)]
pub(crate) enum Cause<'a> {
    /// A rule.
    Rule(&'a Rule),
    /// A name server of this machine returned the address.
    Learned,
    /// It is the pod's own address, at which the session's programs are reached, by this address on loopback.
    Pod(SocketAddr),
    /// An interface of this machine has the address.
    Interface,
    /// No other cause.
    Default,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(formatter),
            Self::Learned => formatter.write_str("learnt locally"),
            Self::Pod(_) => formatter.write_str("the pod itself"),
            Self::Interface => formatter.write_str("this machine"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

impl Routes {
    /// Routes with these rules.
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// With these name servers, which programs see in their resolv.conf and in place of which the session answers.
    pub(crate) fn with_name_servers(mut self, servers: Vec<IpAddr>) -> Self {
        self.name_servers = servers;
        self
    }

    /// Whether the target is a name server in place of which the session answers, over UDP and TCP.
    pub(crate) fn is_name_server(&self, target: SocketAddr) -> bool {
        target.port() == PORT && self.name_servers.contains(&target.ip().to_canonical())
    }

    /// Sets the agent's pod.
    pub(crate) fn set_pod(&self, pod: Pod) {
        *self.pod.lock() = Some(pod);
    }

    /// The stand-in on loopback for this address, if the agent reports it as the pod's own. This is sufficient for
    /// bind(2), but see [`Self::decide`].
    pub(crate) fn stand_in(&self, address: SocketAddr) -> Option<SocketAddr> {
        let is_of_this_machine =
            || interfaces::is_of_this_machine(SocketAddr::new(address.ip().to_canonical(), 0));
        self.pod.lock().as_ref()?.stand_in(address, is_of_this_machine)
    }

    /// The pod's address of which this one is the stand-in on loopback.
    pub(crate) fn pod_address(&self, stand_in: SocketAddr) -> Option<SocketAddr> {
        self.pod.lock().as_ref()?.address(stand_in)
    }

    /// The stand-in for a target that is the pod itself, if the session is reached there.
    fn pod_stand_in(
        &self,
        target: SocketAddr,
        transport: Option<Transport>,
        is_of_this_machine: impl FnOnce() -> bool,
    ) -> Option<SocketAddr> {
        let pod = self.pod.lock();
        let pod = pod.as_ref()?;
        let stand_in = pod.stand_in(target, is_of_this_machine)?;
        // which side resolves the address' name does not depend on listeners
        transport
            .is_none_or(|transport| pod.is_reached_here(stand_in, transport))
            .then_some(stand_in)
    }

    /// Adds the networks in which an agent's pod has addresses or to which it has routes. Those of earlier agents, on
    /// other nodes, are kept.
    pub(crate) fn add_pod_networks(&self, networks: &[IpNet]) {
        let mut known = self.networks.lock();
        let earlier = std::mem::take(&mut known.pods);
        for network in networks.iter().chain(&earlier) {
            if known.pods.len() < MAX_NETWORKS && !known.pods.contains(network) {
                known.pods.push(*network);
            }
        }
    }

    /// Sets the networks of Services and pods, from the API.
    pub(crate) fn set_api_networks(&self, mut networks: Vec<IpNet>) {
        networks.truncate(MAX_NETWORKS);
        self.networks.lock().api = networks;
    }

    /// Whether an address is known to be the cluster's: an answer of the cluster had it, or it is in one of its
    /// networks.
    pub(crate) fn is_cluster_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.learned.lock().is_remote(address) || self.networks.lock().contain(address)
    }

    /// Decides the egress of connections or datagrams to this target.
    ///
    /// An address that the cluster's name servers returned is the cluster's even if the agent reports it as its own: no
    /// answer of the cluster redirects to this machine.
    pub(crate) fn decide(&self, target: SocketAddr, transport: Transport) -> Decision<'_> {
        self.decide_for(target, Some(transport))
    }

    /// Whether an address, at any port, is reached and resolved locally.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.why_local(address).is_some()
    }

    /// Why an address is reached and resolved locally, if it is.
    pub(crate) fn why_local(&self, address: IpAddr) -> Option<Cause<'_>> {
        let decision = self.decide_for(SocketAddr::new(address, 0), None);
        // the cluster resolves the pod's name
        let is_local = decision.egress == Egress::Local && !matches!(decision.cause, Cause::Pod(_));
        is_local.then_some(decision.cause)
    }

    /// Whether a local name server returned this address, and the cluster did not.
    pub(crate) fn is_learned_locally(&self, address: IpAddr) -> bool {
        self.learned.lock().is_local(address.to_canonical())
    }

    /// The rule that decides where this name is looked up, if there is one.
    pub(crate) fn rule_for_name(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers_name(name))
    }

    /// The only egress by which this name is looked up, if a rule decides it.
    pub(crate) fn egress_of_name(&self, name: &str) -> Option<Egress> {
        self.rule_for_name(name).map(|rule| rule.egress)
    }

    /// Records addresses from a local answer, for a name that does not exist in the cluster or that a rule makes local.
    pub(crate) fn learned_locally(&self, name: &str, addresses: &[IpAddr]) {
        self.learn(name, addresses, Egress::Local);
    }

    /// Records addresses from an answer of the cluster: they stay the cluster's, whatever local name servers answer
    /// later.
    pub(crate) fn learned_from_cluster(&self, name: &str, addresses: &[IpAddr]) {
        self.learn(name, addresses, Egress::Remote);
    }

    fn learn(&self, name: &str, addresses: &[IpAddr], from: Egress) {
        // names are only needed for rules
        let name = (!self.rules.is_empty()).then_some(name);
        let mut learned = self.learned.lock();
        for address in addresses {
            learned.learn(address.to_canonical(), from, name);
        }
    }

    fn decide_for(&self, mut target: SocketAddr, transport: Option<Transport>) -> Decision<'_> {
        let address = target.ip().to_canonical();
        if address.is_ipv4() {
            target.set_ip(address);
        }
        let learned = self.learned.lock();
        let name = learned.name(address);
        let port = transport.map(|_| target.port());
        // the kernel is asked at most once
        let is_of_this_machine = LazyCell::new(|| interfaces::is_of_this_machine(target));
        let rule = self.rules.iter().find(|rule| rule.covers(address, name, port));
        let (egress, cause) = match rule {
            Some(rule) => (rule.egress, Cause::Rule(rule)),
            None if learned.is_remote(address) => (Egress::Remote, Cause::Default),
            None if transport.is_some() && self.is_name_server(target) => (Egress::Remote, Cause::Default),
            None if let Some(stand_in) = self.pod_stand_in(target, transport, || *is_of_this_machine) => {
                (Egress::Local, Cause::Pod(stand_in))
            }
            None if self.networks.lock().contain(address) => (Egress::Remote, Cause::Default),
            None if learned.is_local(address) => (Egress::Local, Cause::Learned),
            None if *is_of_this_machine => (Egress::Local, Cause::Interface),
            None => (Egress::Remote, Cause::Default),
        };
        Decision {
            egress,
            cause,
            name: name.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::control::SessionAddresses;
    use std::path::Path;
    use std::rc::Rc;

    fn routes(rules: &[(Egress, &str)]) -> Routes {
        let rules = rules
            .iter()
            .map(|(egress, pattern)| Rule::new(*egress, pattern, None).unwrap());
        Routes::new(rules.collect())
    }

    fn egress(routes: &Routes, target: &str) -> Egress {
        routes.decide(target.parse().unwrap(), Transport::Tcp).egress
    }

    #[test]
    fn locally_learned_address_is_local_until_the_cluster_returns_it() {
        let routes = Routes::default();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(!routes.is_local(address));
        routes.learned_locally("a", &[address]);
        assert!(routes.is_local(address) && !routes.is_cluster_address(address));
        assert_eq!(egress(&routes, "[::ffff:192.0.2.7]:80"), Egress::Local);
        routes.learned_from_cluster("b", &[address]);
        assert!(!routes.is_local(address) && routes.is_cluster_address(address));
        routes.learned_locally("a", &[address]);
        assert!(!routes.is_local(address));
    }

    #[test]
    fn address_in_a_cluster_network_is_local_only_by_a_rule() {
        let routes = routes(&[(Egress::Local, "10.96.0.7")]);
        let networks =
            |list: &[&str]| -> Vec<IpNet> { list.iter().map(|network| network.parse().unwrap()).collect() };
        routes.learned_locally(
            "a",
            &["10.96.0.8".parse().unwrap(), "10.244.1.1".parse().unwrap()],
        );
        assert_eq!(egress(&routes, "10.96.0.8:80"), Egress::Local);
        routes.set_api_networks(networks(&["10.96.0.0/16", "fd00:96::/112"]));
        routes.add_pod_networks(&networks(&["10.244.1.0/24"]));
        for target in ["10.96.0.8:80", "10.244.1.1:80", "[fd00:96::7]:80"] {
            routes.learned_locally("a", &[target.parse::<SocketAddr>().unwrap().ip()]);
            assert_eq!(egress(&routes, target), Egress::Remote, "{target}");
        }
        assert!(routes.is_cluster_address("::ffff:10.96.0.8".parse().unwrap()));
        assert!(!routes.is_cluster_address("10.97.0.8".parse().unwrap()));
        assert_eq!(egress(&routes, "10.96.0.7:80"), Egress::Local);
        // a later agent may run on another node
        routes.add_pod_networks(&networks(&["10.244.2.0/24"]));
        for target in ["10.244.1.1:80", "10.244.2.1:80"] {
            routes.learned_locally("a", &[target.parse::<SocketAddr>().unwrap().ip()]);
            assert_eq!(egress(&routes, target), Egress::Remote, "{target}");
        }
        for index in 0..1000_u32 {
            let network = IpNet::new(IpAddr::V4(index.into()), 32).unwrap();
            routes.add_pod_networks(&[network]);
        }
        assert_eq!(routes.networks.lock().pods.len(), MAX_NETWORKS);
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        use Egress::{Local, Remote};
        let routes = routes(&[
            (Remote, "10.1.0.0/16"),
            (Local, "10.0.0.0/8:443"),
            (Remote, "10.2.0.0/16"),
            (Local, "10.0.0.0/8"),
        ]);
        for (target, expected) in [
            ("10.1.2.3:443", Remote),
            ("10.2.2.3:443", Local),
            ("10.2.2.3:80", Remote),
            ("10.3.2.3:80", Local),
            ("11.3.2.3:80", Remote),
            ("[fd00::1]:80", Remote),
        ] {
            assert_eq!(egress(&routes, target), expected, "{target}");
        }
    }

    #[test]
    fn name_rule_covers_the_addresses_learned_for_the_name() {
        let routes = routes(&[
            (Egress::Local, "*.office.test"),
            (Egress::Remote, "db.test:5432"),
            (Egress::Local, "db.test"),
        ]);
        let address: IpAddr = "203.0.113.1".parse().unwrap();
        assert_eq!(egress(&routes, "203.0.113.1:80"), Egress::Remote);
        routes.learned_locally("Wiki.Office.test.", &[address]);
        assert_eq!(egress(&routes, "203.0.113.1:80"), Egress::Local);
        // the same address under another name is routed like that name
        routes.learned_from_cluster("db.test", &[address]);
        assert_eq!(egress(&routes, "203.0.113.1:5432"), Egress::Remote);
        assert_eq!(egress(&routes, "203.0.113.1:80"), Egress::Local);
        let decision = routes.decide("203.0.113.1:5432".parse().unwrap(), Transport::Tcp);
        assert_eq!(decision.cause.to_string(), "--remote db.test:5432");
        assert_eq!(decision.name.as_deref(), Some("db.test"));
        assert_eq!(routes.egress_of_name("wiki.office.test"), Some(Egress::Local));
        assert_eq!(routes.egress_of_name("db.test"), Some(Egress::Local));
        assert_eq!(routes.egress_of_name("web"), None);
    }

    #[test]
    fn interface_address_is_local_unless_a_rule_or_the_cluster_claims_it() {
        // loopback stands for an address of an interface: every machine has it, and real connects to it are not decided
        // here
        let own = "127.0.0.1:80";
        let decided = |routes: &Routes| {
            let decision = routes.decide(own.parse().unwrap(), Transport::Tcp);
            (decision.egress, decision.cause.to_string())
        };
        assert_eq!(
            decided(&Routes::default()),
            (Egress::Local, "this machine".to_owned())
        );
        let by_rule = routes(&[(Egress::Remote, "*")]);
        assert_eq!(decided(&by_rule), (Egress::Remote, "--remote *".to_owned()));
        let by_answer = Routes::default();
        by_answer.learned_from_cluster("a", &["127.0.0.1".parse().unwrap()]);
        assert_eq!(decided(&by_answer).0, Egress::Remote);
        let by_network = Routes::default();
        by_network.set_api_networks(vec!["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(decided(&by_network).0, Egress::Remote);
    }

    #[test]
    fn pod_address_leads_to_the_session_and_its_name_to_the_cluster() {
        let routes = routes(&[(Egress::Remote, "10.244.0.5:443")]);
        let [v4, v6] = ["10.244.0.5", "fd00::5"].map(|address| address.parse().unwrap());
        let session = SessionAddresses::of(5);
        routes.set_pod(Pod::new([v4, v6].into_iter(), session, None));
        routes.add_pod_networks(&["10.244.0.0/24".parse().unwrap()]);
        let cause = |target: &str| {
            let decision = routes.decide(target.parse().unwrap(), Transport::Tcp);
            (decision.egress, decision.cause.to_string())
        };
        for target in ["10.244.0.5:80", "[::ffff:10.244.0.5]:80", "[fd00::5]:80"] {
            assert_eq!(
                cause(target),
                (Egress::Local, "the pod itself".to_owned()),
                "{target}"
            );
        }
        assert_eq!(cause("10.244.0.6:80"), (Egress::Remote, "default".to_owned()));
        assert_eq!(cause("10.244.0.5:443").1, "--remote 10.244.0.5:443");
        assert!(!routes.is_local(v4));
        // if the cluster answers with the address for a name, it is the cluster's; it can still be bound
        routes.learned_from_cluster("a", &[v6]);
        assert_eq!(cause("[fd00::5]:80"), (Egress::Remote, "default".to_owned()));
        assert!(routes.stand_in("[fd00::5]:80".parse().unwrap()).is_some());
        // the pod of another agent
        routes.set_pod(Pod::new(
            ["10.244.0.6".parse().unwrap()].into_iter(),
            session,
            None,
        ));
        assert_eq!(cause("10.244.0.5:80").1, "default");
        assert_eq!(cause("10.244.0.6:80").1, "the pod itself");
    }

    /// Routes with an agent that was started by hand at 10.244.0.5.
    fn with_shared_agent() -> Routes {
        let session = SessionAddresses::of(0x0001_0909);
        let routes = Routes::default().with_name_servers(vec!["10.244.0.5".parse().unwrap()]);
        routes.set_pod(Pod::new(
            ["10.244.0.5".parse().unwrap()].into_iter(),
            session,
            Some(Rc::new(SessionListeners::of(
                "a:b:c",
                Path::new("/no/such/library"),
            ))),
        ));
        routes
    }

    #[test]
    fn shared_agent_address_is_remote_unless_the_session_listens_there() {
        let routes = with_shared_agent();
        let cause = |listener: &std::net::TcpListener, transport| {
            let port = listener.local_addr().unwrap().port();
            let target = SocketAddr::new("10.244.0.5".parse().unwrap(), port);
            routes.decide(target, transport).cause.to_string()
        };
        let own = std::net::TcpListener::bind((SessionAddresses::of(0x0001_0909).pod_v4, 0)).unwrap();
        assert_eq!(cause(&own, Transport::Tcp), "the pod itself");
        assert_eq!(cause(&own, Transport::Udp), "default");
        // this process is not in a session
        for everywhere in ["0.0.0.0:0", "[::]:0"] {
            let other = std::net::TcpListener::bind(everywhere).unwrap();
            assert_eq!(cause(&other, Transport::Tcp), "default", "{everywhere}");
        }
    }

    #[test]
    fn name_server_address_is_never_taken_for_a_programs() {
        let routes = with_shared_agent();
        let by_rule = self::routes(&[(Egress::Local, "10.0.0.0/8")]);
        let by_rule = by_rule.with_name_servers(vec!["10.244.0.5".parse().unwrap()]);
        // as if there were a listener at each port
        *routes.pod.lock() = Some(Pod::new(
            ["10.244.0.5".parse().unwrap()].into_iter(),
            SessionAddresses::of(5),
            None,
        ));
        let cause = |routes: &Routes, target: &str| {
            let decision = routes.decide(target.parse().unwrap(), Transport::Udp);
            decision.cause.to_string()
        };
        assert_eq!(cause(&routes, "10.244.0.5:53"), "default");
        assert_eq!(cause(&routes, "10.244.0.5:54"), "the pod itself");
        assert_eq!(cause(&by_rule, "10.244.0.5:53"), "--local 10.0.0.0/8");
    }

    #[test]
    fn rule_wins_over_a_learned_address() {
        let routes = routes(&[(Egress::Remote, "192.0.2.0/24")]);
        routes.learned_locally(
            "a",
            &["192.0.2.7".parse().unwrap(), "198.51.100.7".parse().unwrap()],
        );
        assert_eq!(egress(&routes, "192.0.2.7:80"), Egress::Remote);
        assert_eq!(egress(&routes, "198.51.100.7:80"), Egress::Local);
    }
}
