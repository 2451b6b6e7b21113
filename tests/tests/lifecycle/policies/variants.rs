//! Objects that the admission policies refuse: the Job and the Secret of an agent, each with one change.

use kinject_tests::cluster::SHELL_IMAGE;
use serde_json::{Value, json};

use super::{again, with};

/// Jobs that differ from an agent's, each with a description of the difference.
pub(super) fn of_the_job(job: &Value) -> Vec<(&'static str, Value)> {
    let all = [
        of_the_job_itself(),
        of_the_metadata(),
        of_the_pod(),
        of_the_volume(),
        of_the_container(),
        of_the_image(),
    ]
    .concat();
    let mut variants: Vec<_> = all
        .into_iter()
        .map(|(what, pointer, value)| (what, with(job, pointer, value)))
        .collect();
    let own_selector = json!({"matchLabels": {"app.kubernetes.io/managed-by": "kinject"}});
    let own_selector = with(job, "/spec/selector", own_selector);
    variants.push((
        "a selector of its own",
        with(&own_selector, "/spec/manualSelector", json!(true)),
    ));
    let instance = |job: &Value, metadata: &str| {
        let pointer = format!("{metadata}/labels/app.kubernetes.io~1instance");
        with(job, &pointer, json!("payments"))
    };
    let chosen = again(job.clone(), "kinject-agent-payments");
    let chosen = instance(&instance(&chosen, "/metadata"), "/spec/template/metadata");
    variants.push(("a session of a chosen name", chosen));
    variants
}

/// Secrets that differ from an agent's, each with a description of the difference.
pub(super) fn of_the_secret(secret: &Value, name: &str) -> Vec<(&'static str, Value)> {
    let cases = [
        ("a Secret without labels", "/metadata/labels", json!({})),
        ("a Secret of nobody's", "/metadata/ownerReferences", json!([])),
        (
            "a Secret of a pod's",
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "0"}]),
        ),
        ("a Secret that can be changed", "/immutable", json!(false)),
        (
            "a Secret of another name",
            "/metadata/name",
            json!("registry-login"),
        ),
        ("a Secret with more in it", "/data/more", json!("YQ==")),
        ("a Secret of another type", "/type", json!("example.com/other")),
        (
            "a Secret with a label for others",
            "/metadata/labels/argocd.argoproj.io~1secret-type",
            json!("cluster"),
        ),
        (
            "a Secret with an annotation for others",
            "/metadata/annotations",
            json!({"example.com/copy-to": "everywhere"}),
        ),
    ];
    cases
        .into_iter()
        .map(|(what, pointer, value)| (what, with(secret, pointer, value)))
        .collect()
}

/// A change to an agent's Job: its description, a JSON pointer, and the value there.
type Variant = (&'static str, &'static str, Value);

/// Fields of a Job besides its pod.
fn of_the_job_itself() -> Vec<Variant> {
    vec![
        ("many pods", "/spec/parallelism", json!(2)),
        ("a Job that stays", "/spec/ttlSecondsAfterFinished", json!(86_400)),
        ("another controller", "/spec/managedBy", json!("example.com/own")),
    ]
}

/// Mounts of the Secret at another path than that of the agent's keys, for example over the image's entry point.
fn of_the_volume() -> Vec<Variant> {
    const MOUNT: &str = "/spec/template/spec/containers/0/volumeMounts";
    let over_the_program = json!([{
        "name": "identity", "mountPath": "/kinject-agent", "subPath": "identity", "readOnly": true,
    }]);
    let elsewhere = json!([{ "name": "identity", "mountPath": "/usr/bin", "readOnly": true }]);
    let part = json!([{
        "name": "identity", "mountPath": "/run/kinject", "subPath": "identity", "readOnly": true,
    }]);
    let computed_part = json!([{
        "name": "identity", "mountPath": "/run/kinject", "subPathExpr": "identity", "readOnly": true,
    }]);
    let writable = json!([{ "name": "identity", "mountPath": "/run/kinject" }]);
    let twice = json!({ "name": "identity", "mountPath": "/usr/bin", "readOnly": true });
    vec![
        (
            "a folder of the node",
            "/spec/template/spec/volumes/-",
            json!({"name": "node", "hostPath": {"path": "/"}}),
        ),
        (
            "one more Secret",
            "/spec/template/spec/volumes/-",
            json!({"name": "stolen", "secret": {"secretName": "somebody-elses"}}),
        ),
        (
            "somebody else's Secret",
            "/spec/template/spec/volumes/0/secret/secretName",
            json!("somebody-elses"),
        ),
        ("the Secret over the program", MOUNT, over_the_program),
        ("the Secret elsewhere", MOUNT, elsewhere),
        ("a part of the Secret", MOUNT, part),
        ("a computed part of the Secret", MOUNT, computed_part),
        ("a mount to be written", MOUNT, writable),
        (
            "another mount",
            "/spec/template/spec/containers/0/volumeMounts/-",
            twice,
        ),
        (
            "a Secret that can be executed",
            "/spec/template/spec/volumes/0/secret/defaultMode",
            json!(0o555),
        ),
        (
            "another file of the Secret",
            "/spec/template/spec/volumes/0/secret/items",
            json!([{ "key": "identity", "path": "libc.so", "mode": 0o555 }]),
        ),
        (
            "a Secret that may be missing",
            "/spec/template/spec/volumes/0/secret/optional",
            json!(true),
        ),
        (
            "the Secret in a projection",
            "/spec/template/spec/volumes",
            json!([{ "name": "identity", "projected": { "sources": [{ "secret": { "name": "somebody-elses" } }] } }]),
        ),
        (
            "no Secret",
            "/spec/template/spec/volumes",
            json!([{ "name": "identity", "emptyDir": {} }]),
        ),
    ]
}

