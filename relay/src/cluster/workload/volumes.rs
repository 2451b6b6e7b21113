//! The volumes and mounts of the workload's container, for the agent's own.
//!
//! They are mounted read-only, since the agent only reads, unless the container runtime may have to make a folder in
//! them for another mount. Volumes that only other containers mount are left out.

use super::downward::Annotations;
use super::resources::ResourcesInUse;
use super::template::PodTemplate;
use super::variables::Variables;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, Volume, VolumeMount,
};
use std::collections::BTreeMap;
use std::path::Path;

/// Where a pod's token is mounted unless the pod says otherwise.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A mount in which new mounts of the node show up.
const FROM_NODE: &str = "HostToContainer";

/// A mount that would need a privileged container.
const BOTH_WAYS: &str = "Bidirectional";

/// The volumes and mounts of the agent's container.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// `volumes`.
    pub(super) volumes: Vec<Volume>,
    /// `volumeMounts`.
    pub(super) mounts: Vec<VolumeMount>,
    /// The annotations that their files refer to.
    pub(super) annotations: BTreeMap<String, String>,
    /// What is not in them, and why.
    pub(super) left_out: Vec<String>,
}

impl Volumes {
    /// Takes the mounts of a container and their volumes.
    pub(super) fn of(
        container: &Container,
        template: &PodTemplate,
        variables: &Variables,
        resources: &mut ResourcesInUse,
    ) -> Self {
        let mut taken = Self::default();
        let mut annotations = Annotations::default();
        let volumes = template.spec.volumes.as_deref().unwrap_or_default();
        for mount in container.volume_mounts.iter().flatten() {
            let Some(volume) = volumes.iter().find(|volume| volume.name == mount.name) else {
                taken.left_out.push(format!(
                    "the mount {}: there is no volume {}",
                    mount.mount_path, mount.name
                ));
                continue;
            };
            let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
            // the kubelet would make an empty folder of the new pod's name in it, which would stay
            if is_kept(volume) && variables.differs_between_pods(expression) {
                taken.left_out.push(format!(
                    "the mount {}: each pod has a folder of its own there ({expression})",
                    mount.mount_path
                ));
                continue;
            }
            let is_read_only = !is_of_agent(volume) && !has_mount_below(mount, container);
            taken.mounts.push(agents_mount(mount, is_read_only));
            if taken.volumes.iter().all(|known| known.name != volume.name) {
                let volume = taken.in_agent(volume, template, &mut annotations, resources);
                taken.note_writers(&volume, container, template);
                taken.volumes.push(volume);
            }
        }
        taken.annotations = annotations.into_map();
        taken
    }

    /// A volume as the agent's pod has it.
    fn in_agent(
        &mut self,
        volume: &Volume,
        template: &PodTemplate,
        annotations: &mut Annotations,
        resources: &mut ResourcesInUse,
    ) -> Volume {
        let mut volume = volume.clone();
        // a new claim would be made for it, and a new disk, as empty as this
        if volume.ephemeral.take().is_some() {
            volume.empty_dir = Some(EmptyDirVolumeSource::default());
        }
        let mut items: Vec<&mut Vec<DownwardAPIVolumeFile>> = Vec::new();
        items.extend(
            volume
                .downward_api
                .as_mut()
                .and_then(|source| source.items.as_mut()),
        );
        let projections = volume
            .projected
            .as_mut()
            .and_then(|source| source.sources.as_mut());
        items.extend(projections.into_iter().flatten().filter_map(|source| {
            let source = source.downward_api.as_mut()?;
            source.items.as_mut()
        }));
        for items in items {
            items.retain_mut(|item| {
                if let Some(field) = &mut item.field_ref
                    && let Some(path) = annotations.refer(&field.field_path, template)
                {
                    field.field_path = path;
                }
                let referred = item
                    .resource_field_ref
                    .as_mut()
                    .map(|field| resources.refer(field));
                if let Some(Err(why)) = &referred {
                    self.left_out.push(format!(
                        "the file {} of the volume {}: {why}",
                        item.path, volume.name
                    ));
                }
                !matches!(referred, Some(Err(_)))
            });
        }
        volume
    }

