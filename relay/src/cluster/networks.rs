//! The networks of a cluster's Services and pods, as far as the user may read them.
//!
//! ServiceCIDRs (<https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>, Kubernetes 1.33 and
//! later) and the nodes' `spec.podCIDRs` belong to no namespace, so many users may read neither. A session works
//! without them: DNS answers show it the addresses that matter most.

use super::access::{Access, innermost};
use crate::{log, words};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, ListParams};

/// Nodes per page, and the largest number of pages: each node has its own pods' networks only, and a large cluster has
/// thousands of nodes.
const PAGE_SIZE: u32 = 100;
const MAX_PAGES: usize = 10;

/// The shortest prefix that is used: one that covers a large part of all addresses distinguishes nothing.
const SHORTEST_PREFIX: u8 = 4;

/// All networks that the API shows to this user.
pub(crate) async fn read(access: &Access) -> Vec<IpNet> {
    let (services, pods) = tokio::join!(service_networks(access), pod_networks(access));
    let mut networks = Vec::new();
    for (whose, texts) in [("Services", services), ("pods", pods)] {
        match texts {
            Ok(texts) => networks.extend(parse(&texts)),
            Err(error) => log::info!("the networks of {whose} are not known: {}", innermost(&error)),
        }
    }
    // the networks of nodes are often adjacent
    let networks = IpNet::aggregate(&networks);
    log::debug!("networks of the cluster: {}", words::list(&networks));
    networks
}

async fn service_networks(access: &Access) -> Result<Vec<String>, kube::Error> {
    let ranges: Api<ServiceCIDR> = Api::all(access.client.clone());
    let list = ranges.list(&ListParams::default()).await?;
    Ok(list
        .items
        .into_iter()
        .filter_map(|range| range.spec)
        .flat_map(|spec| spec.cidrs.unwrap_or_default())
        .collect())
}

async fn pod_networks(access: &Access) -> Result<Vec<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(access.client.clone());
    let mut page = ListParams::default().limit(PAGE_SIZE);
    let mut networks = Vec::new();
    for _ in 0..MAX_PAGES {
        let list = nodes.list(&page).await?;
        let specs = list.items.into_iter().filter_map(|node| node.spec);
        networks.extend(
            specs
                .flat_map(|spec| spec.pod_cidrs.or_else(|| spec.pod_cidr.map(|one| vec![one])))
                .flatten(),
        );
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            Some(_) | None => break,
        }
    }
    Ok(networks)
}

/// Ignores texts that are no network, and networks with a prefix below [`SHORTEST_PREFIX`].
fn parse(texts: &[String]) -> impl Iterator<Item = IpNet> {
    texts
        .iter()
        .filter_map(|text| text.parse::<IpNet>().ok())
        .filter(|network| network.prefix_len() >= SHORTEST_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_and_overly_wide_networks_are_ignored() {
        let texts = [
            "10.96.0.0/16",
            "fd00:96::/112",
            "10.96.0.0",
            "0.0.0.0/0",
            "::/0",
            "none",
            "",
        ];
        let found: Vec<_> = parse(&texts.map(str::to_owned))
            .map(|network| network.to_string())
            .collect();
        assert_eq!(found, ["10.96.0.0/16", "fd00:96::/112"]);
    }
}
