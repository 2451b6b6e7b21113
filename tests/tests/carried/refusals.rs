//! A cluster that does not take a carried agent: its own words, the way out, and nothing left behind.

use kinject_tests::cluster::Rule;
use kinject_tests::session::eventually;

use crate::installation::{Home, PAUSE_IMAGE, SECONDS};

fn rule<'a>(groups: &'a [&'a str], resources: &'a [&'a str], verbs: &'a [&'a str]) -> Rule<'a> {
    Rule {
        groups,
        resources,
        verbs,
    }
}

/// What a session needs whose agent has an image.
const WITH_IMAGE: [Rule<'static>; 4] = [
    Rule {
        groups: &["batch"],
        resources: &["jobs"],
        verbs: &["create", "delete"],
    },
    Rule {
        groups: &[""],
        resources: &["secrets"],
        verbs: &["create"],
    },
    Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        groups: &[""],
        resources: &["pods/proxy"],
        verbs: &["get"],
    },
];

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
    let quota = format!(
        "{{apiVersion: v1, kind: ResourceQuota, metadata: {{name: full, namespace: {}}}, spec: {{hard: {{count/configmaps: 1}}}}}}",
        home.name()
    );
    home.cluster.apply(&quota).unwrap();
    eventually("the quota's controller", SECONDS, || {
        let get = ["--namespace", home.name(), "get", "quota", "full"];
        home.cluster.kubectl_json(&get).unwrap()["status"]["used"]["count/configmaps"] == "1"
    });
    home.ask(&["--host-image", PAUSE_IMAGE])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("--agent-image names an image that holds the agent instead");
    home.is_clean();
}

#[test]
fn image_that_no_node_can_get_is_named_with_the_way_out() {
    let Some(home) = Home::new() else { return };
    // nothing runs in the namespace, and this cluster can pull nothing
    for (flags, image) in [
        (&["--host-image", "no-such-image:1"][..], "no-such-image:1"),
        (&[], "registry.k8s.io/pause:3.10"),
    ] {
        home.ask(flags)
            .exited(125)
            .complains(&format!(
                "the node cannot get the image {image}, in which the agent runs"
            ))
            .complains("name an image that the nodes have with --host-image");
        home.is_clean();
    }
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
