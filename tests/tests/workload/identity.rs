//! Whom a session's agent is for the cluster: the workload's account and user, and no pod of the workload.

use kinject_tests::session::eventually;
use serde_json::{Value, json};

use crate::home::{Home, STARTED};
use crate::image::{NodeImage, USER};
use crate::relay::request;
use crate::sources::{APP, deployment, sources};

/// The pod of the session's agent.
fn agent(home: &Home) -> Value {
    let selector = "app.kubernetes.io/name=kinject-agent";
    let pods =
        home.cluster
            .kubectl_json(&["--namespace", home.name(), "get", "pods", "--selector", selector]);
    pods.unwrap()["items"][0].clone()
}

#[test]
fn service_of_the_workload_does_not_select_the_agent() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "service");
    home.apply(&sources());
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": APP },
        "spec": { "selector": { "app": APP }, "ports": [{ "port": 80 }] } });
    home.apply(&[deployment(&image.name), service]);
    home.running_pod(APP);
    let session = home.session(request(APP)).unwrap();
    let slices = || {
        let slices = [
            "--namespace",
            home.name(),
            "get",
            "endpointslices",
            "--selector",
            "kubernetes.io/service-name=app",
        ];
        home.cluster.kubectl_json(&slices).unwrap()
    };
    let endpoints = |slices: &Value| slices["items"][0]["endpoints"].as_array().map_or(0, Vec::len);
    eventually("the workload's endpoint", STARTED, || endpoints(&slices()) == 1);
    let agent = agent(&home);
    assert!(
        !slices()
            .to_string()
            .contains(agent["status"]["podIP"].as_str().unwrap())
    );
    assert_eq!(agent["metadata"]["labels"]["app"], Value::Null);
    assert_eq!(session.workload.service_account, "app");
    assert_eq!(agent["spec"]["serviceAccountName"], "app");
    assert_eq!(agent["metadata"]["name"], session.workload.hostname.as_str());
}

#[test]
fn agent_prefers_the_node_of_the_workloads_pods_and_requires_none() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "node");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let pod = home.running_pod(APP);
    let node = home.kubectl(&["get", "pod", &pod, "--output", "jsonpath={.spec.nodeName}"]);
    let session = home.session(request(APP)).unwrap();
    let affinity = home.jobs()[0]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"].clone();
    let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        preferred[0]["preference"]["matchFields"][0]["values"],
        json!([node]),
        "{affinity}"
    );
    assert_eq!(
        affinity["requiredDuringSchedulingIgnoredDuringExecution"],
        Value::Null
    );
    assert_eq!(
        session.notices,
        [],
        "the agent's image is that of the workload's pod"
    );
}

/// A user with the role `edit` may impersonate the account, and cannot read RoleBindings.
#[test]
fn rights_of_the_workloads_account_are_told_to_a_user_with_the_edit_role() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "rights");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let user = home.cluster.user_with_role(home.name(), "edit").unwrap();
    let told = || {
        let session = home.session_as(&user.path(), None, request(APP)).unwrap();
        session.workload.account_rights.clone().unwrap()
    };
    assert_eq!(told(), "service account app may do no more than every account");
    home.kubectl(&[
        "create",
        "role",
        "app",
        "--verb=get,list",
        "--resource=pods,services",
    ]);
    let account = format!("--serviceaccount={}:app", home.name());
    home.kubectl(&["create", "rolebinding", "app", "--role=app", &account]);
    // the authorizer learns of it by a watch
    eventually("the rights", STARTED, || {
        told() == "service account app may get,list pods,services"
    });
}

