//! What is said of wrong targets and ports, before anything is made.

use std::net::TcpListener;

use kinject_tests::fixture::Fixture;
use kinject_tests::running::{Outcome, run};
use kinject_tests::testbed::{Kind, Testbed, cluster};

use crate::process::command;

fn refused(testbed: &Testbed, arguments: &[&str]) -> Outcome {
    let outcome = run(&mut command(testbed, arguments));
    outcome.exited(125).prints("");
    outcome
}

#[test]
fn taken_local_port_is_named_with_its_owner() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let pair = format!("{}:80", address.port());
    let outcome = refused(fixture.testbed(), &["web", &pair]);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let owner = format!("is taken by {} (pid {})", name.trim_end(), std::process::id());
    outcome.complains(&format!("kinject: error: {address} {owner}"));
    outcome.complains("hint: write another local port, or :REMOTE for a free one");
}

#[test]
fn host_that_does_not_exist_is_named() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    refused(fixture.testbed(), &["missing.external.test", ":80"])
        .complains("there is no host missing.external.test: neither the cluster nor this machine knows it");
}

#[test]
fn types_and_names_of_ports_are_refused_without_kubernetes() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    refused(fixture.testbed(), &["svc/web", "8080:80"])
        .complains("service/web needs Kubernetes, and --agent uses none");
    refused(fixture.testbed(), &["web", "8080:http"])
        .complains("the port http of web needs Kubernetes, and --agent uses none");
}

#[test]
fn missing_service_pod_and_port_are_named_with_those_there_are() {
    let Some(cluster) = cluster() else { return };
    let testbed = Testbed::Cluster(cluster);
    refused(&testbed, &["wbe", ":80"])
        .complains("there is no service wbe in namespace default")
        .complains("web");
    refused(&testbed, &["svc/web", ":81"])
        .complains("service web has no port 81")
        .complains("write one of its ports: 80 (http)");
    refused(&testbed, &["deploy/wbe", ":8080"]).complains("there is no deployment wbe in namespace default");
    refused(&testbed, &["pod/db-9", ":8080"])
        .complains("there is no pod db-9 in namespace default")
        .complains("db-0");
    refused(&testbed, &["web", ":80/udp"])
        .complains("service web in namespace default has its port 80 for TCP alone, and not for UDP");
}

#[test]
fn address_that_others_reach_is_warned_about() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let arguments = ["--address", "0.0.0.0", "web", ":80"];
    let forward = crate::process::Forward::start(fixture.testbed(), &arguments);
    assert_eq!(forward.local().ip().to_string(), "0.0.0.0");
    forward.complains("whoever reaches this machine at 0.0.0.0 reaches the cluster by these ports");
}
