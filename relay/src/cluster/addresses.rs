//! Which addresses are the agent's pod's own.
//!
//! An agent reports the addresses of its interfaces. A connect to one of the pod's own addresses stays on this machine,
//! so an agent that reports another host's address would redirect programs to a listener here. Therefore an address
//! counts as the pod's only if the pod's status in the API has it, too.

use crate::{log, words};
use k8s_openapi::api::core::v1::PodStatus;
use std::net::IpAddr;

/// The addresses that the cluster assigned to a pod: one of each family.
pub(super) fn of_pod(status: &PodStatus) -> Vec<IpAddr> {
    let all: Vec<&String> = match &status.pod_ips {
        Some(all) => all.iter().map(|pod_ip| &pod_ip.ip).collect(),
        None => status.pod_ip.iter().collect(),
    };
    all.into_iter().filter_map(|text| text.parse().ok()).collect()
}

/// Those of the addresses reported by the agent that the cluster assigned to its pod.
pub(super) fn confirmed(reported: impl Iterator<Item = IpAddr>, assigned: &[IpAddr]) -> Vec<IpAddr> {
    let (own, others): (Vec<_>, Vec<_>) = reported
        .map(|address| address.to_canonical())
        .partition(|address| assigned.contains(address));
    let others: Vec<_> = others
        .into_iter()
        .filter(|address| !is_loopback_or_link_local(*address))
        .collect();
    if !others.is_empty() {
        log::info!(
            "the agent has addresses that the cluster did not give to its pod, which are reached through it: {}",
            words::list(&others)
        );
    }
    own
}

/// Whether this is an address that every host has and that no pod's status lists.
fn is_loopback_or_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assigned(status: serde_json::Value) -> Vec<IpAddr> {
        of_pod(&serde_json::from_value(status).unwrap())
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_reported_by_agent_but_not_in_pod_status_is_not_the_pods() {
        let assigned = assigned(json!({
            "podIP": "10.244.0.5", "podIPs": [{ "ip": "10.244.0.5" }, { "ip": "fd00:244::5" }],
        }));
        // loopback, a Service's, one of this machine's network, wildcards, another pod's, a public one, the pod's own
        let reported = [
            "127.0.0.1",
            "10.96.0.1",
            "192.168.1.20",
            "0.0.0.0",
            "::",
            "::ffff:10.244.0.6",
            "8.8.8.8",
            "::ffff:10.244.0.5",
            "fd00:244::5",
            "fe80::5",
        ];
        assert_eq!(
            confirmed(addresses(&reported).into_iter(), &assigned),
            addresses(&["10.244.0.5", "fd00:244::5"])
        );
    }

    #[test]
    fn pod_address_that_the_agent_does_not_report_is_not_added() {
        let assigned = assigned(json!({ "podIP": "10.244.0.5" }));
        let reported = addresses(&["127.0.0.1"]);
        assert_eq!(confirmed(reported.into_iter(), &assigned), Vec::<IpAddr>::new());
    }

    #[test]
    fn pod_addresses_are_read_from_either_status_field() {
        for (status, expected) in [
            (json!({ "podIP": "10.244.0.5" }), addresses(&["10.244.0.5"])),
            (
                json!({ "podIP": "10.244.0.5", "podIPs": [{ "ip": "10.244.0.5" }] }),
                addresses(&["10.244.0.5"]),
            ),
            (json!({ "podIP": "no address" }), Vec::new()),
            (json!({}), Vec::new()),
        ] {
            assert_eq!(assigned(status.clone()), expected, "{status}");
        }
    }
}