#[test]
fn statefulset_target_has_the_host_name_of_its_first_replica() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "replica");
    home.apply(&sources());
    let mut workload = deployment(&image.name);
    workload["kind"] = json!("StatefulSet");
    workload["spec"]["serviceName"] = json!("peers");
    home.apply(&[workload]);
    let session = home.session(request("sts/app")).unwrap();
    assert_eq!(session.workload.hostname, "app-0");
    assert_eq!(session.variable("HOSTNAME").unwrap(), "app-0");
    let spec = agent(&home)["spec"].clone();
    assert_eq!(
        (&spec["hostname"], &spec["subdomain"]),
        (&json!("app-0"), &json!("peers"))
    );
}

/// The kubelet starts no pod whose full name is longer than the kernel takes.
#[test]
fn full_host_name_is_the_programs_where_the_kernel_takes_it_and_never_keeps_the_agent_from_starting() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "full-name");
    home.apply(&sources());
    let named = |subdomain: &str| {
        let mut workload = deployment(&image.name);
        workload["spec"]["replicas"] = json!(0);
        let pod = &mut workload["spec"]["template"]["spec"];
        pod["hostname"] = json!("web");
        pod["subdomain"] = json!(subdomain);
        pod["setHostnameAsFQDN"] = json!(true);
        home.apply(&[workload]);
        let session = home.session(request(APP)).unwrap();
        assert_eq!(
            session.variable("HOSTNAME").unwrap(),
            session.workload.hostname.as_str()
        );
        session.workload.hostname.clone()
    };
    let short = named("s");
    assert!(
        short.starts_with(&format!("web.s.{}.svc.", home.name())),
        "{short}"
    );
    assert_eq!(named(&"s".repeat(60)), "web");
}

/// The image's user is a number and the template asks for no other.
#[test]
fn agent_runs_as_the_images_user_in_a_restricted_namespace() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "user");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let session = home.session(request(APP)).unwrap();
    let agent = agent(&home);
    let user = &agent["status"]["containerStatuses"][0]["user"]["linux"]["uid"];
    assert!(user.is_null() || *user == json!(USER), "{user}");
    assert_eq!(agent["spec"]["containers"][0]["image"], image.name.as_str());
    assert_eq!(agent["spec"]["securityContext"]["fsGroup"], 4321);
    assert_eq!(session.notices, []);
}

/// Pods that are there already stay when a namespace becomes restricted.
#[test]
fn workload_whose_user_the_namespace_does_not_take_is_stood_in_for_by_the_agents_own() {
    let Some(home) = Home::new("privileged") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "refused");
    let mut workload = deployment(&image.name);
    let pod = &mut workload["spec"]["template"]["spec"];
    pod["securityContext"] = json!({ "runAsUser": 0 });
    home.apply(&sources());
    home.apply(&[workload]);
    home.running_pod(APP);
    let label = "pod-security.kubernetes.io/enforce=restricted";
    home.cluster
        .kubectl(&["label", "--overwrite", "namespace", home.name(), label])
        .unwrap();
    let session = home.session(request(APP)).unwrap();
    // others name files that this user cannot read
    let notice = &session.notices[0].message;
    assert!(notice.contains("the agent runs as its own"), "{notice}");
    assert_eq!(agent(&home)["spec"]["securityContext"]["runAsUser"], 65532);
    assert_eq!(session.variable("PASSWORD").unwrap(), "hunter2");
}

#[test]
fn agent_whose_pod_was_deleted_is_made_from_the_same_template() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "again");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let session = home.session(request(APP)).unwrap();
    let first = agent(&home)["metadata"]["name"].as_str().unwrap().to_owned();
    home.kubectl(&["set", "env", "deployment/app", "OVERRIDDEN=later"]);
    home.kubectl(&["delete", "pod", &first, "--wait=false"]);
    eventually("another agent", STARTED, || {
        let agent = agent(&home);
        agent["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name != first)
            && agent["status"]["phase"] == "Running"
    });
    let env = agent(&home)["spec"]["containers"][0]["env"].clone();
    let overridden = env
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "OVERRIDDEN");
    assert_eq!(overridden.unwrap()["value"], "of the template");
    drop(session);
}
