//! A cluster that does not take a carried agent: its own words, the way out, and nothing left behind.

use std::fs;

use kinject_tests::cluster::Rule;
use kinject_tests::running::run_within;
use kinject_tests::session::eventually;

use crate::installation::{Home, PAUSE_IMAGE, SECONDS, WITH_IMAGE, agent, install};

fn rule<'a>(groups: &'a [&'a str], resources: &'a [&'a str], verbs: &'a [&'a str]) -> Rule<'a> {
    Rule {
        groups,
        resources,
        verbs,
    }
}

#[test]
fn missing_right_is_named_with_the_way_out() {
    let Some(home) = Home::new() else { return };
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
        let user = home.cluster.restricted_user(home.name(), user, &rules).unwrap();
        let kubeconfig = user.path();
        home.ask(&[
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--host-image",
            PAUSE_IMAGE,
        ])
        .exited(125)
        .complains(missing)
        .complains("\n\nhint: a carried agent takes `create`, `get` and `patch` on configmaps")
        .complains("--agent-image names an image that holds the agent instead");
        home.is_clean();
    }
}

#[test]
fn quota_on_config_maps_is_told_with_the_way_out() {
    let Some(home) = Home::new() else { return };
    // the cluster's own
    home.apply_full_quota("count/configmaps", 1);
    home.ask(&["--host-image", PAUSE_IMAGE])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("--agent-image names an image that holds the agent instead");
    home.is_clean();
}

#[test]
fn image_that_no_node_can_get_is_named_with_the_way_out() {
    let Some(home) = Home::new() else { return };
    // a name that no resolver may know (RFC 6761)
    let image = "registry.invalid/image:1";
    home.ask(&["--host-image", image])
        .exited(125)
        .complains(&format!(
            "the node cannot get the image {image}, in which the agent runs"
        ))
        .complains("name an image that the nodes have with --host-image");
    home.is_clean();
}

#[test]
fn altered_part_in_the_cluster_is_refused_by_the_loader_in_the_pod() {
    let Some(home) = Home::new() else { return };
    let agent = agent().unwrap();
    let altered = tempfile::tempdir().unwrap();
    let folder = altered.path().join(agent.file_name().unwrap());
    fs::create_dir(&folder).unwrap();
    for name in ["loader", "agent.sha256"] {
        fs::copy(agent.join(name), folder.join(name)).unwrap();
    }
    let mut packed = fs::read(agent.join("agent.xz")).unwrap();
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    fs::write(folder.join("agent.xz"), packed).unwrap();
    let installation = install(altered.path());
    let kinject = installation.path().join("kinject");
    run_within(
        &mut home.command_by(&kinject, &["--host-image", PAUSE_IMAGE]),
        SECONDS,
    )
    .exited(125)
    .complains("kinject-loader: error: the ")
    .complains("it is not started");
    home.is_clean();
}

#[test]
fn admission_policy_without_config_map_volumes_is_told_in_its_own_words() {
    let Some(home) = Home::new() else { return };
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
    let _policy = Policy::apply(&home, &policy.replace("NAME", home.name()));
    let refused = || {
        let outcome = home.ask(&["--host-image", PAUSE_IMAGE]);
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
    home.is_clean();
}

/// A policy of the whole cluster, which goes with the value.
struct Policy<'a>(&'a Home);

impl<'a> Policy<'a> {
    fn apply(home: &'a Home, manifest: &str) -> Self {
        home.cluster.apply(manifest).unwrap();
        Self(home)
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
