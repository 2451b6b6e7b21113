//! A workload's pod template, as its object holds it.
//!
//! A Deployment and its kin hold the template as their author wrote it. A pod holds its own spec, in which the API
//! server, admission and the controllers have put more; what they would put into another pod by themselves is taken out
//! ([`of_pod`]). A StatefulSet's pods have a volume more for each claim template, and a host name by their ordinal: the
//! template is that of its first replica.

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodSpec, Toleration, Volume};
use kinject_protocol::workload::WorkloadKind;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The beginning of the names of volumes by which admission mounts a service account's token.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// Where it mounts them.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The longest label of DNS.
const MAX_LABEL: usize = 63;

/// The taints that admission has every pod tolerate for a time.
const TOLERATED_BY_ALL: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// What pods of a workload are made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cluster) struct PodTemplate {
    /// The labels of its pods.
    pub(super) labels: BTreeMap<String, String>,
    /// The annotations of its pods.
    pub(super) annotations: BTreeMap<String, String>,
    /// The rest.
    pub(in crate::cluster) spec: PodSpec,
}

/// The metadata and spec of a template or a pod.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: WrittenMetadata,
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
struct WrittenMetadata {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Another workload whose template a Rollout uses (`spec.workloadRef`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct WorkloadRef {
    /// Its kind in the API: `Deployment`.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
}

/// What an object says of its pods.
#[derive(Debug)]
pub(super) enum Source {
    /// Their template.
    Template(Box<PodTemplate>),
    /// Another object has it.
    Elsewhere(WorkloadRef),
}

/// The template in an object of that kind. `name` is the object's name.
pub(super) fn of_object(kind: WorkloadKind, name: &str, object: &Value) -> Result<Source, serde_json::Error> {
    let template = match kind {
        WorkloadKind::Pod => {
            let mut template = read(object)?;
            of_pod(&mut template);
            return Ok(Source::Template(Box::new(template)));
        }
        WorkloadKind::CronJob => &object["spec"]["jobTemplate"]["spec"]["template"],
        WorkloadKind::Rollout if !object["spec"]["workloadRef"].is_null() => {
            let other = WorkloadRef::deserialize(&object["spec"]["workloadRef"])?;
            return Ok(Source::Elsewhere(other));
        }
        _ => &object["spec"]["template"],
    };
    let mut template = read(template)?;
    if kind == WorkloadKind::StatefulSet {
        let replica = first_replica(name, object);
        add_claims(&mut template, object, &replica);
        name_host(&mut template.spec, object, &replica);
        let labels = [
            ("apps.kubernetes.io/pod-index", ordinal(object).to_string()),
            ("statefulset.kubernetes.io/pod-name", replica),
        ];
        for (label, value) in labels {
            template.labels.entry(label.to_owned()).or_insert(value);
        }
    }
    Ok(Source::Template(Box::new(template)))
}

fn read(written: &Value) -> Result<PodTemplate, serde_json::Error> {
    let Written { metadata, spec } = Written::deserialize(written)?;
    Ok(PodTemplate {
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
        spec,
    })
}

/// The number of a StatefulSet's first replica.
fn ordinal(object: &Value) -> u64 {
    object["spec"]["ordinals"]["start"].as_u64().unwrap_or_default()
}

/// The name of a StatefulSet's first replica, whose claims the agent's pod mounts.
fn first_replica(name: &str, object: &Value) -> String {
    format!("{name}-{}", ordinal(object))
}

/// Gives the pod the host name that a StatefulSet's controller gives to a replica: programs read their ordinal from it.
fn name_host(spec: &mut PodSpec, object: &Value, replica: &str) {
    if is_label(replica) {
        spec.hostname = Some(replica.to_owned());
    }
    let service = object["spec"]["serviceName"].as_str();
    spec.subdomain = service.filter(|service| !service.is_empty()).map(str::to_owned);
}

/// Whether a name is a label of DNS (RFC 1123), as a host name has to be.
fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && !name.contains('.')
}

/// Adds the volumes of a StatefulSet's claim templates, which its controller adds to each pod. They take the place of
/// volumes of the same name.
fn add_claims(template: &mut PodTemplate, object: &Value, replica: &str) {
    let claims = object["spec"]["volumeClaimTemplates"].as_array();
    let names = claims
        .into_iter()
        .flatten()
        .filter_map(|claim| claim["metadata"]["name"].as_str());
    let volumes = template.spec.volumes.get_or_insert_default();
    for name in names {
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            name: name.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{name}-{replica}"),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
}

/// Takes out of a pod's own spec what another pod gets by itself or must not have: its node, the volume with its token,
/// and tolerations of all pods.
fn of_pod(template: &mut PodTemplate) {
    let spec = &mut template.spec;
    spec.node_name = None;
    let is_of_admission =
        |volume: &Volume| volume.name.starts_with(TOKEN_VOLUME) && volume.projected.is_some();
    let tokens: Vec<_> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| is_of_admission(volume))
        .map(|volume| volume.name.clone())
        .collect();
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|volume| !is_of_admission(volume));
    }
    for container in &mut spec.containers {
        if let Some(mounts) = &mut container.volume_mounts {
            mounts.retain(|mount| mount.mount_path != TOKEN_FOLDER || !tokens.contains(&mount.name));
        }
    }
    let is_of_all = |toleration: &Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        TOLERATED_BY_ALL.contains(&key) && toleration.toleration_seconds.is_some()
    };
    if let Some(tolerations) = &mut spec.tolerations {
        tolerations.retain(|toleration| !is_of_all(toleration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(kind: WorkloadKind, object: &Value) -> PodTemplate {
        match of_object(kind, "db", object).unwrap() {
            Source::Template(template) => *template,
            Source::Elsewhere(other) => panic!("{other:?}"),
        }
    }

    fn pod_template() -> Value {
        json!({
            "metadata": { "labels": { "app": "db" }, "annotations": { "note": "one" } },
            "spec": { "containers": [{ "name": "app" }] },
        })
    }

    #[test]
    fn template_is_read_from_each_kind_of_object() {
        let nested = json!({ "spec": { "jobTemplate": { "spec": { "template": pod_template() } } } });
        let direct = json!({ "spec": { "template": pod_template() } });
        for (kind, object) in [
            (WorkloadKind::Deployment, &direct),
            (WorkloadKind::DaemonSet, &direct),
            (WorkloadKind::ReplicaSet, &direct),
            (WorkloadKind::Job, &direct),
            (WorkloadKind::Rollout, &direct),
            (WorkloadKind::CronJob, &nested),
            (WorkloadKind::Pod, &pod_template()),
        ] {
            let template = template(kind, object);
            assert_eq!(template.labels["app"], "db", "{kind:?}");
            assert_eq!(template.annotations["note"], "one", "{kind:?}");
            assert_eq!(template.spec.containers[0].name, "app", "{kind:?}");
        }
    }

    #[test]
    fn rollout_with_a_workload_reference_names_the_other_object() {
        let object = json!({ "spec": { "workloadRef": { "kind": "Deployment", "name": "web" } } });
        let Source::Elsewhere(other) = of_object(WorkloadKind::Rollout, "x", &object).unwrap() else {
            panic!("it has a reference");
        };
        assert_eq!((other.kind.as_str(), other.name.as_str()), ("Deployment", "web"));
    }

    #[test]
    fn object_without_a_template_is_an_error() {
        assert!(of_object(WorkloadKind::Deployment, "x", &json!({ "spec": {} })).is_err());
    }

    #[test]
    fn statefulset_template_has_the_claims_and_labels_of_the_first_replica() {
        let mut template_with_volume = pod_template();
        template_with_volume["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
        let object = json!({ "spec": {
            "ordinals": { "start": 3 },
            "template": template_with_volume,
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
        } });
        let template = template(WorkloadKind::StatefulSet, &object);
        let [volume] = &template.spec.volumes.unwrap()[..] else {
            panic!("one volume");
        };
        let claim = volume.persistent_volume_claim.as_ref().unwrap();
        assert_eq!(claim.claim_name, "data-db-3");
        assert_eq!(template.labels["statefulset.kubernetes.io/pod-name"], "db-3");
        assert_eq!(template.labels["apps.kubernetes.io/pod-index"], "3");
    }

    #[test]
    fn statefulset_template_has_the_host_name_and_subdomain_of_the_first_replica() {
        let of = |name: &str, service: Value| {
            let mut spec = json!({ "template": pod_template(), "serviceName": service });
            spec["template"]["spec"]["hostname"] = json!("ignored-by-the-controller");
            let object = json!({ "spec": spec });
            let source = of_object(WorkloadKind::StatefulSet, name, &object).unwrap();
            let Source::Template(template) = source else {
                panic!("{source:?}");
            };
            (template.spec.hostname, template.spec.subdomain)
        };
        let own = |name: &str| Some(name.to_owned());
        assert_eq!(of("db", json!("db-peers")), (own("db-0"), own("db-peers")));
        assert_eq!(of("db", Value::Null), (own("db-0"), None));
        // no pod of it could run, and that is not for this session to say
        assert_eq!(
            of(&"a".repeat(62), json!("")),
            (own("ignored-by-the-controller"), None)
        );
    }

    #[test]
    fn pod_is_stripped_of_its_node_token_volume_and_tolerations_of_all_pods() {
        let pod = json!({
            "metadata": {},
            "spec": {
                "nodeName": "one",
                "containers": [
                    { "name": "app", "volumeMounts": [
                        { "name": "kube-api-access-x", "mountPath": TOKEN_FOLDER },
                        { "name": "config", "mountPath": "/etc/config" },
                    ] },
                    { "name": "other", "volumeMounts": [{ "name": "own-token", "mountPath": TOKEN_FOLDER }] },
                ],
                "volumes": [
                    { "name": "kube-api-access-x", "projected": { "sources": [] } },
                    { "name": "config", "configMap": { "name": "config" } },
                    { "name": "own-token", "projected": { "sources": [] } },
                ],
                "tolerations": [
                    { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300 },
                    { "key": "gpu", "operator": "Exists" },
                ],
            },
        });
        let spec = template(WorkloadKind::Pod, &pod).spec;
        assert_eq!(spec.node_name, None);
        let volumes: Vec<_> = spec
            .volumes
            .unwrap()
            .into_iter()
            .map(|volume| volume.name)
            .collect();
        assert_eq!(volumes, ["config", "own-token"]);
        let mounts = |container: usize| spec.containers[container].volume_mounts.as_ref().unwrap().len();
        assert_eq!((mounts(0), mounts(1)), (1, 1));
        let tolerations = spec.tolerations.unwrap();
        assert_eq!(tolerations.len(), 1);
        assert_eq!(tolerations[0].key.as_deref(), Some("gpu"));
    }
}
