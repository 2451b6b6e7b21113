//! Finds a workload in the cluster, or says which ones are there instead.

use super::near;
use super::template::{self, PodTemplate, Source};
use crate::cluster::access::{Access, innermost};
use crate::log;
use crate::report::Failure;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinject_escape::word;
use kinject_protocol::workload::{WorkloadKind, WorkloadName};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::Selector;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How many objects are listed to find near names.
const MAX_LISTED: u32 = 500;

/// A workload as the cluster has it.
#[derive(Debug)]
pub(in crate::cluster) struct Found {
    /// What its pods are made from.
    pub(in crate::cluster) template: PodTemplate,
    /// How its pods are found; none for a CronJob, which has none of its own. A pod is found by its name.
    pub(in crate::cluster) pods: Option<PodsOf>,
}

/// How the pods of a workload are found.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) enum PodsOf {
    /// By a selector.
    Selector(LabelSelector),
    /// It is one.
    Name(String),
}

impl PodsOf {
    /// Lists them. The error says why that fails.
    pub(super) async fn list(&self, access: &Access) -> Result<Vec<Pod>, String> {
        let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
        let found = match self {
            Self::Name(name) => pods.get(name).await.map(|pod| vec![pod]),
            Self::Selector(selector) => {
                let selector = Selector::try_from(selector.clone()).map_err(|error| error.to_string())?;
                let parameters = ListParams::default().labels_from(&selector);
                pods.list(&parameters).await.map(|list| list.items)
            }
        };
        found.map_err(|error| innermost(&error))
    }
}

/// Finds a workload. A Rollout's template may be that of another object. `option` is what stands before a name on the
/// command line, for hints.
pub(in crate::cluster) async fn find(
    access: &Access,
    name: &WorkloadName,
    option: &str,
) -> Result<Found, Failure> {
    let object = get(access, name, option).await?;
    match read(name, &object)? {
        (Source::Template(template), pods) => Ok(Found {
            template: *template,
            pods,
        }),
        (Source::Elsewhere(other), pods_of_rollout) => {
            let kind = WorkloadKind::ALL
                .into_iter()
                .find(|kind| kind.singular().eq_ignore_ascii_case(&other.kind));
            let (Some(kind), false) = (kind, other.kind == "Rollout") else {
                return Err(Failure::lasting(
                    format!("{name} uses the template of a {}, which has none", other.kind),
                    "name the workload that has it with --target",
                ));
            };
            let other = WorkloadName {
                kind,
                name: other.name,
            };
            log::info!("{name} uses the template of {other}");
            let object = get(access, &other, option).await?;
            match read(&other, &object)? {
                (Source::Template(template), pods) => Ok(Found {
                    template: *template,
                    pods: pods_of_rollout.or(pods),
                }),
                (Source::Elsewhere(_), _) => Err(not_a_workload(&other)),
            }
        }
    }
}

fn read(name: &WorkloadName, object: &DynamicObject) -> Result<(Source, Option<PodsOf>), Failure> {
    let mut whole = object.data.clone();
    whole["metadata"] = serde_json::to_value(&object.metadata).map_err(|_| not_a_workload(name))?;
    let source = template::of_object(name.kind, &name.name, &whole).map_err(|error| {
        log::info!("{name} cannot be read: {error}");
        not_a_workload(name)
    })?;
    let pods = match name.kind {
        WorkloadKind::Pod => Some(PodsOf::Name(name.name.clone())),
        _ => LabelSelector::deserialize(&whole["spec"]["selector"])
            .ok()
            .map(PodsOf::Selector),
    };
    Ok((source, pods))
}

fn not_a_workload(name: &WorkloadName) -> Failure {
    Failure::lasting(
        format!("{name} has no pod template that kinject can read"),
        "look at it with `kubectl get -o yaml`, and report this",
    )
}

async fn get(access: &Access, name: &WorkloadName, option: &str) -> Result<DynamicObject, Failure> {
    let found = timeout(ANSWER_TIMEOUT, objects(access, name.kind).get(&name.name)).await;
    match found.map_err(|_| access.silence(&format!("for {name}")))? {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(not_found(access, name, option).await),
        Err(error) => Err(access.failure(&error, &format!("look for {name}"))),
    }
}

/// Objects of a kind, without a type of their own: all of them hold a template in the same form.
fn objects(access: &Access, kind: WorkloadKind) -> Api<DynamicObject> {
    let group = kind.group();
    let version = match kind {
        WorkloadKind::Rollout => "v1alpha1",
        _ => "v1",
    };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: match group {
            "" => version.to_owned(),
            _ => format!("{group}/{version}"),
        },
        kind: kind_in_api(kind).to_owned(),
        plural: kind.resource().to_owned(),
    };
    Api::namespaced_with(access.client.clone(), &access.namespace, &resource)
}

fn kind_in_api(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
        WorkloadKind::DaemonSet => "DaemonSet",
        WorkloadKind::ReplicaSet => "ReplicaSet",
        WorkloadKind::Job => "Job",
        WorkloadKind::CronJob => "CronJob",
        WorkloadKind::Rollout => "Rollout",
        WorkloadKind::Pod => "Pod",
    }
}

