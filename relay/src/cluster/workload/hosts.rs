//! The hosts file of the agent's pod, as the kubelet writes it: the pod's own host name, then its `hostAliases`.

use crate::names::pod_hosts::HostsLine;
use k8s_openapi::api::core::v1::PodSpec;
use std::net::IpAddr;

/// The longest label of DNS, to which the kubelet cuts a pod's name.
const MAX_HOST_NAME: usize = 63;

/// The longest name that the kernel takes (sethostname(2)).
const MAX_KERNEL_NAME: usize = 64;

/// The host name of a pod: its own, otherwise its name.
pub(super) fn host_name(spec: &PodSpec, pod: &str) -> String {
    let own = spec.hostname_override.as_ref().or(spec.hostname.as_ref());
    let name = own.map_or(pod, String::as_str);
    match name.char_indices().nth(MAX_HOST_NAME) {
        None => name.to_owned(),
        Some((end, _)) => name[..end].trim_end_matches(['-', '.']).to_owned(),
    }
}

/// The full name, which a pod with a subdomain has. The cluster's domain stands in the pod's search list.
pub(super) fn full_name(spec: &PodSpec, pod: &str, namespace: &str, search: &[String]) -> Option<String> {
    let subdomain = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty())?;
    let services = format!("{namespace}.svc.");
    let domain = search.iter().find(|domain| domain.starts_with(&services))?;
    let domain = domain.trim_end_matches('.');
    Some(format!("{}.{subdomain}.{domain}", host_name(spec, pod)))
}

/// The name that the kernel gives (gethostname(2)): the full one with the template's `setHostnameAsFQDN`.
pub(super) fn kernel_name(
    spec: &PodSpec,
    pod: &str,
    namespace: &str,
    search: &[String],
    is_full: bool,
) -> String {
    let full = is_full.then(|| full_name(spec, pod, namespace, search)).flatten();
    let possible = full.filter(|name| name.len() <= MAX_KERNEL_NAME);
    possible.unwrap_or_else(|| host_name(spec, pod))
}

/// The lines of the file.
pub(super) fn lines(
    spec: &PodSpec,
    pod: &str,
    namespace: &str,
    search: &[String],
    addresses: &[IpAddr],
) -> Vec<HostsLine> {
    let full = full_name(spec, pod, namespace, search);
    let names: Vec<_> = full.into_iter().chain([host_name(spec, pod)]).collect();
    let own = addresses.iter().map(|address| HostsLine {
        address: *address,
        names: names.clone(),
    });
    let aliases = spec.host_aliases.iter().flatten().filter_map(|alias| {
        Some(HostsLine {
            address: alias.ip.parse().ok()?,
            names: alias.hostnames.clone().unwrap_or_default(),
        })
    });
    own.chain(aliases).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(mut spec: Value) -> PodSpec {
        spec["containers"] = json!([]);
        serde_json::from_value(spec).unwrap()
    }

    fn search() -> Vec<String> {
        ["default.svc.cluster.test", "svc.cluster.test", "cluster.test"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn host_name_is_the_pods_name_unless_its_spec_has_one() {
        assert_eq!(host_name(&spec(json!({})), "agent-x"), "agent-x");
        assert_eq!(host_name(&spec(json!({ "hostname": "db-0" })), "agent-x"), "db-0");
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(10));
        assert_eq!(host_name(&spec(json!({})), &long), "a".repeat(62));
    }

    #[test]
    fn pod_with_a_subdomain_has_a_full_name_in_the_clusters_domain() {
        let with = spec(json!({ "hostname": "db-0", "subdomain": "db" }));
        let full = |spec: &PodSpec, search: &[String]| full_name(spec, "agent-x", "default", search);
        assert_eq!(
            full(&with, &search()).as_deref(),
            Some("db-0.db.default.svc.cluster.test")
        );
        assert_eq!(full(&with, &[]), None);
        assert_eq!(kernel_name(&with, "agent-x", "default", &search(), false), "db-0");
        let name = kernel_name(&with, "agent-x", "default", &search(), true);
        assert_eq!(name, "db-0.db.default.svc.cluster.test");
        assert_eq!(full(&spec(json!({ "hostname": "db-0" })), &search()), None);
    }

    #[test]
    fn full_name_that_the_kernel_does_not_take_gives_the_short_one() {
        let named = |subdomain: &str| {
            let spec = spec(json!({ "hostname": "db-0", "subdomain": subdomain }));
            kernel_name(&spec, "agent-x", "default", &search(), true)
        };
        let longest = "d".repeat(64 - "db-0..default.svc.cluster.test".len());
        assert_eq!(named(&longest).len(), 64);
        assert_eq!(named(&format!("{longest}d")), "db-0");
    }

    #[test]
    fn hosts_file_has_the_pods_names_at_each_address_and_its_aliases() {
        let spec = spec(json!({ "subdomain": "db", "hostAliases": [
            { "ip": "10.9.9.9", "hostnames": ["legacy", "old"] }, { "ip": "no address", "hostnames": ["x"] },
        ] }));
        let addresses = ["10.244.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let lines = lines(&spec, "agent-x", "default", &search(), &addresses);
        let shown: Vec<_> = lines
            .iter()
            .map(|line| format!("{} {}", line.address, line.names.join(" ")))
            .collect();
        assert_eq!(
            shown,
            [
                "10.244.0.7 agent-x.db.default.svc.cluster.test agent-x",
                "fd00::7 agent-x.db.default.svc.cluster.test agent-x",
                "10.9.9.9 legacy old",
            ]
        );
    }
}
