//! Names that can only be the cluster's, by Kubernetes' search list: names of one label, names of Services and pods,
//! and names under its domains.

use kinject_dns::resolv_conf::ResolvConf;

/// Why a name can only be the cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClusterOnly {
    /// It is the full name of a Service or a pod.
    Service,
    /// It has one label.
    ShortName,
    /// It is under a domain of the search list, or is `SERVICE.NAMESPACE` of the pod's own namespace.
    SearchedDomain,
}

/// Why a name can only be the cluster's, if so. Local name servers are not asked for it: in a pod it could be that of a
/// Service, or it does not exist outside the cluster, and a program would take a local answer for the cluster's.
///
/// Kubernetes puts `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN` first into every pod's search list
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>); the node's own domains follow.
pub(super) fn cluster_only(conf: &ResolvConf, name: &str) -> Option<ClusterOnly> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if is_under_cluster_domain(conf, &name) || name.ends_with(".svc") {
        return Some(ClusterOnly::Service);
    }
    let Some((service, namespace)) = name.split_once('.') else {
        return Some(ClusterOnly::ShortName);
    };
    let is_of_own_namespace = !service.is_empty() && pods_namespace(conf) == Some(namespace);
    let mut domains = conf.search.iter();
    (is_of_own_namespace || domains.any(|domain| is_under(&name, domain)))
        .then_some(ClusterOnly::SearchedDomain)
}

/// Whether a name is under the cluster's domain, as those of Services and pods are.
pub(super) fn is_under_cluster_domain(conf: &ResolvConf, name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    cluster_domain(conf).is_some_and(|domain| is_under(&name, domain))
}

/// The cluster's domain.
pub(super) fn cluster_domain(conf: &ResolvConf) -> Option<&str> {
    let mut domains = conf.search.iter();
    domains.find_map(|domain| domain.strip_prefix("svc."))
}

/// The domains of the search list for names of Services: of one namespace, and of all.
pub(super) fn service_domains(conf: &ResolvConf) -> impl Iterator<Item = &str> {
    let is_of_services = |domain: &&String| {
        domain.starts_with("svc.")
            || domain
                .split_once('.')
                .is_some_and(|(_, rest)| rest.starts_with("svc."))
    };
    conf.search.iter().filter(is_of_services).map(String::as_str)
}

/// The pod's namespace.
fn pods_namespace(conf: &ResolvConf) -> Option<&str> {
    let (namespace, rest) = conf.search.first()?.split_once('.')?;
    rest.starts_with("svc.").then_some(namespace)
}

/// Whether a name is under a domain or is the domain itself; both in lower case, without a final dot.
fn is_under(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    !domain.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_names_under_search_domains_are_cluster_only() {
        use ClusterOnly::{SearchedDomain, Service, ShortName};
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
            assert_eq!(cluster_only(&conf, name), expected, "{name}");
        }
        let domains: Vec<_> = service_domains(&conf).collect();
        assert_eq!(domains, ["default.svc.cluster.local", "svc.cluster.local"]);
        // a pod without Kubernetes' search list
        assert_eq!(cluster_only(&ResolvConf::parse("search default\n"), "a.b"), None);
    }
}
