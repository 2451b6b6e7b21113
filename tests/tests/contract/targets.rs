//! The targets of the cases.

use kinject_tests::fixture::Fixture;
use kinject_tests::programs::python;
use kinject_tests::running::run;
use kinject_tests::testbed::Testbed;

/// Writes `welcome` and closes.
pub(crate) const GREETING: [&str; 2] = ["10.96.10.3", "7005"];
/// The same outside of the cluster.
pub(crate) const OUTSIDE: [&str; 2] = ["203.0.113.10", "7005"];
/// A Service without pods. In the sandbox it refuses by a reset, on the cluster by ICMP.
pub(crate) const WITHOUT_PODS: [&str; 2] = ["10.96.10.9", "80"];
/// The cluster's name server.
pub(crate) const NAME_SERVER: &str = "10.96.0.10";
/// An unroutable address.
pub(crate) const UNROUTABLE: [&str; 2] = ["198.51.100.1", "7005"];
/// An address that never answers.
pub(crate) const SILENT: [&str; 2] = ["198.18.0.1", "7005"];

/// The address of the pod `db-0`.
pub(crate) fn pod(fixture: &Fixture) -> String {
    let found = run(&mut fixture.bare(&python("address.py").arg("db-0.db")));
    found.succeeded().stdout.trim().to_owned()
}

/// The address of the agent's pod.
pub(crate) fn agent(fixture: &Fixture) -> String {
    match (fixture.testbed(), fixture.pod()) {
        (Testbed::Sandbox(_), _) => "10.244.0.5".to_owned(),
        (Testbed::Cluster(cluster), Some(pod)) => {
            let arguments = ["get", "pod", pod, "--output", "jsonpath={.status.podIP}"];
            cluster.kubectl(&arguments).expect("the agent's pod is there")
        }
        (Testbed::Cluster(_), None) => panic!("a session to a cluster has a pod"),
    }
}

/// A closed port of that pod.
pub(crate) fn closed_port(fixture: &Fixture) -> [String; 2] {
    [pod(fixture), "4444".to_owned()]
}
