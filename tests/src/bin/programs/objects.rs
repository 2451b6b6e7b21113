//! The workload: a Deployment, and the ConfigMaps, Secrets and accounts that it uses.

use std::path::{Path, PathBuf};

use kinject_tests::cluster::SHELL_IMAGE;
use serde_json::{Value, json};

/// The Deployment, and the container whose place the session takes.
pub(crate) const APP: &str = "app";
/// The container that has this machine's programs.
pub(crate) const MACHINE: &str = "machine";
/// The emptyDir.
pub(crate) const SCRATCH: &str = "/scratch";

/// What the values in the ConfigMaps are before a program asks for their change, and after.
pub(crate) const VALUES: [&str; 2] = ["original", "changed"];

/// The key of a Secret and its certificate, in PEM, for servers of the programs' own.
#[derive(Debug)]
pub(crate) struct KeyPair {
    pub(crate) key: String,
    pub(crate) certificate: String,
}

/// The ConfigMaps, with one of [`VALUES`] in them.
pub(crate) fn config_maps(value: &str) -> Vec<Value> {
    let map = |name: &str, data: Value| {
        let metadata = json!({ "name": name });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
    };
    vec![
        map(
            "settings",
            json!({
                "greeting": format!("{value}\n"),
                "application.properties": format!("greeting={value}\nserver.port=8080\n"),
                "settings.json": "{ \"name\": \"grüße\" }\n",
                "gitconfig": "[user]\n\tname = Of the map\n\temail = map@example.com\n[init]\n\tdefaultBranch = main\n\
                              [safe]\n\tdirectory = *\n[protocol \"file\"]\n\tallow = always\n\
                              [advice]\n\tdetachedHead = false\n",
            }),
        ),
        map(
            "nginx",
            json!({ "nginx.conf": NGINX, "site.conf": SITE.replace("VALUE", value) }),
        ),
        map("google", json!({ "config.json": GOOGLE })),
    ]
}

