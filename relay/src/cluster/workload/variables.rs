//! The variables of the workload's container, for the agent's own.
//!
//! They stay what the template says, for the kubelet to compute. Changed are those that speak of what the agent's pod
//! has otherwise: labels, annotations, the container's name.

use super::downward;
use super::resources::ResourcesInUse;
use super::template::PodTemplate;
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource};

/// The variables of the agent's container.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Variables {
    /// `env`.
    pub(super) env: Vec<EnvVar>,
    /// `envFrom`.
    pub(super) env_from: Vec<EnvFromSource>,
    /// The names of variables that the pod cannot have, and why.
    pub(super) left_out: Vec<String>,
}

/// The fields whose values differ from pod to pod.
const OF_ONE_POD: [&str; 4] = ["metadata.name", "metadata.uid", "status.podIP", "status.podIPs"];

impl Variables {
    /// Takes the variables of a container, and notes the resources that they refer to.
    pub(super) fn of(container: &Container, template: &PodTemplate, resources: &mut ResourcesInUse) -> Self {
        let mut variables = Self {
            env_from: container.env_from.clone().unwrap_or_default(),
            ..Self::default()
        };
        for variable in container.env.iter().flatten() {
            let name = &variable.name;
            match source_in_agent(variable, template, resources) {
                Ok(variable) => variables.env.push(variable),
                Err(why) => variables.left_out.push(format!("the variable {name}: {why}")),
            }
        }
        variables
    }

    /// Whether an expression with `$(NAME)` gives another value in each pod.
    pub(super) fn differs_between_pods(&self, expression: &str) -> bool {
        differs_between_pods(expression, &self.env)
    }
}

/// The same with these variables. One may refer to those before it.
fn differs_between_pods(expression: &str, env: &[EnvVar]) -> bool {
    env.iter().enumerate().any(|(position, variable)| {
        let source = variable.value_from.as_ref();
        let field = source.and_then(|source| source.field_ref.as_ref());
        let is_of_one_pod = || field.is_some_and(|field| OF_ONE_POD.contains(&field.field_path.as_str()));
        let value = variable.value.as_deref().unwrap_or_default();
        expression.contains(&format!("$({})", variable.name))
            && (is_of_one_pod() || differs_between_pods(value, &env[..position]))
    })
}

/// A variable as the agent's container has it.
fn source_in_agent(
    variable: &EnvVar,
    template: &PodTemplate,
    resources: &mut ResourcesInUse,
) -> Result<EnvVar, String> {
    let mut variable = variable.clone();
    let Some(source) = &mut variable.value_from else {
        return Ok(variable);
    };
    if source.file_key_ref.is_some() {
        return Err("an init container writes the file that it comes from".to_owned());
    }
    if let Some(field) = &mut source.resource_field_ref {
        resources.refer(field)?;
    }
    let field_path = source.field_ref.as_ref().map(|field| &field.field_path);
    if let Some(value) = field_path.and_then(|path| downward::variable(path, template)) {
        variable.value = Some(value);
        variable.value_from = None::<EnvVarSource>;
    }
    Ok(variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(env: Value) -> Container {
        serde_json::from_value(json!({ "name": "app", "env": env, "envFrom": [
            { "prefix": "P_", "configMapRef": { "name": "config", "optional": true } },
            { "secretRef": { "name": "secret" } },
        ] }))
        .unwrap()
    }

    fn variables(env: Value) -> Variables {
        let template = PodTemplate {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..PodTemplate::default()
        };
        let container = container(env);
        Variables::of(&container, &template, &mut ResourcesInUse::of(&container))
    }

    #[test]
    fn variables_are_left_to_the_kubelet_in_their_order() {
        let env = json!([
            { "name": "A", "value": "$(B)" },
            { "name": "B", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k", "optional": true } } },
            { "name": "C", "valueFrom": { "configMapKeyRef": { "name": "c", "key": "k" } } },
            { "name": "D", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } },
        ]);
        let taken = variables(env.clone());
        assert_eq!(taken.env, container(env).env.unwrap());
        assert_eq!(taken.env_from, container(json!([])).env_from.unwrap());
        assert_eq!(taken.left_out, Vec::<String>::new());
    }

    #[test]
    fn variable_of_a_label_becomes_the_templates_value() {
        let env = json!([{ "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } }]);
        let taken = variables(env);
        assert_eq!(taken.env[0].value.as_deref(), Some("web"));
        assert_eq!(taken.env[0].value_from, None);
    }

    #[test]
    fn variable_of_a_file_or_of_another_containers_resources_is_left_out_with_the_reason() {
        let taken = variables(json!([
            { "name": "F", "valueFrom": { "fileKeyRef": { "volumeName": "v", "path": "p", "key": "k" } } },
            { "name": "R", "valueFrom": { "resourceFieldRef":
                { "containerName": "proxy", "resource": "limits.cpu" } } },
        ]));
        assert_eq!(taken.env, []);
        let [file, resource] = &taken.left_out[..] else {
            panic!("{:?}", taken.left_out);
        };
        assert!(
            file.contains("the variable F") && file.contains("init container"),
            "{file}"
        );
        assert!(
            resource.contains("the variable R") && resource.contains("proxy"),
            "{resource}"
        );
    }

    #[test]
    fn expression_differs_between_pods_if_it_comes_from_the_pods_name() {
        let taken = variables(json!([
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "PLACE", "value": "data/$(POD)" },
            { "name": "FIXED", "value": "data" },
        ]));
        for (expression, differs) in [
            ("$(POD)", true),
            ("x/$(PLACE)/y", true),
            ("$(FIXED)", false),
            ("POD", false),
        ] {
            assert_eq!(taken.differs_between_pods(expression), differs, "{expression}");
        }
    }
}
