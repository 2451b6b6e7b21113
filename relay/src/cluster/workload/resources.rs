//! The resources that variables and files of the workload's container refer to (`resourceFieldRef`).
//!
//! The kubelet computes them from the agent's own container, so that container gets the limits and requests that
//! something refers to. All others are the agent's own: it needs less than a workload, and no device.

use crate::cluster::manifest::AGENT_CONTAINER;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector, ResourceRequirements};
use std::collections::BTreeSet;

/// The resources of a container that something refers to.
#[derive(Debug)]
pub(super) struct ResourcesInUse {
    container: String,
    resources: ResourceRequirements,
    /// Such as `memory`.
    names: BTreeSet<String>,
}

impl ResourcesInUse {
    /// Those of that container, to none of which anything refers yet.
    pub(super) fn of(container: &Container) -> Self {
        Self {
            container: container.name.clone(),
            resources: container.resources.clone().unwrap_or_default(),
            names: BTreeSet::new(),
        }
    }

    /// Makes a reference one to the agent's container. Another container is not in the agent's pod.
    pub(super) fn refer(&mut self, field: &mut ResourceFieldSelector) -> Result<(), String> {
        if let Some(name) = &mut field.container_name
            && !name.is_empty()
        {
            if *name != self.container {
                return Err(format!(
                    "it is of the container {name}, which the agent's pod has not"
                ));
            }
            AGENT_CONTAINER.clone_into(name);
        }
        // limits.memory
        if let Some((_, name)) = field.resource.split_once('.') {
            self.names.insert(name.to_owned());
        }
        Ok(())
    }

    /// Gives the agent's container the limits and requests that something refers to.
    pub(super) fn apply_to(&self, agent: &mut ResourceRequirements) {
        for name in &self.names {
            let of = |map: &Option<std::collections::BTreeMap<String, _>>| map.as_ref()?.get(name).cloned();
            let limit = of(&self.resources.limits);
            let request = of(&self.resources.requests);
            let requests = agent.requests.get_or_insert_default();
            match (request, &limit) {
                (Some(request), _) => drop(requests.insert(name.clone(), request)),
                // the limit is the request then
                (None, Some(_)) => drop(requests.remove(name)),
                (None, None) => {}
            }
            if let Some(limit) = limit {
                agent.limits.get_or_insert_default().insert(name.clone(), limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn in_use(references: &[(&str, &str)]) -> (ResourcesInUse, Vec<Result<(), String>>) {
        let container: Container = serde_json::from_value(json!({
            "name": "app",
            "resources": {
                "limits": { "memory": "64Mi", "cpu": "2", "nvidia.com/gpu": "1" },
                "requests": { "memory": "32Mi" },
            },
        }))
        .unwrap();
        let mut resources = ResourcesInUse::of(&container);
        let referred = references.iter().map(|(container, resource)| {
            let mut field = ResourceFieldSelector {
                container_name: Some((*container).to_owned()),
                resource: (*resource).to_owned(),
                divisor: None,
            };
            let referred = resources.refer(&mut field);
            if referred.is_ok() {
                let name = field.container_name.unwrap();
                assert!(name.is_empty() || name == AGENT_CONTAINER, "{name}");
            }
            referred
        });
        let referred = referred.collect();
        (resources, referred)
    }

    fn agent() -> ResourceRequirements {
        serde_json::from_value(json!({ "requests": { "cpu": "10m", "memory": "16Mi" } })).unwrap()
    }

    #[test]
    fn only_resources_that_something_refers_to_are_taken() {
        let mut untouched = agent();
        in_use(&[]).0.apply_to(&mut untouched);
        assert_eq!(untouched, agent());
        let mut with_memory = agent();
        in_use(&[("app", "limits.memory")]).0.apply_to(&mut with_memory);
        assert_eq!(
            serde_json::to_value(with_memory).unwrap(),
            json!({ "limits": { "memory": "64Mi" }, "requests": { "cpu": "10m", "memory": "32Mi" } })
        );
    }

    #[test]
    fn request_of_a_resource_that_the_workload_only_limits_is_the_limit() {
        let mut with_cpu = agent();
        in_use(&[("", "requests.cpu")]).0.apply_to(&mut with_cpu);
        assert_eq!(
            serde_json::to_value(with_cpu).unwrap(),
            json!({ "limits": { "cpu": "2" }, "requests": { "memory": "16Mi" } })
        );
    }

    #[test]
    fn reference_to_another_container_is_refused_by_its_name() {
        let (_, referred) = in_use(&[("proxy", "limits.cpu")]);
        assert!(referred[0].as_ref().unwrap_err().contains("proxy"));
    }
}
