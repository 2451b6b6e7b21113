//! A cluster that does not let the agent run: its own words and a hint, within seconds, and nothing left behind.

use crate::namespace::Home;

fn apply(home: &Home, manifest: &str) {
    home.cluster
        .apply(&manifest.replace("NAMESPACE", home.name()))
        .unwrap();
}

#[test]
fn a_quota_that_allows_no_job_is_said_at_once() {
    let Some(home) = Home::new() else { return };
    apply(
        &home,
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full, namespace: NAMESPACE}, \
         spec: {hard: {count/jobs.batch: 0}}}",
    );
    kinject_tests::session::eventually("the quota's controller", crate::namespace::SECONDS, || {
        let arguments = ["--namespace", home.name(), "get", "quota", "full"];
        home.cluster.kubectl_json(&arguments).unwrap()["status"]["hard"].is_object()
    });
    home.try_session(&[])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("\n\nhint: the namespace's quota is used up");
    home.is_clean();
}

#[test]
fn a_quota_that_allows_no_pod_is_said_in_the_controllers_words() {
    let Some(home) = Home::new() else { return };
    apply(
        &home,
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full, namespace: NAMESPACE}, spec: {hard: {pods: 0}}}",
    );
    kinject_tests::session::eventually("the quota's controller", crate::namespace::SECONDS, || {
        let arguments = ["--namespace", home.name(), "get", "quota", "full"];
        home.cluster.kubectl_json(&arguments).unwrap()["status"]["hard"].is_object()
    });
    home.try_session(&[])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("\n\nhint: ");
    home.is_clean();
}

#[test]
fn a_limit_that_the_agent_does_not_fit_is_said() {
    let Some(home) = Home::new() else { return };
    apply(
        &home,
        "{apiVersion: v1, kind: LimitRange, metadata: {name: large, namespace: NAMESPACE}, \
         spec: {limits: [{type: Container, min: {cpu: 100m}}]}}",
    );
    home.try_session(&[])
        .exited(125)
        .complains("minimum cpu usage per Container is 100m")
        .complains("\n\nhint: ");
    home.is_clean();
}

#[test]
fn an_admission_policy_speaks_for_itself() {
    let Some(home) = Home::new() else { return };
    let policy = format!("kinject-test-{}", home.name());
    apply(
        &home,
        &"{apiVersion: v1, kind: List, items: [\
         {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: POLICY}, spec: {\
         matchConstraints: {resourceRules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}]}, \
         validations: [{expression: 'false', message: no agents on a friday}]}}, \
         {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: POLICY}, spec: {\
         policyName: POLICY, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: \
         {kubernetes.io/metadata.name: NAMESPACE}}}}}]}"
            .replace("POLICY", &policy),
    );
    let _gone_at_the_end = Policy(&home, &policy);
    // a policy takes a moment until it is in force: a dry run shows when
    kinject_tests::session::eventually("the policy's force", crate::namespace::SECONDS, || {
        let dry = [
            "--namespace",
            home.name(),
            "create",
            "job",
            "probe",
            "--image=none",
            "--dry-run=server",
        ];
        home.cluster.kubectl(&dry).is_err()
    });
    home.try_session(&[])
        .exited(125)
        .complains("no agents on a friday")
        .complains("\n\nhint: ");
    home.is_clean();
}

struct Policy<'a>(&'a Home, &'a str);

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            if let Err(error) = self.0.cluster.kubectl(&["delete", kind, self.1]) {
                eprintln!("left behind: {error:#}");
            }
        }
    }
}

#[test]
fn an_image_that_is_not_there_is_said() {
    let Some(home) = Home::new() else { return };
    for image in [
        "kinject-agent:no-such-version",
        "registry.invalid/kinject-agent:1",
        "Not An Image",
    ] {
        let outcome = home.try_session(&["--agent-image", image]);
        outcome.exited(125).complains(image).complains("\n\nhint: ");
        home.is_clean();
    }
}

#[test]
fn an_image_that_is_no_agent_is_said() {
    let Some(home) = Home::new() else { return };
    let outcome = home.try_session(&["--agent-image", kinject_tests::cluster::SAMPLES_IMAGE]);
    outcome
        .exited(125)
        .complains("the agent ended with status")
        .complains(concat!(
            "kinject-samples:1 an image of kinject-agent ",
            env!("CARGO_PKG_VERSION"),
            "?"
        ))
        .complains("\n\nhint: ");
    home.is_clean();
}

#[test]
fn an_image_that_has_to_be_root_is_said() {
    let Some(home) = Home::new() else { return };
    let outcome = home.try_session(&["--agent-image", kinject_tests::cluster::SHELL_IMAGE]);
    outcome.exited(125).complains("\n\nhint: ");
    home.is_clean();
}

#[test]
fn a_namespace_that_does_not_exist_is_said() {
    let Some(home) = Home::new() else { return };
    let outcome = home.try_session(&["--namespace", "no-such-namespace"]);
    // the flag that comes last counts
    outcome
        .exited(125)
        .complains("namespaces \"no-such-namespace\" not found")
        .complains("\n\nhint: is the namespace right?");
    let outcome = home.try_session(&["--namespace", "Not_A_Namespace"]);
    outcome.exited(125).complains("\n\nhint: ");
}
