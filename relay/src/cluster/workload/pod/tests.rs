//! Field by field: what of a template is in the agent's pod, and what is not.

use super::*;
use crate::cluster::manifest::Manifest;
use crate::cluster::source;
use kinject_protocol::session::TransportChoice;
use serde_json::{Value, json};

/// A pod template in which every field has a value.
fn template() -> Value {
    json!({
        "serviceAccountName": "web",
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "hostAliases": [{ "ip": "10.0.0.9", "hostnames": ["legacy"] }],
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["10.0.0.10"] },
        "runtimeClassName": "gvisor",
        "priorityClassName": "high",
        "hostUsers": false,
        "setHostnameAsFQDN": true,
        "hostname": "web",
        "subdomain": "pods",
        "imagePullSecrets": [{ "name": "registry" }],
        "nodeSelector": { "pool": "big" },
        "tolerations": [{ "key": "gpu", "operator": "Exists" }],
        "securityContext": { "runAsUser": 1000, "fsGroup": 1002 },
        "volumes": [{ "name": "config", "configMap": { "name": "config" } }],
        "hostNetwork": null,
        "hostPID": true,
        "hostIPC": true,
        "shareProcessNamespace": true,
        "nodeName": "one",
        "schedulerName": "mine",
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 600,
        "activeDeadlineSeconds": 7,
        "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }],
        "readinessGates": [{ "conditionType": "gate" }],
        "schedulingGates": [{ "name": "gate" }],
        "initContainers": [{ "name": "init" }],
        "containers": [
            { "name": "proxy", "image": "proxy:1" },
            container(),
        ],
    })
}

/// The container of that template, in which every field has a value.
fn container() -> Value {
    json!({
        "name": "app",
        "image": "app:1",
        "imagePullPolicy": "Always",
        "command": ["serve"],
        "args": ["--fast"],
        "workingDir": "/app",
        "ports": [{ "containerPort": 80 }],
        "livenessProbe": { "tcpSocket": { "port": 80 } },
        "readinessProbe": { "tcpSocket": { "port": 80 } },
        "startupProbe": { "tcpSocket": { "port": 80 } },
        "lifecycle": { "preStop": { "exec": { "command": ["stop"] } } },
        "stdin": true,
        "tty": true,
        "env": [{ "name": "A", "value": "1" }],
        "envFrom": [{ "configMapRef": { "name": "config" } }],
        "resources": { "limits": { "cpu": "8", "nvidia.com/gpu": "1" } },
        "volumeMounts": [{ "name": "config", "mountPath": "/etc/config" }],
        "volumeDevices": [{ "name": "disk", "devicePath": "/dev/disk" }],
    })
}

fn part(spec: Value, with_files: bool) -> WorkloadPart {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let map = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        owned.collect()
    };
    let template = PodTemplate {
        labels: map(&[("app", "web"), ("azure.workload.identity/use", "true")]),
        annotations: map(&[
            ("vault.hashicorp.com/agent-inject", "true"),
            ("eks.amazonaws.com/audience", "x"),
        ]),
        spec,
    };
    let container = template.spec.containers.last().unwrap().clone();
    let workload = "deploy/web".parse().unwrap();
    WorkloadPart {
        pod: Rc::new(WorkloadPod::of(&workload, template, container, with_files)),
        user: User::Workload,
        nodes: Nodes::default(),
    }
}

fn job(part: WorkloadPart) -> Value {
    let manifest = Manifest {
        name: "kinject-agent-0",
        session: "0",
        container: source::Container::Image("app:1".to_owned()),
        workload: Some(part),
        transport: TransportChoice::Auto,
        with_limits: false,
        with_deadline: false,
    };
    serde_json::to_value(manifest.job().unwrap()).unwrap()
}

fn pod(part: WorkloadPart) -> Value {
    job(part)["spec"]["template"]["spec"].clone()
}

#[test]
fn fields_that_decide_about_environment_and_files_are_taken() {
    let template = template();
    let pod = pod(part(template.clone(), true));
    for field in [
        "serviceAccountName",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "hostAliases",
        "dnsPolicy",
        "dnsConfig",
        "runtimeClassName",
        "priorityClassName",
        "hostUsers",
        "hostname",
        "subdomain",
        "imagePullSecrets",
        "nodeSelector",
        "tolerations",
    ] {
        assert_eq!(pod[field], template[field], "{field}");
    }
    let (agent, app) = (&pod["containers"][0], &template["containers"][1]);
    for field in ["image", "env", "envFrom"] {
        assert_eq!(agent[field], app[field], "{field}");
    }
    assert_eq!(
        agent["volumeMounts"][1],
        json!({ "name": "config", "mountPath": "/etc/config", "readOnly": true })
    );
    assert_eq!(pod["volumes"][1], template["volumes"][0]);
    assert_eq!(
        (
            &pod["securityContext"]["runAsUser"],
            &pod["securityContext"]["fsGroup"]
        ),
        (&json!(1000), &json!(1002))
    );
}

