//! The part of resolv.conf(5) that decides which names are asked, and whom: `nameserver`, `search`, `domain` and
//! `options ndots`.
//!
//! Time-outs and attempts concern the agent, which speaks with the cluster's name servers.

use std::net::IpAddr;

/// glibc reads three name servers and passes over the rest.
const MAX_SERVERS: usize = 3;

/// glibc's limit for ndots (resolv.conf(5)).
const MAX_NDOTS: usize = 15;

/// Which names a name may stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// The domains to append, first first, without a final dot.
    pub(crate) search: Vec<String>,
    /// A name with at least so many dots is tried as it is first.
    pub(crate) ndots: usize,
    /// The name servers, first first.
    pub(crate) servers: Vec<IpAddr>,
}

impl ResolvConf {
    /// Reads a resolv.conf; what it does not know it passes over, as libc does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self {
            search: Vec::new(),
            ndots: 1,
            servers: Vec::new(),
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // the last of them wins
                Some("search") => conf.search = words.map(domain).filter(|name| !name.is_empty()).collect(),
                Some("domain") => conf.search = words.take(1).map(domain).collect(),
                Some("nameserver") if conf.servers.len() < MAX_SERVERS => {
                    conf.servers
                        .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("options") => {
                    for option in words {
                        if let Some(ndots) = option.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                            conf.ndots = MAX_NDOTS.min(ndots);
                        }
                    }
                }
                _ => {}
            }
        }
        conf
    }

    /// Why a name can only be the cluster's, if it can, so that no local name server is to see it: in a pod it could stand
    /// for a Service, or nobody outside could have it. What such a server answers would be taken for the cluster's word.
    ///
    /// Kubernetes puts `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN` first into every pod's search list
    /// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>); the node's own domains follow.
    pub(crate) fn clusters_alone(&self, name: &str) -> Option<ClustersAlone> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.is_under_cluster_domain(&name) || name.ends_with(".svc") {
            return Some(ClustersAlone::Service);
        }
        let Some((service, namespace)) = name.split_once('.') else {
            return Some(ClustersAlone::ShortName);
        };
        let is_of_own_namespace = !service.is_empty() && self.namespace() == Some(namespace);
        let mut domains = self.search.iter();
        (is_of_own_namespace || domains.any(|domain| is_under(&name, domain)))
            .then_some(ClustersAlone::SearchedDomain)
    }

    /// Whether a name is one of those that the cluster itself makes, as for Services and pods.
    pub(crate) fn is_under_cluster_domain(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.cluster_domain()
            .is_some_and(|domain| is_under(&name, domain))
    }

    /// The cluster's domain.
    pub(crate) fn cluster_domain(&self) -> Option<&str> {
        let mut domains = self.search.iter();
        domains.find_map(|domain| domain.strip_prefix("svc."))
    }

    /// The domains of the search list under which names of Services are: those of one namespace, and of all.
    pub(crate) fn service_domains(&self) -> impl Iterator<Item = &str> {
        let is_of_services = |domain: &&String| {
            domain.starts_with("svc.")
                || domain
                    .split_once('.')
                    .is_some_and(|(_, rest)| rest.starts_with("svc."))
        };
        self.search.iter().filter(is_of_services).map(String::as_str)
    }

    /// The pod's namespace.
    fn namespace(&self) -> Option<&str> {
        let (namespace, rest) = self.search.first()?.split_once('.')?;
        rest.starts_with("svc.").then_some(namespace)
    }
}

/// Why a name is shown to no local name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClustersAlone {
    /// It is a name for a Service or a pod, written out.
    Service,
    /// It has one label.
    ShortName,
    /// It lies under a domain of the search list, or is `SERVICE.NAMESPACE` of the pod's own namespace.
    SearchedDomain,
}

/// Whether a name lies under a domain or is the domain itself; both in small letters, without a final dot.
fn is_under(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    !domain.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_line_wins_and_ndots_has_glibcs_limit() {
        let conf = ResolvConf::parse("search a b\ndomain c.\noptions ndots:99 rotate\n");
        assert_eq!(
            conf,
            ResolvConf {
                search: vec!["c".into()],
                ndots: 15,
                servers: vec![],
            }
        );
        assert_eq!(
            ResolvConf::parse(""),
            ResolvConf {
                search: vec![],
                ndots: 1,
                servers: vec![],
            }
        );
    }

    #[test]
    fn short_names_and_names_under_the_search_list_are_the_clusters_alone() {
        use ClustersAlone::{SearchedDomain, Service, ShortName};
        let conf = ResolvConf::parse(
            "search default.svc.cluster.local svc.cluster.local cluster.local nodes.example\nnameserver 10.96.0.10\n",
        );
        for (name, expected) in [
            ("nothing.default.svc.cluster.local", Some(Service)),
            ("Nothing.CLUSTER.local.", Some(Service)),
            ("web.default.svc", Some(Service)),
            ("redis", Some(ShortName)),
            ("Redis.", Some(ShortName)),
            ("orders.default", Some(SearchedDomain)),
            ("vm1.Nodes.example", Some(SearchedDomain)),
            ("nodes.example", Some(SearchedDomain)),
            ("orders.other", None),
            ("a.b.default", None),
            (".default", None),
            ("mynodes.example", None),
            ("mycluster.local", None),
            ("example.com", None),
        ] {
            assert_eq!(conf.clusters_alone(name), expected, "{name}");
        }
        let domains: Vec<_> = conf.service_domains().collect();
        assert_eq!(domains, ["default.svc.cluster.local", "svc.cluster.local"]);
        // a pod without Kubernetes' search list
        assert_eq!(ResolvConf::parse("search default\n").clusters_alone("a.b"), None);
    }
}
