//! How `kinject forward` ends, and what it leaves.

use std::os::unix::process::ExitStatusExt;

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::session::eventually;
use kinject_tests::testbed::{Kind, Testbed, cluster};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

use crate::process::{Forward, curl};

on_both_testbeds! {
    fn signal_ends_it_by_that_signal_and_frees_the_port(fixture: shared) {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let forward = Forward::start(fixture.testbed(), &["web", ":80"]);
            let local = forward.local();
            forward.signal(signal);
            let (status, rest) = forward.ended();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{rest:?}");
            assert_eq!(rest, [""; 0]);
            // 7: connection refused
            curl(&[format!("http://{local}/")]).exited(7);
        }
    }
}

#[test]
fn nothing_is_left_in_the_cluster_after_its_end() {
    let Some(cluster) = cluster() else { return };
    let namespace = cluster.namespace("forward", "restricted").unwrap();
    let testbed = Testbed::Cluster(cluster.clone());
    let arguments = ["--namespace", namespace.name(), "web.default", ":80"];
    let forward = Forward::start(&testbed, &arguments);
    let local = forward.local();
    curl(&[format!("http://{local}/")]).succeeded();
    let jobs = || {
        let jobs = cluster
            .kubectl_json(&["--namespace", namespace.name(), "get", "jobs"])
            .unwrap();
        jobs["items"].as_array().unwrap().len()
    };
    assert_eq!(jobs(), 1);
    forward.interrupt();
    assert_eq!(jobs(), 0);
}

#[test]
fn killed_relay_ends_it_with_status_125() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let forward = Forward::start(fixture.testbed(), &["web", ":80"]);
    forward.local();
    let relay = Pid::from_raw(forward.relay().try_into().unwrap()).unwrap();
    kill_process(relay, Signal::KILL).unwrap();
    let (status, rest) = forward.ended();
    assert_eq!(status.code(), Some(125));
    assert!(
        rest.iter()
            .any(|line| line.contains("the relay was killed (signal 9)")),
        "{rest:?}"
    );
}

#[test]
fn killed_launcher_ends_the_relay_and_frees_the_port() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let forward = Forward::start(fixture.testbed(), &["web", ":80"]);
    let local = forward.local();
    forward.signal(Signal::KILL);
    eventually("a free port", Duration::from_secs(20), || {
        std::net::TcpListener::bind(local).is_ok()
    });
}
