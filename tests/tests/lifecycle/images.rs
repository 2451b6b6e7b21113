//! The image of later agents of a session.

use std::process::Command;
use std::time::Duration;

use kinject_tests::cluster::{AGENT_IMAGE, Cluster};
use kinject_tests::programs::shell;
use kinject_tests::running::{run, run_within};
use kinject_tests::session::{Session, eventually};

use crate::namespace::TestNamespace;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The agent's image under the names that it would have if the node had pulled it from a registry.
struct Pulled<'a> {
    cluster: &'a Cluster,
    names: [String; 2],
}

impl<'a> Pulled<'a> {
    fn new(cluster: &'a Cluster, repository: &str) -> Self {
        let original = format!("docker.io/library/{AGENT_IMAGE}");
        let listed = run(Self::ctr(cluster).args(["list", &format!("name=={original}")]));
        let digest = listed
            .succeeded()
            .stdout
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .unwrap()
            .to_owned();
        let names = [format!("{repository}:1"), format!("{repository}@{digest}")];
        run(Self::ctr(cluster).args(["tag", &original]).args(&names)).succeeded();
        let pulled = Self { cluster, names };
        eventually("the node's notice of the image", TIMEOUT, || {
            pulled.names.iter().all(|name| {
                let row = run(Self::ctr(cluster).args(["list", &format!("name=={name}")]));
                row.stdout.contains("io.cri-containerd.image=managed")
            })
        });
        pulled
    }

    fn ctr(cluster: &Cluster) -> Command {
        let mut command = cluster.containerd().ctr();
        command.arg("images");
        command
    }
}

impl Drop for Pulled<'_> {
    fn drop(&mut self) {
        let removed = run(Self::ctr(self.cluster).arg("remove").args(&self.names));
        if removed.code() != 0 {
            eprintln!("images are left behind: {removed}");
        }
    }
}

/// The image that the session's only Job names.
fn image(namespace: &TestNamespace) -> String {
    let jobs = namespace.made("jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let container = &jobs[0]["spec"]["template"]["spec"]["containers"][0];
    container["image"].as_str().unwrap().to_owned()
}

/// The image of the agent that replaces the first one.
fn image_after_a_loss(namespace: &TestNamespace, session: &Session) -> String {
    let delete = [
        "--namespace",
        namespace.name(),
        "delete",
        "pod",
        &namespace.pod(),
        "--wait=false",
    ];
    let first = namespace.made("jobs")[0]["metadata"]["uid"].clone();
    namespace.cluster.kubectl(&delete).unwrap();
    let ask = shell("curl -sS --max-time 5 http://web.default/");
    eventually("an answer by another agent", TIMEOUT, || {
        let asked = run_within(session.command(&ask.path).args(&ask.arguments), TIMEOUT);
        let jobs = namespace.made("jobs");
        asked.stdout == "hello from web\n" && jobs.len() == 1 && jobs[0]["metadata"]["uid"] != first
    });
    image(namespace)
}

#[test]
fn later_agents_use_the_digest_of_the_first_pulled_image() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let pulled = Pulled::new(&namespace.cluster, "registry.test/kinject-agent");
    let session = namespace.session(&["--agent-image", &pulled.names[0]]);
    assert_eq!(image(&namespace), pulled.names[0]);
    assert_eq!(image_after_a_loss(&namespace, &session), pulled.names[1]);
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}

#[test]
fn later_agents_keep_the_tag_of_an_image_loaded_into_the_node() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    assert_eq!(image(&namespace), AGENT_IMAGE);
    assert_eq!(image_after_a_loss(&namespace, &session), AGENT_IMAGE);
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}
