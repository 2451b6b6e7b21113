//! `deploy/admission-policy.yaml` and `deploy/network-policy.yaml`: they admit the objects that kinject makes, and no
//! other objects of users with its role.

mod variants;

use std::path::Path;

use kinject_tests::cluster::{Cluster, Kubeconfig, Rule};
use kinject_tests::programs::shell;
use kinject_tests::running::run_within;
use kinject_tests::session::{Session, eventually};
use kinject_tests::testbed::Testbed;
use serde_json::{Value, json};

use crate::namespace::{SECONDS, TestNamespace};

/// A file of the folder `deploy`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap()
}

/// The admission policies under unique names; they are deleted when the value is dropped.
struct Policies {
    cluster: Cluster,
    manifest: String,
}

impl Policies {
    fn apply(namespace: &TestNamespace) -> Self {
        let manifest = ["jobs", "secrets"]
            .iter()
            .fold(deployed("admission-policy.yaml"), |text, kind| {
                text.replace(
                    &format!("kinject-agent-{kind}"),
                    &format!("{}-{kind}", namespace.name()),
                )
            });
        namespace.cluster.apply(&manifest).unwrap();
        let label = ["label", "namespace", namespace.name(), "kinject-only-agents=true"];
        namespace.cluster.kubectl(&label).unwrap();
        Self {
            cluster: namespace.cluster.clone(),
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
fn user(namespace: &TestNamespace) -> Kubeconfig {
    let role = deployed("rbac.yaml");
    let apply = ["--namespace", namespace.name(), "apply", "--filename", "-"];
    let admin = namespace.cluster.kubeconfig();
    namespace.cluster.with_manifest(&admin, &apply, &role).unwrap();
    let account = format!("--serviceaccount={}:user", namespace.name());
    let binding = ["create", "rolebinding", "kinject", "--role=kinject", &account];
    for arguments in [&["create", "serviceaccount", "user"][..], &binding] {
        let arguments = [&["--namespace", namespace.name()], arguments].concat();
        namespace.cluster.kubectl(&arguments).unwrap();
    }
    namespace
        .cluster
        .service_account(namespace.name(), "user")
        .unwrap()
}

/// The API server's answer to a dry-run creation by that user.
fn created(namespace: &TestNamespace, user: &Kubeconfig, object: &Value) -> Result<String, String> {
    let arguments = ["create", "--dry-run=server", "--filename", "-"];
    let result = namespace
        .cluster
        .with_manifest(&user.path(), &arguments, &object.to_string());
    result.map_err(|error| format!("{error:#}"))
}

/// An object that kinject made, without the fields that the server sets, to be created again.
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

/// The same object with another value at a JSON pointer.
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
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let user = user(&namespace);
    let flags = ["--kubeconfig".into(), user.path().into_os_string()];
    let _policies = Policies::apply(&namespace);
    let probe = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}});
    let job_probe = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
    });
    eventually("the policies are in force", SECONDS, || {
        [&probe, &job_probe].iter().all(|object| {
            created(&namespace, &user, object).is_err_and(|error| error.contains("denied request"))
        })
    });

    let session = Session::start(&Testbed::Cluster(namespace.cluster.clone()), &flags);
    let (job, secret) = (
        namespace.made("jobs").remove(0),
        namespace.made("secrets").remove(0),
    );
    let name = format!("kinject-agent-{}-0", session.name());
    let (job, secret) = (again(job, &name), again(secret, &name));
    created(&namespace, &user, &job).unwrap();
    let by_digest = json!(format!("kinject-agent@sha256:{}", "0".repeat(64)));
    let by_digest = with(&job, "/spec/template/spec/containers/0/image", by_digest);
    created(&namespace, &user, &by_digest).unwrap();
    created(&namespace, &user, &without_the_proxy_port(&job)).unwrap();
    // where a quota demands them
    let limits = json!({"cpu": "500m", "memory": "512Mi"});
    let limited = "/spec/template/spec/containers/0/resources/limits";
    created(&namespace, &user, &with(&job, limited, limits)).unwrap();
    created(&namespace, &user, &secret).unwrap();

    let mut variants = variants::of_the_job(&job);
    variants.extend(variants::of_the_secret(&secret, &name));
    assert_all_are_refused(&namespace, &user, &variants);
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}

/// The Job as it is made for `--transport port-forward`.
fn without_the_proxy_port(job: &Value) -> Value {
    const AGENT: &str = "/spec/template/spec/containers/0";
    let arguments = job.pointer(AGENT).unwrap()["args"].as_array().unwrap();
    assert_eq!(arguments[4..], ["--listen-proxy", "[::]:7800"]);
    let closed = with(job, &format!("{AGENT}/args"), json!(arguments[..4]));
    with(&closed, &format!("{AGENT}/ports"), json!([]))
}

