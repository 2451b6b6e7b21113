//! `deploy/admission-policy.yaml` and `deploy/network-policy.yaml`: what kinject makes passes, and what else the holders
//! of its role could make does not.

use std::path::Path;

use kinject_tests::cluster::{Cluster, Kubeconfig, Rule, SHELL_IMAGE};
use kinject_tests::place::Place;
use kinject_tests::programs::shell;
use kinject_tests::running::run_within;
use kinject_tests::session::{Session, eventually};
use serde_json::{Value, json};

use crate::namespace::{Home, SECONDS};

/// A file of the folder `deploy`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap()
}

/// The admission policies under names of their own, which go with the value.
struct Policies {
    cluster: Cluster,
    manifest: String,
}

impl Policies {
    fn apply(home: &Home) -> Self {
        let manifest = ["jobs", "secrets"]
            .iter()
            .fold(deployed("admission-policy.yaml"), |text, kind| {
                text.replace(
                    &format!("kinject-agent-{kind}"),
                    &format!("{}-{kind}", home.name()),
                )
            });
        home.cluster.apply(&manifest).unwrap();
        let label = ["label", "namespace", home.name(), "kinject-only-agents=true"];
        home.cluster.kubectl(&label).unwrap();
        Self {
            cluster: home.cluster.clone(),
            manifest,
        }
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        let admin = self.cluster.kubeconfig();
        let removal = ["delete", "--ignore-not-found", "--filename", "-"];
        if let Err(error) = self.cluster.with_manifest(&admin, &removal, &self.manifest) {
            eprintln!("left behind: {error:#}");
        }
    }
}

/// A user with the role of `deploy/rbac.yaml` and nothing else.
fn user(home: &Home) -> Kubeconfig {
    let role = deployed("rbac.yaml");
    let apply = ["--namespace", home.name(), "apply", "--filename", "-"];
    let admin = home.cluster.kubeconfig();
    home.cluster.with_manifest(&admin, &apply, &role).unwrap();
    let account = format!("--serviceaccount={}:user", home.name());
    let binding = ["create", "rolebinding", "kinject", "--role=kinject", &account];
    for arguments in [&["create", "serviceaccount", "user"][..], &binding] {
        let arguments = [&["--namespace", home.name()], arguments].concat();
        home.cluster.kubectl(&arguments).unwrap();
    }
    home.cluster.service_account(home.name(), "user").unwrap()
}

/// What the API server says when that user creates the object, which it would not keep.
fn created(home: &Home, user: &Kubeconfig, object: &Value) -> Result<String, String> {
    let arguments = ["create", "--dry-run=server", "--filename", "-"];
    let said = home
        .cluster
        .with_manifest(&user.path(), &arguments, &object.to_string());
    said.map_err(|error| format!("{error:#}"))
}

/// An object that kinject made, as its user would have to send it to make another one of that name.
fn again(mut object: Value, name: &str) -> Value {
    let metadata = &object["metadata"];
    let kept = ["labels", "annotations", "ownerReferences"].map(|field| (field, metadata[field].clone()));
    let mut metadata: serde_json::Map<String, Value> = kept
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
    metadata.insert("name".to_owned(), json!(name));
    object["metadata"] = metadata.into();
    if object["kind"] == "Job" {
        let object = object.as_object_mut().unwrap();
        object.remove("status");
        object["spec"].as_object_mut().unwrap().remove("selector");
        let labels = object["spec"]["template"]["metadata"]["labels"]
            .as_object_mut()
            .unwrap();
        labels.retain(|label, _| !label.ends_with("controller-uid") && !label.ends_with("job-name"));
        object["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] = json!(name);
    } else {
        object["metadata"]["ownerReferences"][0]["name"] = json!(name);
    }
    object
}

/// The same object with another value at a place.
fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    match parent {
        Value::Array(items) => items.push(value),
        parent => parent[field.replace("~1", "/")] = value,
    }
    object
}

