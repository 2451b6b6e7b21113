//! The networks of a cluster's Services and pods, as far as the user may read them.
//!
//! ServiceCIDRs (<https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>, Kubernetes 1.33 and
//! later) and the nodes' `spec.podCIDRs` belong to no namespace, so many users may read neither. A session works
//! without: what it learns from answers tells of the addresses that matter most.

use super::access::{Access, innermost};
use crate::{log, words};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, ListParams};

/// How many nodes are read at a time, and how often: each tells of its own pods alone, and a large cluster has thousands.
const NODES: u32 = 100;
const MOST_PAGES: usize = 10;

/// The shortest prefix that counts: a network of a quarter of all addresses says nothing.
const SHORTEST_PREFIX: u8 = 4;

/// All that the API tells.
pub(crate) async fn read(access: &Access) -> Vec<IpNet> {
    let (services, pods) = tokio::join!(of_services(access), of_pods(access));
    let mut networks = Vec::new();
    for (whose, texts) in [("Services", services), ("pods", pods)] {
        match texts {
            Ok(texts) => networks.extend(parse(&texts)),
            Err(error) => log::info!("the networks of {whose} are not known: {}", innermost(&error)),
        }
    }
    // nodes have neighbouring networks
    let networks = IpNet::aggregate(&networks);
    log::debug!("networks of the cluster: {}", words::list(&networks));
    networks
}

async fn of_services(access: &Access) -> Result<Vec<String>, kube::Error> {
    let ranges: Api<ServiceCIDR> = Api::all(access.client.clone());
    let list = ranges.list(&ListParams::default()).await?;
    Ok(list
        .items
        .into_iter()
        .filter_map(|range| range.spec)
        .flat_map(|spec| spec.cidrs.unwrap_or_default())
        .collect())
}

async fn of_pods(access: &Access) -> Result<Vec<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(access.client.clone());
    let mut page = ListParams::default().limit(NODES);
    let mut networks = Vec::new();
    for _ in 0..MOST_PAGES {
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

/// What is no network, or too large for one, is passed over.
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