#[test]
fn fields_that_make_it_a_pod_of_the_workload_are_not_taken() {
    let pod = pod(part(template(), true));
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "nodeName",
        "schedulerName",
        "activeDeadlineSeconds",
        "topologySpreadConstraints",
        "readinessGates",
        "schedulingGates",
        "initContainers",
        "affinity",
        "setHostnameAsFQDN",
    ] {
        assert_eq!(pod[field], Value::Null, "{field}");
    }
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    let agent = &pod["containers"][0];
    for field in [
        "command",
        "workingDir",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "stdin",
        "tty",
        "volumeDevices",
    ] {
        assert_eq!(agent[field], Value::Null, "{field}");
    }
    assert_eq!(agent["name"], "agent");
    assert_eq!(agent["imagePullPolicy"], "IfNotPresent");
    assert_eq!(agent["args"][0], "--identity");
    assert_eq!(agent["ports"][0]["containerPort"], 7800);
    assert_eq!(
        agent["resources"],
        json!({ "requests": { "cpu": "10m", "memory": "16Mi" } })
    );
}

#[test]
fn labels_and_annotations_are_the_agents_own_except_for_those_of_cloud_identities() {
    let job = job(part(template(), true));
    let metadata = &job["spec"]["template"]["metadata"];
    let (labels, annotations) = (&metadata["labels"], &metadata["annotations"]);
    assert_eq!(
        (&labels["app"], &labels["azure.workload.identity/use"]),
        (&Value::Null, &json!("true"))
    );
    assert_eq!(annotations["vault.hashicorp.com/agent-inject"], Value::Null);
    assert_eq!(annotations["eks.amazonaws.com/audience"], "x");
    let named = "deployment/web, container app";
    assert_eq!(
        (
            &annotations[WORKLOAD_ANNOTATION],
            &job["metadata"]["annotations"][WORKLOAD_ANNOTATION]
        ),
        (&json!(named), &json!(named))
    );
}

#[test]
fn agents_keys_are_readable_for_the_workloads_user_without_a_group_of_its_own() {
    let mut spec = template();
    spec["securityContext"] = json!({ "runAsUser": 1000 });
    let pod = pod(part(spec, true));
    assert_eq!(pod["volumes"][0]["secret"]["defaultMode"], 0o444);
    assert_eq!(pod["securityContext"]["fsGroup"], Value::Null);
}

#[test]
fn agents_own_user_keeps_the_workloads_groups() {
    let mut part = part(template(), true);
    part.user = User::Agent;
    let context = pod(part)["securityContext"].clone();
    assert_eq!(
        (&context["runAsUser"], &context["fsGroup"]),
        (&json!(65532), &json!(1002))
    );
}

#[test]
fn mounts_of_the_workload_at_the_agents_paths_move_the_agents_own() {
    let mut spec = template();
    let app = &mut spec["containers"][1];
    app["volumeMounts"] = json!([{ "name": "identity", "mountPath": "/kinject-identity" }]);
    spec["volumes"] = json!([{ "name": "identity", "secret": { "secretName": "theirs" } }]);
    let pod = pod(part(spec, true));
    let agent = &pod["containers"][0];
    assert_eq!(agent["args"][1], "/kinject-identity-1/identity");
    assert_eq!(
        agent["volumeMounts"],
        json!([
            { "name": "identity-1", "mountPath": "/kinject-identity-1", "readOnly": true },
            { "name": "identity", "mountPath": "/kinject-identity", "readOnly": true },
        ])
    );
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "kinject-agent-0");
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "theirs");
}

#[test]
fn pod_without_files_has_no_volume_of_the_workload_and_no_token() {
    let pod = pod(part(template(), false));
    assert_eq!(pod["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["containers"][0]["env"][0]["name"], "A");
}

#[test]
fn workload_in_the_nodes_network_leaves_its_agent_with_the_nodes_name_servers() {
    let mut spec = template();
    spec["hostNetwork"] = json!(true);
    for (policy, expected) in [
        ("ClusterFirst", "Default"),
        ("ClusterFirstWithHostNet", "ClusterFirstWithHostNet"),
    ] {
        spec["dnsPolicy"] = json!(policy);
        assert_eq!(pod(part(spec.clone(), true))["dnsPolicy"], expected, "{policy}");
    }
}
