//! `deploy/admission-policy.yaml` and `deploy/network-policy.yaml`: what kinject makes passes, and what else the holders
//! of its role could make does not.

mod variants;

use std::path::Path;

use kinject_tests::cluster::{Cluster, Kubeconfig, Rule};
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
fn admission_policy_lets_the_roles_user_create_only_agents() {
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

    let mut variants = variants::of_the_job(&job);
    variants.extend(variants::of_the_secret(&secret, &name));
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

#[test]
fn admission_policy_does_not_restrict_users_who_may_create_pods() {
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
fn admission_policy_does_not_restrict_users_who_may_not_create_jobs() {
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
fn port_forward_works_under_the_network_policy_which_selects_only_agents() {
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
