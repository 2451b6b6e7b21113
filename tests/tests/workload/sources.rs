//! A workload whose container gets variables and files from every source there is.

use serde_json::{Value, json};

/// The name of the Deployment and of its container.
pub(crate) const APP: &str = "app";

/// How many variables come from one ConfigMap.
pub(crate) const MANY: usize = 200;

/// Values that are hard to carry.
const VALUES: [(&str, &str); 6] = [
    ("NEWLINES", "one\ntwo\n"),
    ("QUOTES", "'single' \"double\" `back`"),
    ("EQUALS", "a=b=c"),
    ("UTF8", "grüße, 日本 🦀"),
    ("DOLLARS", "$$(UTF8) $HOME \\n"),
    ("EMPTY", ""),
];

/// The objects that the Deployment refers to.
pub(crate) fn sources() -> Vec<Value> {
    let many: serde_json::Map<_, _> = (0..MANY)
        .map(|number| (format!("MANY_{number}"), json!(format!("value {number}"))))
        .collect();
    let values: serde_json::Map<_, _> = VALUES
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    vec![
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "values" }, "data": values }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "many" }, "immutable": true,
            "data": many }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "config" },
            "data": { "app.yaml": "port: 80\n", "key": "of the map" },
            "binaryData": { "bytes": "AAECAwT//g==" } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
            "stringData": { "password": "hunter2", "tls.key": "a key\n" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "app" } }),
    ]
}

/// The Deployment, in that image: the side-car comes first.
pub(crate) fn deployment(image: &str) -> Value {
    let labels = json!({ "app": APP, "tier": "back-end" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": APP },
        "spec": {
            "selector": { "matchLabels": { "app": APP } },
            "template": {
                "metadata": { "labels": labels, "annotations": { "note": "one\n\"two\" é\t\\" } },
                "spec": pod_spec(image),
            },
        },
    })
}

fn pod_spec(image: &str) -> Value {
    json!({
        "serviceAccountName": "app",
        "terminationGracePeriodSeconds": 0,
        "securityContext": { "runAsNonRoot": true, "fsGroup": 4321, "seccompProfile": { "type": "RuntimeDefault" } },
        "hostAliases": [{ "ip": "10.99.99.99", "hostnames": ["legacy", "legacy.example"] }],
        "containers": [
            { "name": "istio-proxy", "image": image, "imagePullPolicy": "Never", "securityContext": restricted(),
                "env": [{ "name": "OF_THE_PROXY", "value": "1" }] },
            container(image),
        ],
        "volumes": volumes(),
    })
}

fn restricted() -> Value {
    json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } })
}

fn container(image: &str) -> Value {
    json!({
        "name": APP, "image": image, "imagePullPolicy": "Never", "securityContext": restricted(),
        "resources": { "limits": { "memory": "64Mi", "cpu": "100m" }, "requests": { "memory": "32Mi", "cpu": "10m" } },
        "envFrom": [
            { "configMapRef": { "name": "values" } },
            { "configMapRef": { "name": "many" } },
            { "prefix": "PREFIX_", "configMapRef": { "name": "config" } },
            { "configMapRef": { "name": "gone", "optional": true } },
            { "secretRef": { "name": "secret" } },
        ],
        "env": [
            { "name": "OVERRIDDEN", "value": "of the template" },
            { "name": "EXPANDED", "value": "$(OVERRIDDEN), $$(OVERRIDDEN), $(GONE), $(EQUALS)" },
            { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "password" } } },
            { "name": "OPTIONAL", "valueFrom": { "configMapKeyRef":
                { "name": "config", "key": "gone", "optional": true } } },
            { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            { "name": "ACCOUNT", "valueFrom": { "fieldRef": { "fieldPath": "spec.serviceAccountName" } } },
            { "name": "TIER", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['tier']" } } },
            { "name": "NOTE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.annotations['note']" } } },
            { "name": "MEMORY", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory" } } },
            { "name": "CPU", "valueFrom": { "resourceFieldRef": { "containerName": APP, "resource": "requests.cpu",
                "divisor": "1m" } } },
        ],
        "volumeMounts": mounts(),
    })
}

/// The paths of the mounts that hold the same files in each pod.
pub(crate) const MIRRORED: [&str; 6] = [
    "/etc/config",
    "/etc/items",
    "/etc/one.yaml",
    "/etc/secret",
    "/etc/all",
    "/etc/podinfo",
];

fn mounts() -> Value {
    json!([
        { "name": "config", "mountPath": "/etc/config" },
        { "name": "items", "mountPath": "/etc/items" },
        { "name": "config", "mountPath": "/etc/one.yaml", "subPath": "app.yaml" },
        { "name": "secret", "mountPath": "/etc/secret", "readOnly": true },
        { "name": "all", "mountPath": "/etc/all" },
        { "name": "podinfo", "mountPath": "/etc/podinfo" },
        { "name": "cache", "mountPath": "/cache" },
    ])
}

fn volumes() -> Value {
    json!([
        { "name": "config", "configMap": { "name": "config" } },
        { "name": "items", "configMap": { "name": "config", "defaultMode": 0o440, "items": [
            { "key": "app.yaml", "path": "deep/er/app.yaml", "mode": 0o444 }, { "key": "key", "path": "key" },
        ] } },
        { "name": "secret", "secret": { "secretName": "secret", "defaultMode": 0o400 } },
        { "name": "all", "projected": { "sources": [
            { "configMap": { "name": "config", "items": [{ "key": "key", "path": "map/key" }] } },
            { "secret": { "name": "secret" } },
            { "configMap": { "name": "gone", "optional": true } },
            { "downwardAPI": { "items": [
                { "path": "tier", "fieldRef": { "fieldPath": "metadata.labels['tier']" } },
            ] } },
        ] } },
        { "name": "podinfo", "downwardAPI": { "items": [
            { "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } },
            { "path": "note", "fieldRef": { "fieldPath": "metadata.annotations['note']" } },
            { "path": "memory", "resourceFieldRef": { "containerName": APP, "resource": "limits.memory" } },
        ] } },
        { "name": "cache", "emptyDir": {} },
    ])
}
