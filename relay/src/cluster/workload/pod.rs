//! The agent's pod in the place of a workload: what of the template is in it.
//!
//! Taken is what decides about the container's environment and files, and what their volumes need: image, service
//! account, variables, volumes, user, node, name servers. Not taken is what makes it a pod of the workload (labels,
//! ports, probes), what it runs (command, hooks, other containers) and what would give it more than an agent needs
//! (privileges, the host's namespaces, resources).

use super::resources::ResourcesInUse;
use super::scheduling::{self, Nodes};
use super::security::Contexts;
use super::template::PodTemplate;
use super::variables::Variables;
use super::volumes::Volumes;
use crate::cluster::own_mounts::OwnMounts;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, LocalObjectReference, Pod, PodSpec};
use kinject_protocol::workload::WorkloadName;
use std::rc::Rc;

/// The annotation that names the workload, for people.
const WORKLOAD_ANNOTATION: &str = "kinject/workload";

/// The way on for whoever can do without the files.
pub(in crate::cluster) const WITHOUT_FILES: &str =
    "--files none makes the pod without the workload's volumes";

/// The labels by which webhooks give a pod its identity at a cloud.
const IDENTITY_LABELS: [&str; 1] = ["azure.workload.identity/use"];

/// The annotations by which they do.
const IDENTITY_ANNOTATIONS: [&str; 5] = [
    "azure.workload.identity/service-account-token-expiration",
    "eks.amazonaws.com/audience",
    "eks.amazonaws.com/role-arn",
    "eks.amazonaws.com/sts-regional-endpoints",
    "eks.amazonaws.com/token-expiration",
];

/// The mode of the keys' file: the workload's user, whoever that is, reads it, and no other container is in the pod.
const IDENTITY_MODE: i32 = 0o444;

/// The name servers of the node, which a pod in the node's network has.
const NODES_NAME_SERVERS: &str = "Default";

/// What of a workload is in the agent's pod.
#[derive(Debug)]
pub(in crate::cluster) struct WorkloadPod {
    workload: WorkloadName,
    template: PodTemplate,
    container: Container,
    variables: Variables,
    volumes: Volumes,
    resources: ResourcesInUse,
    with_files: bool,
}

/// As whom the agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cluster) enum User {
    /// As the workload does.
    #[default]
    Workload,
    /// As the workload does, without any capability: a policy does not take a pod that adds one.
    WorkloadWithoutCapabilities,
    /// As an agent does that stands in for none: the namespace does not take the workload's user.
    Agent,
}

/// What of a workload is in one agent's pod.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct WorkloadPart {
    /// What the template says.
    pub(in crate::cluster) pod: Rc<WorkloadPod>,
    /// As whom the agent runs.
    pub(in crate::cluster) user: User,
    /// Where its pod is better.
    pub(in crate::cluster) nodes: Nodes,
}

impl WorkloadPod {
    /// What of this template is taken.
    pub(super) fn of(
        workload: &WorkloadName,
        template: PodTemplate,
        container: Container,
        with_files: bool,
    ) -> Self {
        let mut resources = ResourcesInUse::of(&container);
        let variables = Variables::of(&container, &template, &mut resources);
        let volumes = match with_files {
            true => Volumes::of(&container, &template, &variables, &mut resources),
            false => Volumes::default(),
        };
        Self {
            workload: workload.clone(),
            template,
            container,
            variables,
            volumes,
            resources,
            with_files,
        }
    }

    /// Whether the kernel gives its full name as host name (`setHostnameAsFQDN`).
    pub(super) fn has_full_host_name(&self) -> bool {
        self.template.spec.set_hostname_as_fqdn == Some(true)
    }

    /// The names of the secrets that it is pulled with.
    pub(in crate::cluster) fn pull_secrets(&self) -> Vec<String> {
        let secrets = self.template.spec.image_pull_secrets.iter().flatten();
        secrets.map(|secret| secret.name.clone()).collect()
    }

    /// The architecture that the template asks for.
    pub(in crate::cluster) fn architecture(&self) -> Option<&str> {
        let selector = self.template.spec.node_selector.as_ref()?;
        selector.get("kubernetes.io/arch").map(String::as_str)
    }

    /// The claims of its volumes.
    pub(super) fn claims(&self) -> Vec<&str> {
        self.volumes.claims()
    }

    /// The container's name.
    pub(in crate::cluster) fn container(&self) -> &str {
        &self.container.name
    }

    /// What the container has and the agent's pod has not, and why.
    pub(in crate::cluster) fn left_out(&self) -> impl Iterator<Item = &String> {
        self.variables.left_out.iter().chain(&self.volumes.left_out)
    }