/// Labels by which a Service or a controller would take the pod for its own, and annotations by which webhooks would
/// change it.
fn of_the_metadata() -> Vec<Variant> {
    let injected = json!({ "linkerd.io/inject": "enabled" });
    vec![
        (
            "no label of kinject",
            "/metadata/labels",
            json!({"app.kubernetes.io/instance": "0"}),
        ),
        (
            "a pod without labels",
            "/spec/template/metadata/labels",
            json!({}),
        ),
        (
            "another session",
            "/metadata/labels/app.kubernetes.io~1instance",
            json!("other"),
        ),
        ("another name", "/metadata/name", json!("web")),
        (
            "a label of a Service's on the pod",
            "/spec/template/metadata/labels/app",
            json!("payments"),
        ),
        (
            "a label of others on the Job",
            "/metadata/labels/kueue.x-k8s.io~1queue-name",
            json!("first"),
        ),
        (
            "a sidecar",
            "/spec/template/metadata/labels/sidecar.istio.io~1inject",
            json!("true"),
        ),
        (
            "a sidecar by annotation",
            "/spec/template/metadata/annotations",
            injected.clone(),
        ),
        ("another annotation of the Job", "/metadata/annotations", injected),
        (
            "one more annotation on the pod",
            "/spec/template/metadata/annotations/vault.hashicorp.com~1agent-inject",
            json!("true"),
        ),
        (
            "one more annotation on the Job",
            "/metadata/annotations/example.com~1a",
            json!("b"),
        ),
        (
            "no annotation on the pod",
            "/spec/template/metadata/annotations",
            json!({}),
        ),
        (
            "a pod that stays",
            "/spec/template/metadata/finalizers",
            json!(["example.com/never"]),
        ),
    ]
}

/// Fields of a pod besides its container.
fn of_the_pod() -> Vec<Variant> {
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "Exists" }] }],
    } } });
    let spread = json!([{ "maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway" }]);
    let claims = json!([{ "name": "a", "resourceClaimName": "a" }]);
    vec![
        (
            "maybe root",
            "/spec/template/spec/securityContext/runAsNonRoot",
            json!(false),
        ),
        (
            "another container",
            "/spec/template/spec/containers/-",
            json!({"name": "b", "image": "kinject-agent:1"}),
        ),
        (
            "an init container",
            "/spec/template/spec/initContainers",
            json!([{"name": "b", "image": "kinject-agent:1"}]),
        ),
        (
            "the node's network",
            "/spec/template/spec/hostNetwork",
            json!(true),
        ),
        ("the node's processes", "/spec/template/spec/hostPID", json!(true)),
        (
            "a token",
            "/spec/template/spec/automountServiceAccountToken",
            json!(true),
        ),
        (
            "an account",
            "/spec/template/spec/serviceAccountName",
            json!("deployer"),
        ),
        ("a node", "/spec/template/spec/nodeName", json!("control-plane")),
        ("nodes", "/spec/template/spec/nodeSelector", json!({ "a": "b" })),
        ("nodes by affinity", "/spec/template/spec/affinity", affinity),
        (
            "tainted nodes",
            "/spec/template/spec/tolerations",
            json!([{ "operator": "Exists" }]),
        ),
        (
            "a spread",
            "/spec/template/spec/topologySpreadConstraints",
            spread,
        ),
        (
            "a scheduler",
            "/spec/template/spec/schedulerName",
            json!("another"),
        ),
        (
            "a priority",
            "/spec/template/spec/priorityClassName",
            json!("system-node-critical"),
        ),
        (
            "a runtime",
            "/spec/template/spec/runtimeClassName",
            json!("another"),
        ),
        (
            "names of hosts",
            "/spec/template/spec/hostAliases",
            json!([{ "ip": "192.0.2.1", "hostnames": ["a"] }]),
        ),
        (
            "a name server",
            "/spec/template/spec/dnsConfig",
            json!({ "nameservers": ["192.0.2.1"] }),
        ),
        (
            "the node's name servers",
            "/spec/template/spec/dnsPolicy",
            json!("Default"),
        ),
        ("a device", "/spec/template/spec/resourceClaims", claims),
        ("a host name", "/spec/template/spec/hostname", json!("payments")),
        (
            "more groups",
            "/spec/template/spec/securityContext/supplementalGroups",
            json!([1000]),
        ),
        (
            "a pull secret",
            "/spec/template/spec/imagePullSecrets",
            json!([{ "name": "a" }]),
        ),
        (
            "pods that are tried again",
            "/spec/template/spec/restartPolicy",
            json!("OnFailure"),
        ),
    ]
}