/// That a workload is not there, with what is: an object of that name and another type, or near names of its type.
async fn not_found(access: &Access, name: &WorkloadName, option: &str) -> Failure {
    let others = WorkloadKind::ALL.into_iter().filter(|kind| *kind != name.kind);
    let others = join_all(others.map(async |kind| has(access, kind, &name.name).await.then_some(kind)));
    let listed = objects(access, name.kind);
    let parameters = ListParams::default().limit(MAX_LISTED);
    let listed = timeout(ANSWER_TIMEOUT, listed.list_metadata(&parameters));
    let (others, listed) = tokio::join!(others, listed);
    let message = format!(
        "there is no {} {} in namespace {}",
        name.kind.singular(),
        name.name,
        access.namespace
    );
    let resource = name.kind.resource();
    if let Some(kind) = others.into_iter().flatten().next() {
        let (kind, name) = (kind.singular(), &name.name);
        return Failure::lasting(
            message,
            &format!("there is a {kind} {name}: use {option}{kind}/{}", word(name)),
        );
    }
    let hint = match listed {
        Ok(Ok(list)) => {
            let names = list.items.iter().filter_map(|item| item.metadata.name.as_deref());
            let nearest = near::nearest(&name.name, names);
            match nearest.is_empty() {
                true => format!(
                    "choose another namespace with --namespace: this one has no {resource}, as `kubectl -n {} get \
                     {resource}` shows",
                    word(&access.namespace)
                ),
                false => format!("use one of the {resource} there: {}", nearest.join(", ")),
            }
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            format!(
                "name a workload of another type: this cluster has no {resource}.{}",
                name.kind.group()
            )
        }
        _ => format!(
            "`kubectl -n {} get {resource}` lists those that are there",
            word(&access.namespace)
        ),
    };
    Failure::lasting(message, &hint)
}

/// Whether there is an object of that kind and name, as far as the user may know.
pub(in crate::cluster) async fn has(access: &Access, kind: WorkloadKind, name: &str) -> bool {
    match timeout(ANSWER_TIMEOUT, objects(access, kind).get_metadata_opt(name)).await {
        Ok(Ok(found)) => found.is_some(),
        Ok(Err(error)) => {
            log::debug!(
                "cannot look for {} {name}: {}",
                kind.singular(),
                innermost(&error)
            );
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{Answer, FakeApi};
    use serde_json::{Value, json};

    fn missing() -> Answer {
        Answer::refusal(
            404,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "not found", "reason": "NotFound", "code": 404 }),
        )
    }

    /// A namespace with these objects, by their resource and name.
    fn namespace(objects: &[(&'static str, &'static str, Value)]) -> FakeApi {
        let objects = objects.to_vec();
        FakeApi::new(move |path| {
            let path = path.split('?').next().unwrap();
            let words: Vec<_> = path.rsplit('/').collect();
            let found = objects
                .iter()
                .find(|(resource, name, _)| words[..2] == [*name, *resource]);
            if let Some((_, _, object)) = found {
                return Answer::object(object.clone());
            }
            let items: Vec<_> = objects
                .iter()
                .filter(|(resource, ..)| words[0] == *resource)
                .map(|(_, name, _)| {
                    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": { "name": name } })
                })
                .collect();
            match words[1] == "default" {
                true => Answer::object(
                    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                    "metadata": {}, "items": items }),
                ),
                false => missing(),
            }
        })
    }

    fn deployment(name: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": {
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "app" }] },
                },
            },
        })
    }

    async fn sought(api: &FakeApi, name: &str) -> Result<Found, Failure> {
        find(&api.access(), &name.parse().unwrap(), "-t ").await
    }

    #[tokio::test]
    async fn workload_is_found_with_its_template_and_selector() {
        let found = sought(
            &namespace(&[("deployments", "web", deployment("web"))]),
            "deploy/web",
        )
        .await
        .unwrap();
        assert_eq!(found.template.labels["app"], "web");
        let Some(PodsOf::Selector(selector)) = found.pods else {
            panic!("{:?}", found.pods);
        };
        assert_eq!(selector.match_labels.unwrap()["app"], "web");
    }

    #[tokio::test]
    async fn rollout_that_refers_to_a_deployment_has_the_deployments_template() {
        let rollout = json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "r" },
            "spec": { "workloadRef": { "kind": "Deployment", "name": "web" } } });
        let api = namespace(&[
            ("rollouts", "r", rollout),
            ("deployments", "web", deployment("web")),
        ]);
        assert_eq!(
            sought(&api, "rollout/r").await.unwrap().template.labels["app"],
            "web"
        );
    }

    #[tokio::test]
    async fn missing_workload_is_named_with_the_near_names_of_its_type() {
        let api = namespace(&[
            ("deployments", "web", deployment("web")),
            ("deployments", "api", deployment("api")),
        ]);
        let failure = sought(&api, "deploy/wbe").await.unwrap_err();
        assert_eq!(failure.message, "there is no deployment wbe in namespace default");
        assert_eq!(
            failure.hint.unwrap(),
            "use one of the deployments there: web, api"
        );
    }

    #[tokio::test]
    async fn missing_workload_whose_name_another_type_has_names_that_type() {
        let statefulset =
            json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" } });
        let api = namespace(&[("statefulsets", "db", statefulset)]);
        let failure = sought(&api, "db").await.unwrap_err();
        assert_eq!(
            failure.hint.unwrap(),
            "there is a statefulset db: use -t statefulset/db"
        );
    }

    #[tokio::test]
    async fn namespace_without_workloads_of_the_type_is_named_in_the_hint() {
        let failure = sought(&namespace(&[]), "deploy/web").await.unwrap_err();
        let hint = failure.hint.unwrap();
        assert!(
            hint.contains("--namespace") && hint.contains("no deployments"),
            "{hint}"
        );
    }
}
