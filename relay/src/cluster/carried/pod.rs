//! How the Job of a carried agent differs from that of an agent with an image of its own.
//!
//! The image was built for another program. The pod runs the loader instead of its entry point, and with the pod's user
//! instead of the image's. Loader and agent are static executables, so they use none of its files. Annotations of the
//! Job and of its pod name the agent that runs there.

use super::config_maps::{AgentFiles, LOADER_KEY};
use super::host_image::HostImage;
use crate::cluster::job::HOLD_SECONDS;
use crate::cluster::own_mounts::OwnMounts;
use k8s_openapi::api::core::v1::Pod;
use kinject_bundle::Architecture;
use serde_json::{Value, json};

/// The size of the emptyDir into which the loader unpacks the agent if it cannot execute a memfd.
const SCRATCH_SIZE: &str = "16Mi";

/// The weight of the affinity to nodes that have the image: the highest one.
const NODE_WEIGHT: u8 = 100;

/// The annotation that names the agent in the pod, for people. Only pods of carried agents have it.
const AGENT_ANNOTATION: &str = "kinject/agent";

/// The pod of a carried agent.
pub(in crate::cluster) struct CarriedPod {
    /// The image that it runs in.
    pub(in crate::cluster) host: HostImage,
    /// The architecture of the nodes that it runs on.
    pub(in crate::cluster) architecture: Architecture,
    sha256: String,
    maps: Vec<String>,
    parts: Vec<String>,
}

impl CarriedPod {
    /// The pod that mounts these files.
    pub(in crate::cluster) fn new(files: &AgentFiles, host: HostImage) -> Self {
        let names = files.maps.iter().filter_map(|map| map.metadata.name.clone());
        Self {
            host,
            architecture: files.architecture,
            sha256: files.sha256.clone(),
            maps: names.collect(),
            parts: files.parts.clone(),
        }
    }

    /// Changes the Job of an agent with an image of its own into the Job of the carried agent.
    pub(in crate::cluster) fn apply_to(&self, job: &mut Value, own: &OwnMounts) {
        let annotations = [
            (
                AGENT_ANNOTATION,
                format!(
                    "kinject-agent {}, SHA-256 {}; nothing of the image {} is run",
                    env!("CARGO_PKG_VERSION"),
                    self.sha256,
                    self.host.image
                ),
            ),
            ("kinject/version", env!("CARGO_PKG_VERSION").to_owned()),
            ("kinject/agent-sha256", self.sha256.clone()),
        ];
        for (name, value) in annotations {
            job["metadata"]["annotations"][name] = json!(value);
            job["spec"]["template"]["metadata"]["annotations"][name] = json!(value);
        }
        // no pod until the relay releases the Job
        job["spec"]["parallelism"] = json!(0);
        job["spec"]["completions"] = json!(1);
        job["spec"]["activeDeadlineSeconds"] = json!(HOLD_SECONDS);
        let pod = &mut job["spec"]["template"]["spec"];
        pod["nodeSelector"] = json!({
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": self.architecture.kubernetes_name(),
        });
        if !self.host.nodes.is_empty() {
            pod["affinity"] = self.affinity();
        }
        if !self.host.pull_secrets.is_empty() {
            let secrets = self.host.pull_secrets.iter().map(|name| json!({ "name": name }));
            pod["imagePullSecrets"] = secrets.collect();
        }
        let container = &mut pod["containers"][0];
        container["command"] = self.command(own);
        container["workingDir"] = json!("/");
        // the kubelet copies the loader's error message into the container's status
        container["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        push(
            &mut container["volumeMounts"],
            json!({ "name": own.files.volume, "mountPath": own.files.path, "readOnly": true }),
        );
        push(
            &mut container["volumeMounts"],
            json!({ "name": own.scratch.volume, "mountPath": own.scratch.path }),
        );
        let sources: Value = self
            .maps
            .iter()
            .map(|name| json!({ "configMap": { "name": name } }))
            .collect();
        push(
            &mut pod["volumes"],
            json!({ "name": own.files.volume, "projected": { "defaultMode": 0o555, "sources": sources } }),
        );
        push(
            &mut pod["volumes"],
            json!({ "name": own.scratch.volume, "emptyDir": { "medium": "Memory", "sizeLimit": SCRATCH_SIZE } }),
        );
    }

    fn command(&self, own: &OwnMounts) -> Value {
        let (files, scratch) = (&own.files.path, &own.scratch.path);
        let mut command = vec![
            format!("{files}/{LOADER_KEY}"),
            "--sha256".to_owned(),
            self.sha256.clone(),
        ];
        for part in &self.parts {
            command.extend(["--part".to_owned(), format!("{files}/{part}")]);
        }
        command.extend([
            "--fallback".to_owned(),
            format!("{scratch}/agent"),
            "--".to_owned(),
        ]);
        json!(command)
    }

    /// Prefers the nodes that have the image, and requires none.
    fn affinity(&self) -> Value {
        let preferred = self.host.nodes.iter().map(|node| {
            json!({
                "weight": NODE_WEIGHT,
                "preference": { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] },
            })
        });
        json!({
            "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred.collect::<Value>() },
        })
    }
}

