//! A cluster that does not take a carried agent: its own words, the way out, and nothing left behind.

use std::fs;

use kinject_tests::cluster::Rule;
use kinject_tests::session::eventually;

use crate::damage::Agents;
use crate::namespace::{PAUSE_IMAGE, SECONDS, TestNamespace, WITH_IMAGE};

fn rule<'a>(groups: &'a [&'a str], resources: &'a [&'a str], verbs: &'a [&'a str]) -> Rule<'a> {
    Rule {
        groups,
        resources,
        verbs,
    }
}

#[test]
fn missing_right_is_named_and_agent_image_hinted() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let maps = rule(&[""], &["configmaps"], &["create", "get", "patch"]);
    let only_get = rule(&[""], &["configmaps"], &["get"]);
    for (user, more, missing) in [
        ("no-maps", vec![], "cannot get resource \"configmaps\""),
        (
            "no-creation",
            vec![only_get],
            "cannot create resource \"configmaps\"",
        ),
        ("no-release", vec![maps], "cannot patch resource \"jobs\""),
    ] {
        let rules = [&WITH_IMAGE[..], &more].concat();
        let user = namespace
            .cluster
            .restricted_user(namespace.name(), user, &rules)
            .unwrap();
        let kubeconfig = user.path();
        namespace
            .ask(&[
                "--kubeconfig",
                kubeconfig.to_str().unwrap(),
                "--host-image",
                PAUSE_IMAGE,
            ])
            .exited(125)
            .complains(missing)
            .complains("\n\nhint: a carried agent takes `create`, `get` and `patch` on configmaps")
            .complains("--agent-image names an image that holds the agent instead");
        namespace.is_clean();
    }
}

#[test]
fn quota_met_at_the_first_or_second_config_map_is_named_and_nothing_stays() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let agents = Agents::of_this_machine(|agent| {
        // of two ConfigMaps, which are not complete before the quota is met
        let mut packed = fs::read(agent.join("agent.xz")).unwrap();
        packed.resize(3 << 19, 0);
        fs::write(agent.join("agent.xz"), packed).unwrap();
    });
    // the cluster's own ConfigMap counts, too
    for hard in [1, 2] {
        namespace.apply_quota("count/configmaps", hard, 1);
        let outcome = agents.ask(&namespace, &["--host-image", PAUSE_IMAGE]);
        outcome
            .exited(125)
            .complains("exceeded quota: full")
            .complains("--agent-image names an image that holds the agent instead");
        namespace.is_clean();
    }
}

#[test]
fn cluster_without_nodes_of_the_agents_architecture_is_named() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let agents = Agents::of_another_architecture();
    let outcome = agents.ask(&namespace, &["--host-image", PAUSE_IMAGE]);
    outcome
        .exited(125)
        .complains("kinject: error: no node takes the agent's pod: 0/1 nodes are available")
        .complains(&format!(
            "\n\nhint: this kinject carries agents for {}: ",
            agents.architecture
        ))
        .complains("--agent-image");
    namespace.is_clean();
}

#[test]
fn host_image_that_no_node_can_get_is_named() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // a name that no resolver may know (RFC 6761)
    let image = "registry.invalid/image:1";
    namespace
        .ask(&["--host-image", image])
        .exited(125)
        .complains(&format!(
            "the node cannot get the image {image}, in which the agent runs"
        ))
        .complains("name an image that the nodes have with --host-image");
    namespace.is_clean();
}

#[test]
fn message_of_a_policy_against_config_map_volumes_is_printed() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  validations:
    - expression: "!object.spec.volumes.exists(volume, has(volume.projected))"
      message: no files from ConfigMaps here
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
"#;
    let _policy = Policy::apply(&namespace, &policy.replace("NAME", namespace.name()));
    let refused = || {
        let outcome = namespace.ask(&["--host-image", PAUSE_IMAGE]);
        (outcome.code() == 125).then_some(outcome)
    };
    let mut outcome = None;
    // the API server takes notice of a policy a moment later
    eventually("the policy's force", 2 * SECONDS, || {
        outcome = refused();
        outcome.is_some()
    });
    outcome
        .unwrap()
        .complains("no files from ConfigMaps here")
        .complains("--agent-image names an image that holds the agent instead");
    namespace.is_clean();
}

/// A policy of the whole cluster, which goes with the value.
struct Policy<'a>(&'a TestNamespace);

impl<'a> Policy<'a> {
    fn apply(namespace: &'a TestNamespace, manifest: &str) -> Self {
        namespace.cluster.apply(manifest).unwrap();
        Self(namespace)
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        let name = self.0.name();
        let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings";
        if let Err(error) = self.0.cluster.kubectl(&["delete", kinds, name]) {
            eprintln!("policy {name} is left behind: {error:#}");
        }
    }
}