#[test]
fn under_the_admission_policy_the_roles_user_runs_sessions_and_makes_nothing_but_agents() {
    let Some(home) = Home::new() else { return };
    let user = user(&home);
    let flags = ["--kubeconfig".into(), user.path().into_os_string()];
    let _policies = Policies::apply(&home);
    let probe = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}});
    let job_probe = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
    });
    eventually("the policies are in force", SECONDS, || {
        [&probe, &job_probe]
            .iter()
            .all(|object| created(&home, &user, object).is_err_and(|said| said.contains("denied request")))
    });

    let session = Session::start(&Place::Cluster(home.cluster.clone()), &flags);
    let (job, secret) = (home.made("jobs").remove(0), home.made("secrets").remove(0));
    let name = format!("kinject-agent-{}-0", session.name());
    let (job, secret) = (again(job, &name), again(secret, &name));
    created(&home, &user, &job).unwrap();
    let by_digest = json!(format!("kinject-agent@sha256:{}", "0".repeat(64)));
    let by_digest = with(&job, "/spec/template/spec/containers/0/image", by_digest);
    created(&home, &user, &by_digest).unwrap();
    created(&home, &user, &without_the_proxys_door(&job)).unwrap();
    // where a quota demands them
    let limits = json!({"cpu": "500m", "memory": "512Mi"});
    let limited = "/spec/template/spec/containers/0/resources/limits";
    created(&home, &user, &with(&job, limited, limits)).unwrap();
    created(&home, &user, &secret).unwrap();

    let pod = "/spec/template/spec";
    let agent = format!("{pod}/containers/0");
    let secret_volume = json!({"name": "stolen", "secret": {"secretName": "somebody-elses"}});
    let cases = [
        ("another image", format!("{agent}/image"), json!(SHELL_IMAGE)),
        (
            "an image whose name goes on",
            format!("{agent}/image"),
            json!("kinject-agent-evil:1"),
        ),
        ("another command", format!("{agent}/command"), json!(["/bin/sh"])),
        (
            "an environment",
            format!("{agent}/env"),
            json!([{"name": "A", "value": "b"}]),
        ),
        (
            "an environment from a Secret",
            format!("{agent}/envFrom"),
            json!([{"secretRef": {"name": "somebody-elses"}}]),
        ),
        (
            "a hook",
            format!("{agent}/lifecycle"),
            json!({"postStart": {"exec": {"command": ["/kinject-agent"]}}}),
        ),
        (
            "privileges",
            format!("{agent}/securityContext"),
            json!({"privileged": true}),
        ),
        (
            "a capability",
            format!("{agent}/securityContext/capabilities/add"),
            json!(["NET_ADMIN"]),
        ),
        ("root", format!("{agent}/securityContext/runAsUser"), json!(0)),
        (
            "maybe root",
            format!("{pod}/securityContext/runAsNonRoot"),
            json!(false),
        ),
        (
            "another container",
            format!("{pod}/containers/-"),
            json!({"name": "b", "image": "kinject-agent:1"}),
        ),
        (
            "an init container",
            format!("{pod}/initContainers"),
            json!([{"name": "b", "image": "kinject-agent:1"}]),
        ),
        ("the node's network", format!("{pod}/hostNetwork"), json!(true)),
        ("the node's processes", format!("{pod}/hostPID"), json!(true)),
        (
            "a folder of the node",
            format!("{pod}/volumes/-"),
            json!({"name": "node", "hostPath": {"path": "/"}}),
        ),
        ("one more Secret", format!("{pod}/volumes/-"), secret_volume),
        (
            "somebody else's Secret",
            format!("{pod}/volumes/0/secret/secretName"),
            json!("somebody-elses"),
        ),
        (
            "a token",
            format!("{pod}/automountServiceAccountToken"),
            json!(true),
        ),
        (
            "an account",
            format!("{pod}/serviceAccountName"),
            json!("deployer"),
        ),
        ("a node", format!("{pod}/nodeName"), json!("control-plane")),
        (
            "no label of kinject",
            "/metadata/labels".to_owned(),
            json!({"app.kubernetes.io/instance": "0"}),
        ),
        (
            "a pod without labels",
            "/spec/template/metadata/labels".to_owned(),
            json!({}),
        ),
        (
            "another session",
            "/metadata/labels/app.kubernetes.io~1instance".to_owned(),
            json!("other"),
        ),
        ("another name", "/metadata/name".to_owned(), json!("web")),
        ("many pods", "/spec/parallelism".to_owned(), json!(2)),
        (
            "a Job that stays",
            "/spec/ttlSecondsAfterFinished".to_owned(),
            json!(86_400),
        ),
    ];
    let mut variants: Vec<_> = cases
        .into_iter()
        .map(|(what, place, value)| (what, with(&job, &place, value)))
        .collect();
    let more = [
        of_the_volume(),
        of_the_metadata(),
        of_the_pod(),
        of_the_container(),
    ]
    .concat();
    variants.extend(
        more.into_iter()
            .map(|(what, place, value)| (what, with(&job, place, value))),
    );
    let own_selector = json!({"matchLabels": {"app.kubernetes.io/managed-by": "kinject"}});
    let own_selector = with(&job, "/spec/selector", own_selector);
    variants.push((
        "a selector of its own",
        with(&own_selector, "/spec/manualSelector", json!(true)),
    ));
    let instance = |job: &Value, metadata: &str| {
        let place = format!("{metadata}/labels/app.kubernetes.io~1instance");
        with(job, &place, json!("payments"))
    };
    let chosen = again(job.clone(), "kinject-agent-payments");
    let chosen = instance(&instance(&chosen, "/metadata"), "/spec/template/metadata");
    variants.push(("a session of a chosen name", chosen));
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
    variants.extend(
        cases
            .into_iter()
            .map(|(what, place, value)| (what, with(&secret, place, value))),
    );
    let passed: Vec<_> = variants
        .iter()
        .filter_map(|(what, object)| Some(format!("{what}: {}", not_refused(&home, &user, object)?)))
        .collect();
    assert_eq!(passed, Vec::<String>::new());
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}