const NGINX: &str = "pid /scratch/work/nginx.pid;
error_log /scratch/work/logs/error.log warn;
worker_processes 2;
user root;
events {}
http {
    include mime.types;
    access_log /scratch/work/logs/access.log;
    client_body_temp_path /scratch/work/body;
    proxy_temp_path /scratch/work/proxy;
    fastcgi_temp_path /scratch/work/fastcgi;
    uwsgi_temp_path /scratch/work/uwsgi;
    scgi_temp_path /scratch/work/scgi;
    sendfile on;
    open_file_cache max=10;
    include conf.d/*.conf;
}
";

const SITE: &str = "server {
    listen 127.0.0.1:18931;
    listen 127.0.0.1:18932 ssl;
    ssl_certificate /etc/secret/tls.crt;
    ssl_certificate_key /etc/secret/tls.key;
    root /srv/data/www;
    location /greeting { return 200 \"VALUE\"; }
    location = /large.txt { alias /srv/data/large.txt; }
    location /list/ { alias /srv/data/www/; autoindex on; }
}
";

/// A configuration of workload identity federation.
const GOOGLE: &str = r#"{
  "type": "external_account",
  "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster",
  "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
  "token_url": "https://localhost:18933/v1/token",
  "credential_source": { "file": "/var/run/secrets/tokens/gcp-ksa/token" }
}
"#;

/// Everything but the ConfigMaps. `data` is a folder of this machine that stands at `/srv/data`, `tools` are the paths
/// of this machine that programs need.
pub(crate) fn objects(namespace: &str, pair: &KeyPair, data: &Path, tools: &[PathBuf]) -> Vec<Value> {
    let metadata = json!({ "name": APP });
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pair" }, "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key } }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [
            { "apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list", "watch"] } ] }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": APP },
            "subjects": [{ "kind": "ServiceAccount", "name": APP, "namespace": namespace }] }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "selector": { "matchLabels": { "app": APP } },
            "template": { "metadata": { "labels": { "app": APP, "tier": "back-end" } }, "spec": pod(data, tools) },
        } }),
    ]
}

fn pod(data: &Path, tools: &[PathBuf]) -> Value {
    let name = |number: usize| format!("tool-{number}");
    let mut volumes = volumes(data);
    let mut mounts = mounts();
    let app = container(APP, &mounts);
    for (number, path) in tools.iter().enumerate() {
        let source = path.canonicalize().unwrap_or_else(|_| path.clone());
        volumes.push(json!({ "name": name(number), "hostPath": { "path": source } }));
        mounts.push(json!({ "name": name(number), "mountPath": path, "readOnly": true }));
    }
    json!({
        "serviceAccountName": APP,
        "terminationGracePeriodSeconds": 0,
        "containers": [app, container(MACHINE, &mounts)],
        "volumes": volumes,
    })
}

fn container(name: &str, mounts: &[Value]) -> Value {
    json!({
        "name": name, "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sleep", "2147483647"],
        "env": [
            { "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
            { "name": "AWS_REGION", "value": "eu-central-1" },
            { "name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/app" },
            { "name": "AWS_WEB_IDENTITY_TOKEN_FILE",
                "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token" },
            { "name": "AZURE_CLIENT_ID", "value": "11111111-1111-1111-1111-111111111111" },
            { "name": "AZURE_TENANT_ID", "value": "22222222-2222-2222-2222-222222222222" },
            { "name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/var/run/secrets/azure/tokens/azure-identity-token" },
            { "name": "AZURE_AUTHORITY_HOST", "value": "https://localhost:18934/" },
            { "name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/etc/workload-identity/config.json" },
            { "name": "GOOGLE_CLOUD_PROJECT", "value": "project" },
        ],
        "volumeMounts": mounts,
    })
}

fn mounts() -> Vec<Value> {
    vec![
        json!({ "name": "settings", "mountPath": "/etc/config" }),
        json!({ "name": "pair", "mountPath": "/etc/secret" }),
        json!({ "name": "site", "mountPath": "/etc/nginx/conf.d" }),
        json!({ "name": "nginx", "mountPath": "/etc/nginx/nginx.conf", "subPath": "nginx.conf" }),
        json!({ "name": "podinfo", "mountPath": "/etc/podinfo" }),
        json!({ "name": "data", "mountPath": "/srv/data", "readOnly": true }),
        json!({ "name": "scratch", "mountPath": SCRATCH }),
        json!({ "name": "aws", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount" }),
        json!({ "name": "azure", "mountPath": "/var/run/secrets/azure/tokens" }),
        json!({ "name": "google-token", "mountPath": "/var/run/secrets/tokens/gcp-ksa" }),
        json!({ "name": "google", "mountPath": "/etc/workload-identity" }),
    ]
}

fn volumes(data: &Path) -> Vec<Value> {
    let token = |name: &str, audience: &str, path: &str| {
        let source = json!({ "audience": audience, "expirationSeconds": 3600, "path": path });
        json!({ "name": name, "projected": { "sources": [{ "serviceAccountToken": source }] } })
    };
    vec![
        json!({ "name": "settings", "configMap": { "name": "settings" } }),
        json!({ "name": "pair", "secret": { "secretName": "pair", "defaultMode": 0o400 } }),
        json!({ "name": "site", "configMap": { "name": "nginx", "items": [
            { "key": "site.conf", "path": "site.conf" } ] } }),
        json!({ "name": "nginx", "configMap": { "name": "nginx" } }),
        json!({ "name": "podinfo", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels['tier']" } } ] } }),
        json!({ "name": "data", "hostPath": { "path": data, "type": "Directory" } }),
        json!({ "name": "scratch", "emptyDir": {} }),
        json!({ "name": "google", "configMap": { "name": "google" } }),
        token("aws", "sts.amazonaws.com", "token"),
        token("azure", "api://AzureADTokenExchange", "azure-identity-token"),
        token("google-token", "https://iam.googleapis.com/", "token"),
    ]
}
