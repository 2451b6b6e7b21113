//! What the cases connect to.

use kinject_tests::place::Place;
use kinject_tests::programs::python;
use kinject_tests::running::run;
use kinject_tests::scene::Scene;

/// Writes `welcome` and closes.
pub(crate) const GREETING: [&str; 2] = ["10.96.10.3", "7005"];
/// The same outside of the cluster.
pub(crate) const OUTSIDE: [&str; 2] = ["203.0.113.10", "7005"];
/// A Service without pods. In the sandbox it refuses by a reset, on the cluster by ICMP.
pub(crate) const WITHOUT_PODS: [&str; 2] = ["10.96.10.9", "80"];
/// The cluster's name server.
pub(crate) const NAME_SERVER: &str = "10.96.0.10";
/// There is no way there.
pub(crate) const UNROUTABLE: [&str; 2] = ["198.51.100.1", "7005"];
/// Nothing ever comes back.
pub(crate) const SILENT: [&str; 2] = ["198.18.0.1", "7005"];

/// The address of the pod `db-0`.
pub(crate) fn pod(scene: &Scene) -> String {
    let found = run(&mut scene.bare(&python("address.py").arg("db-0.db")));
    found.succeeded().stdout.trim().to_owned()
}

/// The address of the agent's pod.
pub(crate) fn agent(scene: &Scene) -> String {
    match (scene.place(), scene.pod()) {
        (Place::Sandbox(_), _) => "10.244.0.5".to_owned(),
        (Place::Cluster(cluster), Some(pod)) => {
            let arguments = ["get", "pod", pod, "--output", "jsonpath={.status.podIP}"];
            cluster.kubectl(&arguments).expect("the agent's pod is there")
        }
        (Place::Cluster(_), None) => panic!("a session to a cluster has a pod"),
    }
}

/// A port of that pod on which nobody listens.
pub(crate) fn closed_port(scene: &Scene) -> [String; 2] {
    [pod(scene), "4444".to_owned()]
}
