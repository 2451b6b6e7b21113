//! Forwards outlive the tunnel, the agent and the pods that they lead to.

use std::time::Duration;

use kinject_tests::cluster::{Cluster, Namespace};
use kinject_tests::fixture::Fixture;
use kinject_tests::process;
use kinject_tests::session::eventually;
use kinject_tests::testbed::{Kind, Testbed, cluster};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Forward, curl};

/// The objects in the namespace; the pods greet with the name of their workload.
const WORKLOAD: &str = "---
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: kinject-samples:1
        imagePullPolicy: Never
        args: [serve, --name, NAME]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
          runAsNonRoot: true
          seccompProfile: {type: RuntimeDefault}
";

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: web, port: 80, targetPort: http}]
";

/// A namespace with a deployment `shop` that has a Service, and a stateful set `store`, of one pod each.
pub(crate) fn workloads(cluster: &Cluster) -> Namespace {
    let namespace = cluster.namespace("forward", "restricted").unwrap();
    let name = namespace.name();
    let workload = |kind, name| WORKLOAD.replace("KIND", kind).replace("NAME", name);
    let objects = [
        workload("Deployment", "shop"),
        workload("StatefulSet", "store"),
        SERVICE.to_owned(),
    ];
    let arguments = ["--namespace", name, "apply", "--filename", "-"];
    cluster
        .with_manifest(&cluster.kubeconfig(), &arguments, &objects.concat())
        .unwrap();
    for target in ["deployment/shop", "statefulset/store"] {
        let arguments = ["--namespace", name, "rollout", "status", target, "--timeout=60s"];
        cluster.kubectl(&arguments).unwrap();
    }
    namespace
}

#[test]
fn new_connections_wait_for_the_tunnel_that_replaces_a_broken_one() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let forward = Forward::start(fixture.testbed(), &["web", ":80"]);
    let local = forward.local();
    curl(&[format!("http://{local}/")]).succeeded();
    let agent = fixture.agent();
    // the sandbox takes an agent that lives for less than a second for a broken one
    eventually("an agent of some age", Duration::from_secs(5), || {
        process::age(agent) > Duration::from_secs(1)
    });
    kill_process(Pid::from_raw(agent.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    curl(&[format!("http://{local}/")])
        .succeeded()
        .prints("hello from web\n");
}

#[test]
fn connections_go_to_the_pod_that_replaces_a_deleted_one() {
    let Some(cluster) = cluster() else { return };
    let namespace = workloads(&cluster);
    let testbed = Testbed::Cluster(cluster.clone());
    let arguments = [
        "--namespace",
        namespace.name(),
        "deploy/shop",
        ":http",
        "pod/store-0",
        ":8080",
    ];
    let forward = Forward::start(&testbed, &arguments);
    let (shop, store) = (forward.local(), forward.local());
    for _ in 0..2 {
        curl(&[format!("http://{shop}/")])
            .succeeded()
            .prints("hello from shop\n");
        curl(&[format!("http://{store}/")])
            .succeeded()
            .prints("hello from store\n");
        let arguments = [
            "--namespace",
            namespace.name(),
            "delete",
            "pods",
            "--selector",
            "app in (shop, store)",
        ];
        cluster.kubectl(&arguments).unwrap();
    }
    curl(&[format!("http://{shop}/")])
        .succeeded()
        .prints("hello from shop\n");
    forward.interrupt();
}

#[test]
fn deleted_agent_is_replaced_while_the_port_stays() {
    let Some(cluster) = cluster() else { return };
    let namespace = cluster.namespace("forward", "restricted").unwrap();
    let testbed = Testbed::Cluster(cluster.clone());
    let arguments = ["--namespace", namespace.name(), "web.default", ":80"];
    let forward = Forward::start(&testbed, &arguments);
    let local = forward.local();
    curl(&[format!("http://{local}/")]).succeeded();
    let arguments = [
        "--namespace",
        namespace.name(),
        "delete",
        "pods",
        "--all",
        "--wait=false",
    ];
    cluster.kubectl(&arguments).unwrap();
    eventually("an answer by the new agent", Duration::from_secs(60), || {
        curl(&[format!("http://{local}/")]).stdout == "hello from web\n"
    });
}