    /// Names and paths for the agent's own volumes.
    pub(in crate::cluster) fn own_mounts(&self) -> OwnMounts {
        OwnMounts::beside(&self.volumes.volumes, &self.volumes.mounts)
    }
}

impl WorkloadPart {
    /// Makes an agent's Job one in the place of the workload.
    pub(in crate::cluster) fn apply_to(&self, job: &mut Job, own: &OwnMounts) {
        let WorkloadPod {
            workload,
            template,
            container,
            variables,
            volumes,
            resources,
            with_files,
        } = &*self.pod;
        let name = [(
            WORKLOAD_ANNOTATION.to_owned(),
            format!("{workload}, container {}", container.name),
        )];
        job.metadata
            .annotations
            .get_or_insert_default()
            .extend(name.clone());
        let Some(spec) = &mut job.spec else { return };
        let metadata = spec.template.metadata.get_or_insert_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.extend(name);
        annotations.extend(volumes.annotations.clone());
        annotations.extend(named(&template.annotations, &IDENTITY_ANNOTATIONS));
        let labels = metadata.labels.get_or_insert_default();
        labels.extend(named(&template.labels, &IDENTITY_LABELS));
        let Some(pod) = &mut spec.template.spec else {
            return;
        };
        let contexts = match self.user {
            User::Workload => Contexts::of_workload(&template.spec, container),
            User::WorkloadWithoutCapabilities => {
                Contexts::of_workload(&template.spec, container).without_capabilities()
            }
            User::Agent => Contexts::of_agent(&template.spec),
        };
        pod.security_context = Some(contexts.pod);
        for agent in &mut pod.containers {
            agent.security_context = Some(contexts.container.clone());
            agent.env = Some(variables.env.clone());
            agent.env_from = Some(variables.env_from.clone());
            let mounts = agent.volume_mounts.get_or_insert_default();
            mounts.extend(volumes.mounts.iter().cloned());
            resources.apply_to(agent.resources.get_or_insert_default());
        }
        let pod_volumes = pod.volumes.get_or_insert_default();
        for volume in &mut *pod_volumes {
            if volume.name == own.identity.volume
                && let Some(secret) = &mut volume.secret
            {
                secret.default_mode = Some(IDENTITY_MODE);
            }
        }
        pod_volumes.extend(volumes.volumes.iter().cloned());
        take_pod_fields(pod, &template.spec);
        if !with_files {
            // the token is a file as well
            pod.automount_service_account_token = Some(false);
        }
        scheduling::apply_to(pod, &template.spec, &self.nodes);
    }
}

/// Whether the agent of a pod stands in for a workload.
pub(in crate::cluster) fn is_of_workload(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(WORKLOAD_ANNOTATION))
}

/// The entries of a map with these keys.
fn named<'a>(
    map: &'a std::collections::BTreeMap<String, String>,
    keys: &'a [&str],
) -> impl Iterator<Item = (String, String)> {
    let entries = keys.iter().filter_map(|key| map.get_key_value(*key));
    entries.map(|(key, value)| (key.clone(), value.clone()))
}

/// The fields of the pod that are taken as they are.
fn take_pod_fields(pod: &mut PodSpec, workload: &PodSpec) {
    let account = workload.service_account_name.as_ref();
    pod.service_account_name = account.or(workload.service_account.as_ref()).cloned();
    pod.automount_service_account_token = workload.automount_service_account_token;
    pod.enable_service_links = workload.enable_service_links;
    pod.host_aliases.clone_from(&workload.host_aliases);
    pod.dns_config.clone_from(&workload.dns_config);
    pod.dns_policy = match (workload.host_network, workload.dns_policy.as_deref()) {
        (Some(true), None | Some("ClusterFirst")) => Some(NODES_NAME_SERVERS.to_owned()),
        (_, policy) => policy.map(str::to_owned),
    };
    pod.runtime_class_name.clone_from(&workload.runtime_class_name);
    pod.priority_class_name.clone_from(&workload.priority_class_name);
    // by which the node maps the owners of files
    pod.host_users = workload.host_users;
    pod.hostname.clone_from(&workload.hostname);
    pod.subdomain.clone_from(&workload.subdomain);
    // not `setHostnameAsFQDN`: the kubelet refuses a name above 64 bytes, and the agent's pod may have a longer one
    // than the workload's. `hosts::kernel_name` gives programs the full name
    let secrets = pod.image_pull_secrets.get_or_insert_default();
    for LocalObjectReference { name } in workload.image_pull_secrets.iter().flatten() {
        if secrets.iter().all(|known| known.name != *name) {
            secrets.push(LocalObjectReference { name: name.clone() });
        }
    }
    if secrets.is_empty() {
        // admission then takes the service account's
        pod.image_pull_secrets = None;
    }
}

#[cfg(test)]
mod tests;