/// Whether the agent of a pod is a carried one.
pub(in crate::cluster) fn is_carried(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(AGENT_ANNOTATION))
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::manifest::Manifest;
    use crate::cluster::source::Container;
    use k8s_openapi::api::batch::v1::Job;
    use kinject_bundle::CarriedAgent;
    use kinject_protocol::session::TransportChoice;
    use std::rc::Rc;

    fn host(nodes: &[&str], pull_secrets: &[&str]) -> HostImage {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        HostImage {
            image: "registry.example/app:1".to_owned(),
            pull_secrets: owned(pull_secrets),
            nodes: owned(nodes),
            is_always_pulled: false,
            reason: String::new(),
        }
    }

    fn job(host: HostImage) -> Job {
        let agent = CarriedAgent {
            architecture: Architecture::Arm64,
            loader: vec![1; 10].into(),
            packed: vec![2; 1_200_000].into(),
            sha256: [0xab; 32],
        };
        let manifest = Manifest {
            name: "kinject-agent-0",
            session: "0",
            container: Container::Carried(Rc::new(CarriedPod::new(&AgentFiles::shared(&agent), host))),
            workload: None,
            transport: TransportChoice::Auto,
            with_limits: false,
            with_deadline: false,
        };
        manifest.job().unwrap()
    }

    #[test]
    fn carried_pod_runs_the_loader_with_the_agents_arguments_last() {
        let pod = job(host(&[], &[])).spec.unwrap().template.spec.unwrap();
        let container = &pod.containers[0];
        assert_eq!(container.image.as_deref(), Some("registry.example/app:1"));
        let command = container.command.clone().unwrap();
        let sha256 = "ab".repeat(32);
        assert_eq!(
            command,
            [
                "/kinject/loader",
                "--sha256",
                &sha256,
                "--part",
                "/kinject/agent.xz.0",
                "--part",
                "/kinject/agent.xz.1",
                "--fallback",
                "/kinject-scratch/agent",
                "--",
            ]
        );
        assert_eq!(container.args.as_ref().unwrap()[0], "--identity");
        assert_eq!(
            container.working_dir.as_deref(),
            Some("/"),
            "the image's own may not exist"
        );
        let security = pod.security_context.unwrap();
        assert_eq!(
            (security.run_as_user, security.run_as_non_root),
            (Some(65532), Some(true))
        );
    }

    #[test]
    fn files_of_all_config_maps_are_mounted_executable() {
        let pod = job(host(&[], &[])).spec.unwrap().template.spec.unwrap();
        let volumes = pod.volumes.unwrap();
        let named = |name: &str| volumes.iter().find(|volume| volume.name == name).unwrap();
        let files = named("files").projected.as_ref().unwrap();
        assert_eq!(files.default_mode, Some(0o555));
        assert_eq!(files.sources.as_ref().unwrap().len(), 2);
        let scratch = named("scratch").empty_dir.as_ref().unwrap();
        assert_eq!(scratch.medium.as_deref(), Some("Memory"));
        let mounts = pod.containers[0].volume_mounts.as_ref().unwrap();
        let mounted: Vec<_> = mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounted, ["/run/kinject", "/kinject", "/kinject-scratch"]);
    }

    #[test]
    fn carried_pod_requires_its_architecture_and_prefers_nodes_with_the_image() {
        let pod = job(host(&["one", "two"], &["registry"]))
            .spec
            .unwrap()
            .template
            .spec
            .unwrap();
        assert_eq!(pod.node_selector.unwrap()["kubernetes.io/arch"], "arm64");
        let affinity = pod.affinity.unwrap().node_affinity.unwrap();
        assert_eq!(affinity.required_during_scheduling_ignored_during_execution, None);
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .unwrap();
        let nodes: Vec<_> = preferred
            .into_iter()
            .map(|term| term.preference.match_fields.unwrap().remove(0).values.unwrap())
            .collect();
        assert_eq!(nodes, [["one"], ["two"]]);
        assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "registry");
        let elsewhere = job(host(&[], &[])).spec.unwrap().template.spec.unwrap();
        assert_eq!((elsewhere.affinity, elsewhere.image_pull_secrets), (None, None));
    }

    #[test]
    fn held_job_starts_no_pod_and_ends_by_itself() {
        let held = job(host(&[], &[])).spec.unwrap();
        assert_eq!((held.parallelism, held.completions), (Some(0), Some(1)));
        assert_eq!(held.active_deadline_seconds, Some(i64::from(HOLD_SECONDS)));
    }

    #[test]
    fn annotations_name_the_agents_version_hash_and_image() {
        let job = job(host(&[], &[]));
        let template = job.spec.unwrap().template.metadata.unwrap().annotations.unwrap();
        for annotations in [&job.metadata.annotations.unwrap(), &template] {
            let text = &annotations[AGENT_ANNOTATION];
            for word in [
                env!("CARGO_PKG_VERSION"),
                &"ab".repeat(32),
                "registry.example/app:1",
            ] {
                assert!(text.contains(word), "{text}");
            }
            assert_eq!(annotations["linkerd.io/inject"], "disabled");
        }
    }
}
