//! A namespace for each test, and checks of its contents.

use std::process::Command;
use std::time::Duration;

use kinject_tests::cluster::{Cluster, Kubeconfig, Namespace, Rule};
use kinject_tests::programs::Program;
use kinject_tests::running::{Outcome, run_within};
use kinject_tests::session::{Session, eventually, kinject_run};
use kinject_tests::testbed::{Testbed, cluster};
use serde_json::Value;

/// How long kinject may take to report a failure: the cluster refuses within seconds.
pub(crate) const SECONDS: Duration = Duration::from_secs(15);

/// How long removing a pod may take after its Job.
const REMOVAL: Duration = Duration::from_secs(60);

/// A namespace in the cluster, which is deleted when the value is dropped.
pub(crate) struct TestNamespace {
    pub(crate) cluster: Cluster,
    pub(crate) testbed: Testbed,
    namespace: Namespace,
}

impl TestNamespace {
    /// A new namespace that enforces what Pod Security calls "restricted"; `None` without a cluster.
    pub(crate) fn new() -> Option<Self> {
        let cluster = cluster()?;
        let namespace = cluster.namespace("lifecycle", "restricted").unwrap();
        Some(Self {
            testbed: Testbed::Cluster(cluster.clone()),
            cluster,
            namespace,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// A session in this namespace.
    pub(crate) fn session(&self, flags: &[&str]) -> Session {
        Session::start(&self.testbed, &[&["--namespace", self.name()], flags].concat())
    }

    /// `kinject run` in this namespace.
    pub(crate) fn kinject(&self, flags: &[&str], program: &Program) -> Command {
        kinject_run(
            &self.testbed,
            &[&["--namespace", self.name()], flags].concat(),
            program,
        )
    }

    /// `kinject run` of a program that does nothing, to its end.
    pub(crate) fn try_session(&self, flags: &[&str]) -> Outcome {
        run_within(&mut self.kinject(flags, &Program::new("/bin/true")), SECONDS)
    }

    /// A user who may do what a session needs, but not remove a Job.
    pub(crate) fn user_who_removes_nothing(&self) -> Kubeconfig {
        let rule = |groups, resources, verbs| Rule {
            groups,
            resources,
            verbs,
        };
        let rules = [
            rule(&["batch"], &["jobs"], &["create"]),
            rule(&[""], &["secrets"], &["create"]),
            rule(&[""], &["pods"], &["get", "list", "watch"]),
            rule(&[""], &["pods/proxy"], &["get"]),
            rule(&[""], &["events"], &["watch"]),
        ];
        self.cluster.restricted_user(self.name(), "user", &rules).unwrap()
    }

    /// All objects of a kind that kinject has made here.
    pub(crate) fn made(&self, kind: &str) -> Vec<Value> {
        let selector = "app.kubernetes.io/managed-by=kinject";
        let arguments = ["--namespace", self.name(), "get", kind, "--selector", selector];
        let list = self.cluster.kubectl_json(&arguments).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The only agent's pod.
    pub(crate) fn pod(&self) -> String {
        let pods = self.made("pods");
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods[0]["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Asserts that no Job is left, and soon no pod and no Secret.
    pub(crate) fn is_clean(&self) {
        assert_eq!(self.made("jobs"), Vec::<Value>::new());
        eventually("no pod and no Secret of kinject's", REMOVAL, || {
            self.made("pods,secrets").is_empty()
        });
    }

    /// The test has deleted the namespace.
    pub(crate) fn forget(self) {
        self.namespace.forget();
    }

    /// Waits until nothing is left.
    pub(crate) fn becomes_clean(&self) {
        eventually("no Job of kinject's", REMOVAL, || self.made("jobs").is_empty());
        self.is_clean();
    }
}