    /// Notes an emptyDir that other containers may fill, which do not run in the agent's pod.
    fn note_writers(&mut self, volume: &Volume, container: &Container, template: &PodTemplate) {
        if volume.empty_dir.is_none() {
            return;
        }
        let spec = &template.spec;
        let others = spec.init_containers.iter().flatten().chain(&spec.containers);
        let writers: Vec<_> = others
            .filter(|other| other.name != container.name)
            .filter(|other| {
                let mut mounts = other.volume_mounts.iter().flatten();
                mounts.any(|mount| mount.name == volume.name && mount.read_only != Some(true))
            })
            .map(|other| other.name.as_str())
            .collect();
        if !writers.is_empty() {
            self.left_out.push(format!(
                "the content of the volume {}: {} would write it",
                volume.name,
                writers.join(", ")
            ));
        }
    }

    /// The claims of the volumes.
    pub(super) fn claims(&self) -> Vec<&str> {
        let claims = self
            .volumes
            .iter()
            .filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims.map(|claim| claim.claim_name.as_str()).collect()
    }
}

/// Whether what is written to a volume outlives the pod.
fn is_kept(volume: &Volume) -> bool {
    let is_of_pod = volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some();
    !is_of_pod
}

/// Whether the agent's pod has a new volume of its own: nothing of the workload's can be changed in it.
fn is_of_agent(volume: &Volume) -> bool {
    volume.empty_dir.is_some() || volume.ephemeral.is_some()
}

/// Whether another mount, or the token's, lies below a mount. The container runtime makes the folder for it in the
/// volume, which has to be writable.
fn has_mount_below(mount: &VolumeMount, container: &Container) -> bool {
    let folder = Path::new(&mount.mount_path);
    let others = container.volume_mounts.iter().flatten();
    others
        .map(|other| other.mount_path.as_str())
        .chain([TOKEN_PATH])
        .map(Path::new)
        .any(|other| other != folder && other.starts_with(folder))
}