/// The Job as it is made for `--transport port-forward`.
fn without_the_proxys_door(job: &Value) -> Value {
    const AGENT: &str = "/spec/template/spec/containers/0";
    let arguments = job.pointer(AGENT).unwrap()["args"].as_array().unwrap();
    assert_eq!(arguments[4..], ["--listen-proxy", "[::]:7800"]);
    let closed = with(job, &format!("{AGENT}/args"), json!(arguments[..4]));
    with(&closed, &format!("{AGENT}/ports"), json!([]))
}

/// What is said of the object where the policy itself does not refuse it: that it is made, that it makes no sense, or
/// that the policy does not.
fn not_refused(home: &Home, user: &Kubeconfig, object: &Value) -> Option<String> {
    match created(home, user, object) {
        Err(said)
            if said.contains("ValidatingAdmissionPolicy")
                && said.contains("denied request")
                && !said.contains("resulted in error") =>
        {
            None
        }
        Ok(said) | Err(said) => Some(said),
    }
}

/// A change to an agent's Job: what it is, where, and the value there.
type Variant = (&'static str, &'static str, Value);

/// Ways to have the Secret elsewhere than where the agent looks for its keys: over the image's entry point, say.
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

/// What a pod can choose besides its container.
fn of_the_pod() -> Vec<Variant> {
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "Exists" }] }],
    } } });
    let spread = json!([{ "maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway" }]);
    let claims = json!([{ "name": "a", "resourceClaimName": "a" }]);
    vec![
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
        ("another controller", "/spec/managedBy", json!("example.com/own")),
    ]
}

