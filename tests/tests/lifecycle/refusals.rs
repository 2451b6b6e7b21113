//! A cluster that does not let the agent run: kinject reports the cluster's own message and a hint within seconds, and
//! leaves nothing behind.

use crate::namespace::TestNamespace;

fn apply(namespace: &TestNamespace, manifest: &str) {
    namespace
        .cluster
        .apply(&manifest.replace("NAMESPACE", namespace.name()))
        .unwrap();
}

#[test]
fn quota_without_room_for_a_job_is_reported_at_once() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    apply(
        &namespace,
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full, namespace: NAMESPACE}, \
         spec: {hard: {count/jobs.batch: 0}}}",
    );
    kinject_tests::session::eventually("the quota's controller", crate::namespace::SECONDS, || {
        let arguments = ["--namespace", namespace.name(), "get", "quota", "full"];
        namespace.cluster.kubectl_json(&arguments).unwrap()["status"]["hard"].is_object()
    });
    namespace
        .try_session(&[])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("\n\nhint: the namespace's quota is used up");
    namespace.is_clean();
}

#[test]
fn quota_without_room_for_a_pod_is_reported_with_the_controllers_message() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    apply(
        &namespace,
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full, namespace: NAMESPACE}, spec: {hard: {pods: 0}}}",
    );
    kinject_tests::session::eventually("the quota's controller", crate::namespace::SECONDS, || {
        let arguments = ["--namespace", namespace.name(), "get", "quota", "full"];
        namespace.cluster.kubectl_json(&arguments).unwrap()["status"]["hard"].is_object()
    });
    namespace
        .try_session(&[])
        .exited(125)
        .complains("exceeded quota: full")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn limit_range_that_excludes_the_agent_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    apply(
        &namespace,
        "{apiVersion: v1, kind: LimitRange, metadata: {name: large, namespace: NAMESPACE}, \
         spec: {limits: [{type: Container, min: {cpu: 100m}}]}}",
    );
    namespace
        .try_session(&[])
        .exited(125)
        .complains("minimum cpu usage per Container is 100m")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

/// Applies a quota or limit range with which Kubernetes refuses pods without limits.
fn demand_limits(namespace: &TestNamespace, kind: &str, spec: &str) {
    apply(
        namespace,
        &format!(
            "{{apiVersion: v1, kind: {kind}, metadata: {{name: demand, namespace: NAMESPACE}}, spec: {spec}}}"
        ),
    );
    // a pod without limits is refused once it is in force
    kinject_tests::session::eventually(
        "the quota or limit range in force",
        crate::namespace::SECONDS,
        || {
            let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "a", "image": "a", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            }});
            let dry = [
                "--namespace",
                namespace.name(),
                "create",
                "--dry-run=server",
                "--filename",
                "-",
            ];
            let admin = namespace.cluster.kubeconfig();
            let created = namespace.cluster.with_manifest(&admin, &dry, &pod.to_string());
            created.is_err_and(|refusal| refusal.to_string().contains("imit"))
        },
    );
}

#[test]
fn agent_has_limits_where_a_quota_or_limit_range_requires_them() {
    for (kind, spec) in [
        ("ResourceQuota", "{hard: {limits.cpu: 1, limits.memory: 1Gi}}"),
        (
            "LimitRange",
            "{limits: [{type: Pod, max: {cpu: 1, memory: 1Gi}}]}",
        ),
    ] {
        let Some(namespace) = TestNamespace::new() else {
            return;
        };
        demand_limits(&namespace, kind, spec);
        let session = namespace.session(&[]);
        let jobs = namespace.made("jobs");
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        let resources = &jobs[0]["spec"]["template"]["spec"]["containers"][0]["resources"];
        assert_eq!(
            resources["limits"],
            serde_json::json!({"cpu": "500m", "memory": "512Mi"}),
            "{kind}"
        );
        assert_eq!(session.end(), 0);
        namespace.becomes_clean();
        namespace
            .try_session(&["-v"])
            .succeeded()
            .complains("info: making the agent again, with limits: pod creation denied: ");
        namespace.is_clean();
    }
}