fn agents_mount(mount: &VolumeMount, is_read_only: bool) -> VolumeMount {
    let mut mount = mount.clone();
    if is_read_only {
        mount.read_only = Some(true);
    }
    if mount.mount_propagation.as_deref() == Some(BOTH_WAYS) {
        mount.mount_propagation = Some(FROM_NODE.to_owned());
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn taken(spec: Value) -> Volumes {
        let template = PodTemplate {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            spec: serde_json::from_value(spec).unwrap(),
            ..PodTemplate::default()
        };
        let container = &template.spec.containers[0];
        let mut resources = ResourcesInUse::of(container);
        let variables = Variables::of(container, &template, &mut resources);
        Volumes::of(container, &template, &variables, &mut resources)
    }

    fn names(volumes: &Volumes) -> Vec<&str> {
        volumes
            .volumes
            .iter()
            .map(|volume| volume.name.as_str())
            .collect()
    }

    #[test]
    fn only_volumes_that_the_container_mounts_are_taken_and_mounted_read_only() {
        let taken = taken(json!({
            "containers": [
                { "name": "app", "volumeMounts": [
                    { "name": "config", "mountPath": "/etc/config" },
                    { "name": "config", "mountPath": "/etc/one", "subPath": "one" },
                    { "name": "host", "mountPath": "/host", "mountPropagation": "Bidirectional" },
                ] },
                { "name": "proxy", "volumeMounts": [{ "name": "certs", "mountPath": "/certs" }] },
            ],
            "volumes": [
                { "name": "certs", "secret": { "secretName": "certs" } },
                { "name": "config", "configMap": { "name": "config", "defaultMode": 256, "items": [
                    { "key": "one", "path": "one", "mode": 292 },
                ] } },
                { "name": "host", "hostPath": { "path": "/srv" } },
            ],
        }));
        assert_eq!(names(&taken), ["config", "host"]);
        let config = taken.volumes[0].config_map.as_ref().unwrap();
        assert_eq!(config.default_mode, Some(256));
        assert_eq!(config.items.as_ref().unwrap()[0].mode, Some(292));
        assert!(taken.mounts.iter().all(|mount| mount.read_only == Some(true)));
        assert_eq!(taken.mounts[1].sub_path.as_deref(), Some("one"));
        assert_eq!(taken.mounts[2].mount_propagation.as_deref(), Some(FROM_NODE));
        assert_eq!(taken.left_out, Vec::<String>::new());
    }

    #[test]
    fn mount_with_another_below_it_and_an_empty_dir_are_not_made_read_only() {
        let taken = taken(json!({
            "containers": [{ "name": "app", "volumeMounts": [
                { "name": "run", "mountPath": "/var/run" },
                { "name": "data", "mountPath": "/data" },
                { "name": "config", "mountPath": "/data/config" },
                { "name": "data", "mountPath": "/database" },
                { "name": "token", "mountPath": "/var/run/secrets/" },
            ] }],
            "volumes": [
                { "name": "run", "emptyDir": {} },
                { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                { "name": "config", "configMap": { "name": "config" } },
                { "name": "token", "hostPath": { "path": "/srv" } },
            ],
        }));
        let read_only: Vec<_> = taken.mounts.iter().map(|mount| mount.read_only).collect();
        assert_eq!(read_only, [None, None, Some(true), Some(true), None]);
    }

    #[test]
    fn files_of_labels_refer_to_annotations_in_both_kinds_of_volumes() {
        let items = json!([{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }]);
        let taken = taken(json!({
            "containers": [{ "name": "app", "volumeMounts": [
                { "name": "a", "mountPath": "/a" }, { "name": "b", "mountPath": "/b" },
            ] }],
            "volumes": [
                { "name": "a", "downwardAPI": { "items": items } },
                { "name": "b", "projected": { "sources": [{ "downwardAPI": { "items": items } }] } },
            ],
        }));
        let expected = ["metadata.annotations['kinject/workload-labels']", "metadata.name"];
        let paths = |items: &Vec<DownwardAPIVolumeFile>| -> Vec<String> {
            let fields = items
                .iter()
                .map(|item| item.field_ref.clone().unwrap().field_path);
            fields.collect()
        };
        let direct = taken.volumes[0]
            .downward_api
            .as_ref()
            .unwrap()
            .items
            .as_ref()
            .unwrap();
        assert_eq!(paths(direct), expected);
        let projected = &taken.volumes[1]
            .projected
            .as_ref()
            .unwrap()
            .sources
            .as_ref()
            .unwrap()[0];
        let projected = projected.downward_api.as_ref().unwrap().items.as_ref().unwrap();
        assert_eq!(paths(projected), expected);
        assert_eq!(taken.annotations["kinject/workload-labels"], "app=\"web\"");
    }

    #[test]
    fn generic_ephemeral_volume_becomes_an_empty_dir() {
        let taken = taken(json!({
            "containers": [{ "name": "app", "volumeMounts": [{ "name": "a", "mountPath": "/a" }] }],
            "volumes": [{ "name": "a", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } }],
        }));
        assert!(taken.volumes[0].ephemeral.is_none() && taken.volumes[0].empty_dir.is_some());
    }

    #[test]
    fn empty_dir_that_an_init_container_fills_is_named() {
        let mount = json!([{ "name": "a", "mountPath": "/a" }]);
        let taken = taken(json!({
            "initContainers": [{ "name": "fetch", "volumeMounts": mount }],
            "containers": [{ "name": "app", "volumeMounts": mount }],
            "volumes": [{ "name": "a", "emptyDir": {} }],
        }));
        assert_eq!(names(&taken), ["a"]);
        assert_eq!(
            taken.left_out,
            ["the content of the volume a: fetch would write it"]
        );
    }

    #[test]
    fn folder_of_each_pod_on_a_lasting_volume_is_not_mounted() {
        let taken = taken(json!({
            "containers": [{
                "name": "app",
                "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "volumeMounts": [
                    { "name": "disk", "mountPath": "/disk", "subPathExpr": "$(POD)" },
                    { "name": "scratch", "mountPath": "/scratch", "subPathExpr": "$(POD)" },
                ],
            }],
            "volumes": [
                { "name": "disk", "persistentVolumeClaim": { "claimName": "disk" } },
                { "name": "scratch", "emptyDir": {} },
            ],
        }));
        assert_eq!(names(&taken), ["scratch"]);
        assert!(
            taken.left_out[0].starts_with("the mount /disk: "),
            "{:?}",
            taken.left_out
        );
        assert_eq!(taken.claims(), Vec::<&str>::new());
    }
}
