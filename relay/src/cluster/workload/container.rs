//! Chooses the container of a workload that a session's programs stand in for.
//!
//! Side-cars are recognized by the names that their injectors give them, container by container. Init containers, among
//! them side-cars with `restartPolicy: Always`, are no candidates: the program that a user works on is none.

use super::near;
use super::template::PodTemplate;
use crate::report::Failure;
use k8s_openapi::api::core::v1::Container;
use kinject_escape::word;
use kinject_protocol::workload::WorkloadName;

/// The annotation by which kubectl chooses a container.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The names of containers that injectors and operators add to pods.
const SIDECARS: [&str; 24] = [
    "aws-guardduty-agent",
    "cloud-sql-proxy",
    "cloudsql-proxy",
    "config-reloader",
    "consul-connect-envoy-sidecar",
    "consul-dataplane",
    "daprd",
    "datadog-agent",
    "envoy",
    "envoy-sidecar",
    "filebeat",
    "fluent-bit",
    "fluentd",
    "istio-proxy",
    "jaeger-agent",
    "kuma-sidecar",
    "linkerd-proxy",
    "oauth2-proxy",
    "opentelemetry-auto-instrumentation",
    "otc-container",
    "queue-proxy",
    "tailscale",
    "vault-agent",
    "xray-daemon",
];

/// The container, and why it was chosen.
#[derive(Debug)]
pub(super) struct Choice {
    /// The container.
    pub(super) container: Container,
    /// Why, for the log.
    pub(super) reason: String,
}

/// Chooses the container that the user names, otherwise the workload's main one.
pub(super) fn choose(
    workload: &WorkloadName,
    template: &PodTemplate,
    requested: Option<&str>,
) -> Result<Choice, Failure> {
    let containers = &template.spec.containers;
    let named = |name: &str| containers.iter().find(|container| container.name == name);
    let choice = |container: &Container, reason: String| Choice {
        container: container.clone(),
        reason,
    };
    if let Some(name) = requested {
        return match named(name) {
            Some(container) => Ok(choice(container, "--container names it".to_owned())),
            None => Err(not_there(workload, template, name)),
        };
    }
    let default = template.annotations.get(DEFAULT_CONTAINER);
    if let Some(container) = default.and_then(|name| named(name)) {
        let reason = format!("the annotation {DEFAULT_CONTAINER} names it");
        return Ok(choice(container, reason));
    }
    let is_sidecar = |container: &&Container| SIDECARS.contains(&container.name.as_str());
    let main = containers.iter().find(|container| !is_sidecar(container));
    match (main, containers.first()) {
        (Some(container), _) => {
            let reason = match containers.len() {
                1 => "it is the only one".to_owned(),
                _ => "it is the first that is no known side-car".to_owned(),
            };
            Ok(choice(container, reason))
        }
        (None, Some(container)) => Ok(choice(
            container,
            "all are known side-cars: it is the first".to_owned(),
        )),
        (None, None) => Err(Failure::lasting(
            format!("{workload} has no container"),
            "name another workload with --target",
        )),
    }
}

fn not_there(workload: &WorkloadName, template: &PodTemplate, name: &str) -> Failure {
    let spec = &template.spec;
    let names = spec.containers.iter().map(|container| container.name.as_str());
    let nearest = near::nearest(name, names);
    let hint = match nearest.first() {
        Some(first) => format!(
            "use -c {}: its containers are {}",
            word(first),
            nearest.join(", ")
        ),
        None => "name another workload with --target".to_owned(),
    };
    let mut init = spec.init_containers.iter().flatten();
    let message = match init.any(|container| container.name == name) {
        true => {
            format!("container {name} of {workload} is an init container, in whose place no program can run")
        }
        false => format!("{workload} has no container {name}"),
    };
    Failure::lasting(message, &hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn template(spec: Value, annotations: &[(&str, &str)]) -> PodTemplate {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        PodTemplate {
            annotations: annotations.iter().map(owned).collect(),
            spec: serde_json::from_value(spec).unwrap(),
            ..PodTemplate::default()
        }
    }

    fn containers(names: &[&str]) -> Value {
        let containers: Value = names.iter().map(|name| json!({ "name": name })).collect();
        json!({ "containers": containers })
    }

    fn chosen(template: &PodTemplate, requested: Option<&str>) -> Result<String, Failure> {
        let workload = "deploy/web".parse().unwrap();
        choose(&workload, template, requested).map(|choice| choice.container.name)
    }

    #[test]
    fn requested_container_wins_over_annotation_and_order() {
        let template = template(containers(&["a", "b", "c"]), &[(DEFAULT_CONTAINER, "b")]);
        assert_eq!(chosen(&template, Some("c")).unwrap(), "c");
        assert_eq!(chosen(&template, None).unwrap(), "b");
    }

    #[test]
    fn annotation_that_names_no_container_is_ignored() {
        let template = template(containers(&["a", "b"]), &[(DEFAULT_CONTAINER, "gone")]);
        assert_eq!(chosen(&template, None).unwrap(), "a");
    }

    #[test]
    fn first_container_that_is_no_known_sidecar_is_chosen() {
        for sidecar in [
            "istio-proxy",
            "linkerd-proxy",
            "kuma-sidecar",
            "vault-agent",
            "queue-proxy",
        ] {
            let template = template(containers(&[sidecar, "app", "other"]), &[]);
            assert_eq!(chosen(&template, None).unwrap(), "app", "{sidecar}");
        }
        let only_sidecars = template(containers(&["istio-proxy", "vault-agent"]), &[]);
        assert_eq!(chosen(&only_sidecars, None).unwrap(), "istio-proxy");
    }

    #[test]
    fn container_that_is_not_there_is_refused_with_the_names_of_all_nearest_first() {
        let template = template(containers(&["proxy", "app"]), &[]);
        let failure = chosen(&template, Some("ap")).unwrap_err();
        assert_eq!(failure.message, "deployment/web has no container ap");
        assert_eq!(failure.hint.unwrap(), "use -c app: its containers are app, proxy");
    }

    #[test]
    fn init_container_is_refused_as_one() {
        let mut spec = containers(&["app"]);
        spec["initContainers"] = json!([{ "name": "sidecar", "restartPolicy": "Always" }]);
        let failure = chosen(&template(spec, &[]), Some("sidecar")).unwrap_err();
        assert!(
            failure.message.contains("is an init container"),
            "{}",
            failure.message
        );
    }
}