/// The Job without limits stays, and the message names both Jobs.
#[test]
fn agent_has_required_limits_though_its_user_cannot_delete_jobs() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    demand_limits(
        &namespace,
        "ResourceQuota",
        "{hard: {limits.cpu: 1, limits.memory: 1Gi}}",
    );
    let user = namespace.user_who_removes_nothing();
    let outcome = namespace.try_session(&["-v", "--kubeconfig", user.path().to_str().unwrap()]);
    let mut jobs = namespace.made("jobs");
    let name = |job: &serde_json::Value| job["metadata"]["name"].as_str().unwrap().to_owned();
    // the name of the second one begins with that of the first
    jobs.sort_by_key(name);
    let [without, with] = jobs.as_slice() else {
        panic!("{jobs:?}")
    };
    let agent = |job: &serde_json::Value| job["spec"]["template"]["spec"]["containers"][0].clone();
    assert!(agent(without)["resources"]["limits"].is_null(), "{without}");
    assert!(agent(with)["resources"]["limits"].is_object(), "{with}");
    let (without, with) = (name(without), name(with));
    outcome
        .succeeded()
        .complains(&format!("going on without removing the Job {without}: "))
        .complains(&format!(
            "the agent's Jobs {without}, {with} could not be removed: "
        ))
        .complains(&format!(
            "`kubectl -n {} delete job {without} {with}` removes them",
            namespace.name()
        ));
    let delete = ["--namespace", namespace.name(), "delete", "job", &without, &with];
    namespace.cluster.kubectl(&delete).unwrap();
    namespace.is_clean();
}

#[test]
fn quota_without_room_for_the_agents_limits_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    demand_limits(
        &namespace,
        "ResourceQuota",
        "{hard: {limits.cpu: 100m, limits.memory: 100Mi}}",
    );
    namespace
        .try_session(&[])
        .exited(125)
        .complains("exceeded quota: demand")
        .complains("limits.cpu=500m")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn admission_policy_denial_is_reported_with_its_message() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let policy = format!("kinject-test-{}", namespace.name());
    apply(
        &namespace,
        &"{apiVersion: v1, kind: List, items: [\
         {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: POLICY}, spec: {\
         matchConstraints: {resourceRules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}]}, \
         validations: [{expression: 'false', message: no agents on a friday}]}}, \
         {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: POLICY}, spec: {\
         policyName: POLICY, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: \
         {kubernetes.io/metadata.name: NAMESPACE}}}}}]}"
            .replace("POLICY", &policy),
    );
    let _gone_at_the_end = Policy(&namespace, &policy);
    // a policy takes a moment to come into force: poll with a dry run
    kinject_tests::session::eventually("the policy's force", crate::namespace::SECONDS, || {
        let dry = [
            "--namespace",
            namespace.name(),
            "create",
            "job",
            "probe",
            "--image=none",
            "--dry-run=server",
        ];
        namespace.cluster.kubectl(&dry).is_err()
    });
    namespace
        .try_session(&[])
        .exited(125)
        .complains("no agents on a friday")
        .complains("\n\nhint: ");
    namespace.is_clean();
}

struct Policy<'a>(&'a TestNamespace, &'a str);

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
fn missing_image_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for image in [
        "kinject-agent:no-such-version",
        "registry.invalid/kinject-agent:1",
        "Not An Image",
    ] {
        let outcome = namespace.try_session(&["--agent-image", image]);
        outcome.exited(125).complains(image).complains("\n\nhint: ");
        namespace.is_clean();
    }
}

#[test]
fn image_without_an_agent_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = namespace.try_session(&["--agent-image", kinject_tests::cluster::SAMPLES_IMAGE]);
    outcome
        .exited(125)
        .complains("the agent ended with status")
        .complains(concat!(
            "kinject-samples:1 is an image of kinject-agent ",
            env!("CARGO_PKG_VERSION"),
            ": "
        ))
        .complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn image_that_requires_root_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = namespace.try_session(&["--agent-image", kinject_tests::cluster::SHELL_IMAGE]);
    outcome.exited(125).complains("\n\nhint: ");
    namespace.is_clean();
}

#[test]
fn missing_namespace_is_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let outcome = namespace.try_session(&["--namespace", "no-such-namespace"]);
    // the last flag wins
    outcome
        .exited(125)
        .complains("namespaces \"no-such-namespace\" not found")
        .complains("\n\nhint: check the namespace: ");
    let outcome = namespace.try_session(&["--namespace", "Not_A_Namespace"]);
    outcome.exited(125).complains("\n\nhint: ");
}