/// Fields of the container.
fn of_the_container() -> Vec<Variant> {
    const ARGUMENTS: &str = "/spec/template/spec/containers/0/args";
    let identity = ["--identity", "/run/kinject/identity"];
    let forward = ["--listen-forward", "127.0.0.1:7801"];
    let listening = |on: &str| json!([&identity[..], &forward, &["--listen-proxy", on]].concat());
    vec![
        (
            "another command",
            "/spec/template/spec/containers/0/command",
            json!(["/bin/sh"]),
        ),
        (
            "an environment",
            "/spec/template/spec/containers/0/env",
            json!([{"name": "A", "value": "b"}]),
        ),
        (
            "an environment from a Secret",
            "/spec/template/spec/containers/0/envFrom",
            json!([{"secretRef": {"name": "somebody-elses"}}]),
        ),
        (
            "a hook",
            "/spec/template/spec/containers/0/lifecycle",
            json!({"postStart": {"exec": {"command": ["/kinject-agent"]}}}),
        ),
        (
            "privileges",
            "/spec/template/spec/containers/0/securityContext",
            json!({"privileged": true}),
        ),
        (
            "a capability",
            "/spec/template/spec/containers/0/securityContext/capabilities/add",
            json!(["NET_ADMIN"]),
        ),
        (
            "root",
            "/spec/template/spec/containers/0/securityContext/runAsUser",
            json!(0),
        ),
        ("no arguments", ARGUMENTS, json!([])),
        (
            "one more argument",
            "/spec/template/spec/containers/0/args/-",
            json!("--help"),
        ),
        ("another port", ARGUMENTS, listening("[::]:80")),
        (
            "port-forward's door on the pod's address",
            ARGUMENTS,
            json!([&identity[..], &["--listen-forward", "[::]:7801"]].concat()),
        ),
        (
            "another identity",
            ARGUMENTS,
            json!([&["--identity", "/proc/self/environ"], &forward[..]].concat()),
        ),
        (
            "a port of the node",
            "/spec/template/spec/containers/0/ports",
            json!([{ "containerPort": 7800, "hostPort": 7800 }]),
        ),
        (
            "the port of a Service",
            "/spec/template/spec/containers/0/ports",
            json!([{ "name": "http", "containerPort": 7800 }]),
        ),
        (
            "another folder",
            "/spec/template/spec/containers/0/workingDir",
            json!("/run/kinject"),
        ),
        (
            "a file of the node over the program",
            "/spec/template/spec/containers/0/terminationMessagePath",
            json!("/kinject-agent"),
        ),
        (
            "a lot of memory",
            "/spec/template/spec/containers/0/resources",
            json!({ "requests": { "memory": "16Gi" } }),
        ),
        (
            "other limits",
            "/spec/template/spec/containers/0/resources/limits",
            json!({ "cpu": "500m", "memory": "16Gi" }),
        ),
        (
            "a device",
            "/spec/template/spec/containers/0/resources/limits",
            json!({ "cpu": "500m", "memory": "512Mi", "example.com/device": "1" }),
        ),
    ]
}

/// Images that are not the agent's, though their names begin like it.
fn of_the_image() -> Vec<Variant> {
    const IMAGE: &str = "/spec/template/spec/containers/0/image";
    vec![
        ("another image", IMAGE, json!(SHELL_IMAGE)),
        (
            "an image whose name goes on",
            IMAGE,
            json!("kinject-agent-evil:1"),
        ),
        (
            "an image of a registry with the repository's name",
            IMAGE,
            json!("kinject-agent:5000/evil:1"),
        ),
    ]
}
