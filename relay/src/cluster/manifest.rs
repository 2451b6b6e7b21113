//! The content of an agent's Job.
//!
//! It is a Job rather than a bare pod, because the cluster removes a Job some seconds after the agent has exited
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>), even if no relay is left to remove
//! it. Its pod meets the Pod Security Standard "restricted"
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>). The agent reads its keys from a Secret
//! ([`super::secret`]), since every user who may read a pod can read the variables in its `env`.

use super::job::{FORWARD_PORT, HOLD_SECONDS, IDENTITY_KEY, KEEP_FINISHED_SECONDS, PROXY_PORT, labels};
use super::own_mounts::OwnMounts;
use super::source::Container;
use super::workload::pod::WorkloadPart;
use k8s_openapi::api::batch::v1::Job;
use kinject_protocol::session::TransportChoice;
use serde_json::json;

/// The name of the pod's container.
pub(super) const AGENT_CONTAINER: &str = "agent";

/// The agent's user and group.
pub(super) const AGENT_USER: u32 = 65532;

/// The limits of CPU and memory in a namespace that requires limits: half a core, and room for the data of all
/// connections whose readers wait (the windows of `kinject_tunnel` bound it) besides the buffers of their sockets.
const LIMITS: (&str, &str) = ("500m", "512Mi");

/// The parameters of an agent's Job.
pub(crate) struct Manifest<'a> {
    /// The name of the Job and of its Secret.
    pub(crate) name: &'a str,
    /// The session.
    pub(crate) session: &'a str,
    /// What the pod's container runs.
    pub(super) container: Container,
    /// The part of a workload in the pod, if the session has a target.
    pub(super) workload: Option<WorkloadPart>,
    /// The transports that the relay may use, which decide where the agent listens.
    pub(crate) transport: TransportChoice,
    /// Whether the pod has resource limits.
    pub(crate) with_limits: bool,
    /// Whether the Job ends after a time unless the relay lifts that deadline. A carried agent's always does.
    pub(crate) with_deadline: bool,
}

impl Manifest<'_> {
    /// The Job as the relay sends it to the API server.
    pub(crate) fn job(&self) -> Result<Job, serde_json::Error> {
        let own = self.own_mounts();
        let mut labels = labels(self.session);
        labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
        let annotations = json!({ "linkerd.io/inject": "disabled" });
        let mut args = vec![
            "--identity".to_owned(),
            format!("{}/{IDENTITY_KEY}", own.identity.path),
            "--listen-forward".to_owned(),
            format!("127.0.0.1:{FORWARD_PORT}"),
        ];
        let mut ports = json!([]);
        let mut resources = json!({ "requests": { "cpu": "10m", "memory": "16Mi" } });
        if self.with_limits {
            let (cpu, memory) = LIMITS;
            resources["limits"] = json!({ "cpu": cpu, "memory": memory });
        }
        // the only listener on the pod's address
        if self.transport != TransportChoice::PortForward {
            args.extend(["--listen-proxy".to_owned(), format!("[::]:{PROXY_PORT}")]);
            ports = json!([{ "name": "tunnel", "containerPort": PROXY_PORT }]);
        }
        let mut job = json!({
            "metadata": { "name": self.name, "labels": labels, "annotations": annotations },
            "spec": {
                // one pod, without a retry
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
                            "runAsUser": AGENT_USER,
                            "runAsGroup": AGENT_USER,
                            // gives the agent access to the Secret's file
                            "fsGroup": AGENT_USER,
                            "seccompProfile": { "type": "RuntimeDefault" },
                        },
                        "containers": [{
                            "name": AGENT_CONTAINER,
                            "image": self.container.image(),
                            "imagePullPolicy": match self.container.is_always_pulled() {
                                true => "Always",
                                false => "IfNotPresent",
                            },
                            "args": args,
                            "ports": ports,
                            "volumeMounts": [{
                                "name": own.identity.volume,
                                "mountPath": own.identity.path,
                                "readOnly": true,
                            }],
                            "resources": resources,
                            "securityContext": {
                                "allowPrivilegeEscalation": false,
                                "readOnlyRootFilesystem": true,
                                "capabilities": { "drop": ["ALL"] },
                            },
                        }],
                        "volumes": [{
                            "name": own.identity.volume,
                            "secret": { "secretName": self.name, "defaultMode": 0o440 },
                        }],
                    },
                },
            },
        });
        if self.with_deadline {
            job["spec"]["activeDeadlineSeconds"] = json!(HOLD_SECONDS);
        }
        if let Container::Carried(pod) = &self.container {
            pod.apply_to(&mut job, &own);
        }
        let mut job = serde_json::from_value(job)?;
        if let Some(workload) = &self.workload {
            workload.apply_to(&mut job, &own);
        }
        Ok(job)
    }

    /// Where the agent's own files are mounted.
    fn own_mounts(&self) -> OwnMounts {
        let workload = self.workload.as_ref();
        workload.map(|part| part.pod.own_mounts()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    fn pod_spec(transport: TransportChoice) -> PodSpec {
        let manifest = Manifest {
            name: "kinject-agent-0",
            session: "0",
            container: Container::Image("kinject-agent:1".to_owned()),
            workload: None,
            transport,
            with_limits: false,
            with_deadline: false,
        };
        manifest.job().unwrap().spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn agent_pod_meets_the_restricted_standard_and_its_finished_job_has_a_ttl() {
        let manifest = Manifest {
            name: "kinject-agent-0",
            session: "0",
            container: Container::Image("kinject-agent:1".to_owned()),
            workload: None,
            transport: TransportChoice::Auto,
            with_limits: false,
            with_deadline: false,
        };
        let spec = manifest.job().unwrap().spec.unwrap();
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

    #[test]
    fn agent_keys_are_mounted_from_the_secret_and_absent_from_the_environment() {
        let pod = pod_spec(TransportChoice::Auto);
        let [container] = pod.containers.as_slice() else {
            panic!("{:?}", pod.containers);
        };
        assert_eq!((&container.env, &container.env_from), (&None, &None));
        let [volume] = &pod.volumes.unwrap()[..] else {
            panic!("one volume")
        };
        let secret = volume.secret.as_ref().unwrap();
        assert_eq!(secret.secret_name.as_deref(), Some("kinject-agent-0"));
        assert_eq!(secret.default_mode, Some(0o440));
        assert_eq!(pod.security_context.unwrap().fs_group, Some(65532));
        let mount = &container.volume_mounts.as_ref().unwrap()[0];
        assert_eq!(
            (mount.mount_path.as_str(), mount.read_only),
            ("/run/kinject", Some(true))
        );
        let args = container.args.as_ref().unwrap();
        assert_eq!(args[..2], ["--identity", "/run/kinject/identity"]);
    }

    #[test]
    fn agent_reached_only_by_port_forward_listens_on_loopback_only() {
        let container = pod_spec(TransportChoice::PortForward).containers.remove(0);
        assert_eq!(container.ports.unwrap_or_default(), []);
        let listening: Vec<_> = container
            .args
            .unwrap()
            .into_iter()
            .filter(|word| word.contains(':') || word.starts_with("--listen"))
            .collect();
        assert_eq!(listening, ["--listen-forward", "127.0.0.1:7801"]);
        let other = pod_spec(TransportChoice::Auto).containers.remove(0);
        assert!(other.args.unwrap().contains(&"--listen-proxy".to_owned()));
    }
}