/// What the container can be told to do.
fn of_the_container() -> Vec<Variant> {
    const ARGUMENTS: &str = "/spec/template/spec/containers/0/args";
    let identity = ["--identity", "/run/kinject/identity"];
    let forward = ["--listen-forward", "127.0.0.1:7801"];
    let listening = |on: &str| json!([&identity[..], &forward, &["--listen-proxy", on]].concat());
    vec![
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
        (
            "an image of a registry with the repository's name",
            "/spec/template/spec/containers/0/image",
            json!("kinject-agent:5000/evil:1"),
        ),
    ]
}

#[test]
fn the_admission_policy_takes_nothing_from_those_who_may_create_pods() {
    let Some(home) = Home::new() else { return };
    let editor = home.cluster.user_with_role(home.name(), "edit").unwrap();
    let user = user(&home);
    let _policies = Policies::apply(&home);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry-login"}});
    eventually("the policies are in force", SECONDS, || {
        created(&home, &user, &secret).is_err_and(|said| said.contains("denied request"))
    });
    created(&home, &editor, &secret).unwrap();
}

#[test]
fn the_admission_policy_takes_nothing_from_those_who_may_not_create_jobs() {
    let Some(home) = Home::new() else { return };
    let (job, admin) = (job_that_waits(), home.cluster.kubeconfig());
    let in_namespace = ["--namespace", home.name()];
    let create = [&in_namespace[..], &["create", "--filename", "-"]].concat();
    home.cluster
        .with_manifest(&admin, &create, &job.to_string())
        .unwrap();
    let (get, change) = (
        ["get"].as_slice(),
        ["create", "get", "update", "patch"].as_slice(),
    );
    let bystander = |name, resources, verbs| {
        let groups = ["", "batch"].as_slice();
        let rule = Rule {
            groups,
            resources,
            verbs,
        };
        home.cluster.restricted_user(home.name(), name, &[rule]).unwrap()
    };
    let keeper_of_secrets = bystander("secrets", &["secrets"], change);
    let keeper_of_jobs = bystander("jobs", &["jobs"], &[get, &["update", "patch"]].concat());
    let user = user(&home);
    let _policies = Policies::apply(&home);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry-login"}});
    eventually("the policies are in force", SECONDS, || {
        [&secret, &job]
            .iter()
            .all(|object| created(&home, &user, object).is_err_and(|said| said.contains("denied request")))
    });
    created(&home, &keeper_of_secrets, &secret).unwrap();
    let annotate = ["annotate", "--dry-run=server", "job/waiting", "a=b"];
    let annotate = [&in_namespace[..], &annotate].concat();
    home.cluster
        .with_manifest(&keeper_of_jobs.path(), &annotate, "")
        .unwrap();
}

/// A Job of somebody else's that makes no pod.
fn job_that_waits() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "waiting"},
        "spec": {
            "suspend": true,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}},
        },
    })
}

#[test]
fn under_the_network_policy_which_covers_agents_alone_port_forward_serves() {
    let Some(home) = Home::new() else { return };
    let apply = ["--namespace", home.name(), "apply", "--filename", "-"];
    let admin = home.cluster.kubeconfig();
    home.cluster
        .with_manifest(&admin, &apply, &deployed("network-policy.yaml"))
        .unwrap();
    let session = home.session(&["--transport", "port-forward"]);
    let get = [
        "--namespace",
        home.name(),
        "get",
        "networkpolicy",
        "kinject-agent",
    ];
    let policy = home.cluster.kubectl_json(&get).unwrap()["spec"].take();
    assert_eq!(
        (&policy["policyTypes"], &policy["ingress"]),
        (&json!(["Ingress"]), &Value::Null),
        "nothing is let in"
    );
    let selected = policy["podSelector"]["matchLabels"].as_object().unwrap();
    let selector: Vec<String> = selected
        .iter()
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap()))
        .collect();
    assert_eq!(
        home.cluster.pod_of(home.name(), &selector.join(",")).unwrap(),
        home.pod()
    );
    let ask = shell("curl -sS http://web.default/");
    run_within(session.command(&ask.path).args(&ask.arguments), SECONDS)
        .succeeded()
        .prints("hello from web\n");
    assert_eq!(session.end(), 0);
}
