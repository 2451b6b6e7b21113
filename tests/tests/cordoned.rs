//! A cluster whose only node takes no pods. It is alone in its file: all other tests on the cluster need the node.

use std::process::Command;
use std::time::Duration;

use kinject_tests::cluster::Cluster;
use kinject_tests::place::{Place, cluster};
use kinject_tests::programs::Program;
use kinject_tests::running::run_within;
use kinject_tests::session::kinject_run;

#[test]
fn a_pod_that_no_node_takes_is_said_in_the_schedulers_words() {
    let Some(cluster) = cluster() else { return };
    let namespace = cluster.namespace("cordoned", "restricted").expect("a namespace");
    let place = Place::Cluster(cluster.clone());
    let node = cluster
        .kubectl(&["get", "nodes", "--output", "name"])
        .expect("a node");
    let _open_again = Cordoned::new(&cluster, node.trim());
    let program = Program::new("/bin/true");
    let mut command: Command = kinject_run(&place, &["--namespace", namespace.name()], &program);
    let outcome = run_within(&mut command, Duration::from_secs(20));
    outcome
        .exited(125)
        .complains("no node takes the agent's pod")
        .complains("unschedulable");
    outcome.complains("\n\nhint: ");
    let jobs = ["--namespace", namespace.name(), "get", "jobs"];
    let jobs = cluster.kubectl_json(&jobs).expect("the Jobs");
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(0), "{jobs}");
}

struct Cordoned<'a> {
    cluster: &'a Cluster,
    node: &'a str,
}

impl<'a> Cordoned<'a> {
    fn new(cluster: &'a Cluster, node: &'a str) -> Self {
        cluster.kubectl(&["cordon", node]).expect("the node is cordoned");
        Self { cluster, node }
    }
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.kubectl(&["uncordon", self.node]) {
            eprintln!("the node stays cordoned: {error:#}");
        }
    }
}
