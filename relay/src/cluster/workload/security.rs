//! As whom the agent runs in the place of a workload: as the workload does, so that it may read the same files, and
//! with less than the workload may do otherwise.

use crate::cluster::manifest;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

/// The capability by which root reads files of others. Containers have it by default.
const READ_FILES_OF_OTHERS: &str = "DAC_OVERRIDE";

/// All capabilities.
const ALL: &str = "ALL";

/// The contexts of a pod and its container.
pub(super) struct Contexts {
    pub(super) pod: PodSecurityContext,
    pub(super) container: SecurityContext,
}

impl Contexts {
    /// The workload's user and groups.
    pub(super) fn of_workload(spec: &PodSpec, container: &Container) -> Self {
        let pod = spec.security_context.clone().unwrap_or_default();
        let own = container.security_context.clone().unwrap_or_default();
        let user = own.run_as_user.or(pod.run_as_user);
        let is_never_root =
            own.run_as_non_root.or(pod.run_as_non_root) == Some(true) || user.is_some_and(|user| user != 0);
        Self {
            pod: PodSecurityContext {
                run_as_user: pod.run_as_user,
                run_as_group: pod.run_as_group,
                run_as_non_root: pod.run_as_non_root,
                fs_group: pod.fs_group,
                fs_group_change_policy: pod.fs_group_change_policy,
                supplemental_groups: pod.supplemental_groups,
                supplemental_groups_policy: pod.supplemental_groups_policy,
                se_linux_options: pod.se_linux_options,
                se_linux_change_policy: pod.se_linux_change_policy,
                seccomp_profile: Some(runtime_default()),
                ..PodSecurityContext::default()
            },
            container: SecurityContext {
                run_as_user: own.run_as_user,
                run_as_group: own.run_as_group,
                run_as_non_root: own.run_as_non_root,
                se_linux_options: own.se_linux_options,
                capabilities: Some(Capabilities {
                    // only root has it by being allowed to
                    add: (!is_never_root && has_by_default(own.capabilities.as_ref()))
                        .then(|| vec![READ_FILES_OF_OTHERS.to_owned()]),
                    drop: Some(vec![ALL.to_owned()]),
                }),
                ..restricted()
            },
        }
    }

    /// The same user with nothing added.
    pub(super) fn without_capabilities(mut self) -> Self {
        if let Some(capabilities) = &mut self.container.capabilities {
            capabilities.add = None;
        }
        self
    }

    /// The agent's own user, where the namespace does not take the workload's. Additional groups are not restricted,
    /// and let it read some of the files.
    pub(super) fn of_agent(spec: &PodSpec) -> Self {
        let user = Some(i64::from(manifest::AGENT_USER));
        let workload = spec.security_context.clone().unwrap_or_default();
        Self {
            pod: PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                run_as_group: user,
                fs_group: workload.fs_group,
                fs_group_change_policy: workload.fs_group_change_policy,
                supplemental_groups: workload.supplemental_groups,
                seccomp_profile: Some(runtime_default()),
                ..PodSecurityContext::default()
            },
            container: SecurityContext {
                capabilities: Some(Capabilities {
                    add: None,
                    drop: Some(vec![ALL.to_owned()]),
                }),
                ..restricted()
            },
        }
    }
}

/// Whether a container keeps a capability that it has by default.
fn has_by_default(capabilities: Option<&Capabilities>) -> bool {
    let named = |names: &Option<Vec<String>>| {
        let mut names = names.iter().flatten();
        names.any(|name| name == READ_FILES_OF_OTHERS || name == ALL)
    };
    match capabilities {
        None => true,
        Some(capabilities) => !named(&capabilities.drop) || named(&capabilities.add),
    }
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn contexts(pod: Value, container: Value) -> Value {
        let container: Container =
            serde_json::from_value(json!({ "name": "app", "securityContext": container })).unwrap();
        let spec: PodSpec =
            serde_json::from_value(json!({ "containers": [], "securityContext": pod })).unwrap();
        let contexts = Contexts::of_workload(&spec, &container);
        json!({ "pod": contexts.pod, "container": contexts.container })
    }

    #[test]
    fn user_and_groups_are_the_workloads_and_all_else_is_restricted() {
        let contexts = contexts(
            json!({
                "runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": true, "fsGroup": 1002,
                "fsGroupChangePolicy": "OnRootMismatch", "supplementalGroups": [5],
                "seLinuxOptions": { "level": "s0:c1" }, "seccompProfile": { "type": "Unconfined" },
                "sysctls": [{ "name": "net.core.somaxconn", "value": "1024" }],
            }),
            json!({
                "privileged": true, "allowPrivilegeEscalation": true, "readOnlyRootFilesystem": false,
                "procMount": "Unmasked", "runAsUser": 2000, "capabilities": { "add": ["SYS_ADMIN"] },
            }),
        );
        assert_eq!(
            contexts,
            json!({
                "pod": {
                    "runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": true, "fsGroup": 1002,
                    "fsGroupChangePolicy": "OnRootMismatch", "supplementalGroups": [5],
                    "seLinuxOptions": { "level": "s0:c1" }, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "container": {
                    "runAsUser": 2000, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            })
        );
    }

    #[test]
    fn workload_without_capabilities_has_its_user_and_drops_all() {
        let spec: PodSpec =
            serde_json::from_value(json!({ "containers": [], "securityContext": { "runAsUser": 0 } }))
                .unwrap();
        let contexts = Contexts::of_workload(&spec, &Container::default()).without_capabilities();
        assert_eq!(contexts.pod.run_as_user, Some(0));
        let capabilities = contexts.container.capabilities.unwrap();
        assert_eq!(
            (capabilities.add, capabilities.drop.unwrap()),
            (None, vec!["ALL".to_owned()])
        );
    }

    #[test]
    fn container_that_may_be_root_keeps_the_capability_to_read_files_of_others() {
        let added = |pod: Value, container: Value| {
            contexts(pod, container)["container"]["capabilities"]["add"].clone()
        };
        for (pod, container, expected) in [
            (json!({}), json!({}), json!(["DAC_OVERRIDE"])),
            (json!({ "runAsUser": 0 }), json!({}), json!(["DAC_OVERRIDE"])),
            (json!({ "runAsNonRoot": true }), json!({}), Value::Null),
            (json!({ "runAsUser": 0 }), json!({ "runAsUser": 1 }), Value::Null),
            (
                json!({}),
                json!({ "capabilities": { "drop": ["ALL"] } }),
                Value::Null,
            ),
            (
                json!({}),
                json!({ "capabilities": { "drop": ["ALL"], "add": ["DAC_OVERRIDE"] } }),
                json!(["DAC_OVERRIDE"]),
            ),
        ] {
            assert_eq!(
                added(pod.clone(), container.clone()),
                expected,
                "{pod} {container}"
            );
        }
    }
}
