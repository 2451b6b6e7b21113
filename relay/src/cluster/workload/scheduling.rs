//! On which nodes the agent's pod may run in the place of a workload: on those where its pods may, and where a volume
//! is mounted that only one node can mount, on that node.
//!
//! It prefers those on which the workload's pods run, and requires none of them: they have the image, and reach the
//! volumes.
//!
//! Affinity to other pods is not taken: it may be meant for the workload's own pods, whose labels the agent's has not.

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};

/// The weight of a preferred node: the highest one.
const NODE_WEIGHT: i32 = 100;

/// The nodes that an agent's pod is better on.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Nodes {
    /// The one that alone can mount the pod's volumes.
    pub(super) required: Option<String>,
    /// Those on which pods of the workload run.
    pub(super) preferred: Vec<String>,
}

/// Puts the workload's node selector, tolerations and required node affinity into the agent's pod, and these nodes.
pub(super) fn apply_to(pod: &mut PodSpec, workload: &PodSpec, nodes: &Nodes) {
    let selector = pod.node_selector.get_or_insert_default();
    for (label, value) in workload.node_selector.iter().flatten() {
        // the agent's own operating system and architecture stay: it was built for them
        selector.entry(label.clone()).or_insert_with(|| value.clone());
    }
    pod.tolerations.clone_from(&workload.tolerations);
    let affinity = workload.affinity.as_ref();
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let mut terms = affinity
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .clone()
        })
        .map(|selector| selector.node_selector_terms)
        .unwrap_or_default();
    if let Some(node) = &nodes.required {
        // a node has to fit one of the terms
        if terms.is_empty() {
            terms.push(NodeSelectorTerm::default());
        }
        for term in &mut terms {
            term.match_fields.get_or_insert_default().push(is_node(node));
        }
    }
    if !terms.is_empty() {
        let affinity = pod.affinity.get_or_insert_with(Affinity::default);
        let affinity = affinity.node_affinity.get_or_insert_default();
        affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
            node_selector_terms: terms,
        });
    }
    if !nodes.preferred.is_empty() {
        let affinity = pod.affinity.get_or_insert_default();
        let affinity = affinity.node_affinity.get_or_insert_default();
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .get_or_insert_default();
        preferred.extend(nodes.preferred.iter().map(|node| PreferredSchedulingTerm {
            preference: NodeSelectorTerm {
                match_fields: Some(vec![is_node(node)]),
                ..NodeSelectorTerm::default()
            },
            weight: NODE_WEIGHT,
        }));
    }
}

fn is_node(name: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![name.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

    fn applied(agent: Value, workload: Value, node: Option<&str>) -> Value {
        let nodes = Nodes {
            required: node.map(str::to_owned),
            preferred: Vec::new(),
        };
        applied_with(agent, workload, &nodes)
    }

    fn applied_with(agent: Value, workload: Value, nodes: &Nodes) -> Value {
        let spec = |mut spec: Value| -> PodSpec {
            spec["containers"] = json!([]);
            serde_json::from_value(spec).unwrap()
        };
        let mut pod = spec(agent);
        apply_to(&mut pod, &spec(workload), nodes);
        serde_json::to_value(pod).unwrap()
    }

    #[test]
    fn node_selector_is_joined_with_the_agents_own_which_wins() {
        let pod = applied(
            json!({ "nodeSelector": { "kubernetes.io/arch": "amd64" } }),
            json!({ "nodeSelector": { "kubernetes.io/arch": "arm64", "pool": "big" },
                "tolerations": [{ "key": "gpu", "operator": "Exists" }] }),
            None,
        );
        assert_eq!(
            pod["nodeSelector"],
            json!({ "kubernetes.io/arch": "amd64", "pool": "big" })
        );
        assert_eq!(pod["tolerations"][0]["key"], "gpu");
        assert_eq!(pod["affinity"], Value::Null);
    }

    #[test]
    fn required_node_affinity_is_taken_beside_the_agents_preference_and_no_other() {
        let preferred = json!([{ "weight": 100, "preference": { "matchFields": [] } }]);
        let required = json!({ "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] },
        ] });
        let pod = applied(
            json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred } } }),
            json!({ "affinity": {
                "nodeAffinity": { REQUIRED: required },
                "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone" }] },
                "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone" }] },
            } }),
            None,
        );
        assert_eq!(
            pod["affinity"],
            json!({ "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
                REQUIRED: required,
            } })
        );
    }

    #[test]
    fn nodes_of_the_workloads_pods_are_preferred_and_none_is_required() {
        let nodes = Nodes {
            required: None,
            preferred: vec!["one".to_owned(), "two".to_owned()],
        };
        let pod = applied_with(json!({}), json!({}), &nodes);
        let term = |node: &str| {
            let field = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
            json!({ "weight": 100, "preference": { "matchFields": [field] } })
        };
        assert_eq!(
            pod["affinity"],
            json!({ "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [term("one"), term("two")],
            } })
        );
    }

    #[test]
    fn node_of_a_volume_is_required_in_each_term() {
        let field = json!({ "key": "metadata.name", "operator": "In", "values": ["one"] });
        let terms = |pod: Value| pod["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].clone();
        assert_eq!(
            terms(applied(json!({}), json!({}), Some("one"))),
            json!([{ "matchFields": [field] }])
        );
        let zone = json!([{ "key": "zone", "operator": "Exists" }]);
        let required =
            json!({ "nodeSelectorTerms": [{ "matchExpressions": zone }, { "matchExpressions": zone }] });
        let workload = json!({ "affinity": { "nodeAffinity": { REQUIRED: required } } });
        let both = json!({ "matchExpressions": zone, "matchFields": [field] });
        assert_eq!(
            terms(applied(json!({}), workload, Some("one"))),
            json!([both, both])
        );
    }
}