/// Asserts that the policy refuses each of these objects. One call of kubectl creates them all, and prints a line for
/// each; only if it refuses fewer they are created one by one, to find which.
fn assert_all_are_refused(namespace: &TestNamespace, user: &Kubeconfig, variants: &[(&str, Value)]) {
    let items: Vec<_> = variants.iter().map(|(_, object)| object).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let (Ok(answer) | Err(answer)) = created(namespace, user, &list);
    let refused = answer.lines().filter(|line| is_refusal(line)).count();
    if refused == variants.len() {
        return;
    }
    let passed: Vec<_> = variants
        .iter()
        .map(|(what, object)| (what, created(namespace, user, object)))
        .filter(|(_, answer)| !answer.as_ref().is_err_and(|error| is_refusal(error)))
        .collect();
    panic!(
        "{refused} of {} are refused; not these: {passed:?}",
        variants.len()
    );
}

/// Whether an answer of the API server is a denial by the policy, and not one for another reason, such as an invalid
/// object or an error of the policy.
fn is_refusal(answer: &str) -> bool {
    answer.contains("ValidatingAdmissionPolicy")
        && answer.contains("denied request")
        && !answer.contains("resulted in error")
}

#[test]
fn admission_policy_does_not_restrict_users_who_may_create_pods() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = namespace
        .cluster
        .user_with_role(namespace.name(), "edit")
        .unwrap();
    let user = user(&namespace);
    let _policies = Policies::apply(&namespace);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry-login"}});
    eventually("the policies are in force", SECONDS, || {
        created(&namespace, &user, &secret).is_err_and(|error| error.contains("denied request"))
    });
    created(&namespace, &editor, &secret).unwrap();
}

#[test]
fn admission_policy_does_not_restrict_users_who_may_not_create_jobs() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let (job, admin) = (job_that_waits(), namespace.cluster.kubeconfig());
    let in_namespace = ["--namespace", namespace.name()];
    let create = [&in_namespace[..], &["create", "--filename", "-"]].concat();
    namespace
        .cluster
        .with_manifest(&admin, &create, &job.to_string())
        .unwrap();
    let (get, change) = (
        ["get"].as_slice(),
        ["create", "get", "update", "patch"].as_slice(),
    );
    let other_user = |name, resources, verbs| {
        let groups = ["", "batch"].as_slice();
        let rule = Rule {
            groups,
            resources,
            verbs,
        };
        namespace
            .cluster
            .restricted_user(namespace.name(), name, &[rule])
            .unwrap()
    };
    let secrets_user = other_user("secrets", &["secrets"], change);
    let jobs_user = other_user("jobs", &["jobs"], &[get, &["update", "patch"]].concat());
    let user = user(&namespace);
    let _policies = Policies::apply(&namespace);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry-login"}});
    eventually("the policies are in force", SECONDS, || {
        [&secret, &job].iter().all(|object| {
            created(&namespace, &user, object).is_err_and(|error| error.contains("denied request"))
        })
    });
    created(&namespace, &secrets_user, &secret).unwrap();
    let annotate = ["annotate", "--dry-run=server", "job/waiting", "a=b"];
    let annotate = [&in_namespace[..], &annotate].concat();
    namespace
        .cluster
        .with_manifest(&jobs_user.path(), &annotate, "")
        .unwrap();
}

/// A Job of another user that makes no pod.
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
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let apply = ["--namespace", namespace.name(), "apply", "--filename", "-"];
    let admin = namespace.cluster.kubeconfig();
    namespace
        .cluster
        .with_manifest(&admin, &apply, &deployed("network-policy.yaml"))
        .unwrap();
    let session = namespace.session(&["--transport", "port-forward"]);
    let get = [
        "--namespace",
        namespace.name(),
        "get",
        "networkpolicy",
        "kinject-agent",
    ];
    let policy = namespace.cluster.kubectl_json(&get).unwrap()["spec"].take();
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
        namespace
            .cluster
            .pod_of(namespace.name(), &selector.join(","))
            .unwrap(),
        namespace.pod()
    );
    let ask = shell("curl -sS http://web.default/");
    run_within(session.command(&ask.path).args(&ask.arguments), SECONDS)
        .succeeded()
        .prints("hello from web\n");
    assert_eq!(session.end(), 0);
}
