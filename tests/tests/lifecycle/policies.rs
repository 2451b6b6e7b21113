//! `deploy/admission-policy.yaml` and `deploy/network-policy.yaml`: what kinject makes passes, and what else the holders
//! of its role could make does not.

use std::path::Path;

use kinject_tests::cluster::{Cluster, Kubeconfig, SHELL_IMAGE};
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
    for (what, place, value) in cases {
        refused(&home, &user, what, &with(&job, &place, value));
    }
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
    ];
    for (what, place, value) in cases {
        refused(&home, &user, what, &with(&secret, place, value));
    }
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}

/// Asserts that the policy itself refuses the object, not that it makes no sense.
fn refused(home: &Home, user: &Kubeconfig, what: &str, object: &Value) {
    let said = created(home, user, object).expect_err(what);
    assert!(
        said.contains("ValidatingAdmissionPolicy") && said.contains("denied request"),
        "{what}: {said}"
    );
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
