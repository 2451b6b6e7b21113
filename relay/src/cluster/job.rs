//! The Job that runs the agent.
//!
//! A Job rather than a bare pod, because its end is the cluster's business: when the agent exits, the Job is complete
//! and removed by itself (<https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>), also when
//! nobody is there any more to remove it. Its pod fits the Pod Security Standard "restricted"
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).

use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

/// Where the agent listens for the API server's pod proxy, on the pod's address.
pub(crate) const PROXY_PORT: u16 = 7800;

/// Where the agent listens for port-forward, on the pod's loopback.
pub(crate) const FORWARD_PORT: u16 = 7801;

/// Seconds that a finished Job stays, long enough for a look at its log.
const KEEP_FINISHED_SECONDS: u32 = 10;

/// The name of a session's Job.
pub(crate) fn name(session: &str) -> String {
    format!("kinject-agent-{session}")
}

/// The Job for one agent. `identity` is the agent's half of the session's keys: whoever reads it could pose as the
/// agent, but cannot use one.
pub(crate) fn manifest(
    name: &str,
    session: &str,
    image: &str,
    identity: &str,
) -> Result<Job, serde_json::Error> {
    let labels = json!({
        "app.kubernetes.io/name": "kinject-agent",
        "app.kubernetes.io/instance": session,
        "app.kubernetes.io/managed-by": "kinject",
        "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
        "sidecar.istio.io/inject": "false",
    });
    let annotations = json!({ "linkerd.io/inject": "disabled" });
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels, "annotations": annotations },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEEP_FINISHED_SECONDS,
            "template": {
                "metadata": { "labels": labels, "annotations": annotations },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": "agent",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            "--listen-proxy", format!("[::]:{PROXY_PORT}"),
                            "--listen-forward", format!("127.0.0.1:{FORWARD_PORT}"),
                        ],
                        "env": [{ "name": "KINJECT_AGENT_IDENTITY", "value": identity }],
                        "ports": [{ "name": "tunnel", "containerPort": PROXY_PORT }],
                        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_fits_the_restricted_standard_and_the_job_cleans_up_by_itself() {
        let job = manifest("kinject-agent-0", "0", "kinject-agent:1", "{}").unwrap();
        let spec = job.spec.unwrap();
        assert_eq!(spec.backoff_limit, Some(0));
        assert!(spec.ttl_seconds_after_finished.is_some());
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let container = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(container.allow_privilege_escalation, Some(false));
        assert_eq!(container.read_only_root_filesystem, Some(true));
        assert_eq!(container.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    }
}
