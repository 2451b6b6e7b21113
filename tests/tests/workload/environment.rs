//! Variables: those of a session equal those of the workload's own container.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::home::Home;
use crate::image::NodeImage;
use crate::relay::{RelaySession, request};
use crate::sources::{APP, MANY, deployment, sources};

/// The variables whose values differ from pod to pod.
pub(crate) const OF_ONE_POD: [&str; 3] = ["HOSTNAME", "POD_NAME", "POD_IP"];

/// Names and values.
pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The output of `env -0`.
pub(crate) fn parsed(text: &[u8]) -> Variables {
    let entries = text.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let equals = entry.iter().position(|byte| *byte == b'=').unwrap();
            (entry[..equals].to_vec(), entry[equals + 1..].to_vec())
        })
        .collect()
}

fn of_session(session: &RelaySession) -> Variables {
    let variables = session.environment().iter();
    variables
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

/// Names and values for a message.
fn shown(variables: &Variables) -> Vec<String> {
    let shown = variables
        .iter()
        .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    shown.collect()
}

/// Compares the variables of a session with those of a container, but for some whose values differ.
pub(crate) fn assert_equal(mut session: Variables, mut container: Variables, but: &[&str]) {
    for name in but {
        assert!(
            session.remove(name.as_bytes()).is_some(),
            "{name} is set in the session"
        );
        assert!(
            container.remove(name.as_bytes()).is_some(),
            "{name} is set in the container"
        );
    }
    assert_eq!(shown(&session), shown(&container));
}

#[test]
fn variables_equal_those_of_the_container_from_every_source() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "variables");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let pod = home.running_pod(APP);
    let bare = parsed(&home.exec(&pod, APP, &["env", "-0"]));
    assert!(bare.len() > MANY, "{:?}", shown(&bare));
    let session = home.session(request(APP)).unwrap();
    assert_eq!(session.workload.container, APP);
    assert_eq!(session.notices, []);
    assert_equal(of_session(&session), bare, &OF_ONE_POD);
    assert_eq!(session.variable("FROM_IMAGE").unwrap(), "of the image");
    assert_eq!(
        session.variable("POD_NAME").unwrap(),
        OsStr::new(&session.workload.hostname)
    );
    let log = session.log();
    assert!(
        log.contains("in the place of deployment/app, container app: "),
        "{log}"
    );
    for secret in ["hunter2", "a key"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn agent_of_an_image_of_its_own_has_all_variables_but_those_of_the_workloads_image() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "other-image");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let session = home.session_of_image(request(APP)).unwrap();
    assert_eq!(session.variable("FROM_IMAGE"), None);
    assert_eq!(session.variable("PASSWORD").unwrap(), "hunter2");
    assert_eq!(session.variable("MEMORY").unwrap(), "67108864");
    let [notice] = &session.notices[..] else {
        panic!("{:?}", session.notices);
    };
    assert!(
        notice
            .message
            .contains("does not run in the image of deployment/app"),
        "{}",
        notice.message
    );
}

#[test]
fn pod_target_has_what_its_entry_point_exported() {
    let Some(home) = Home::new("baseline") else { return };
    let image = NodeImage::load(&home.cluster, "pod");
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "single", "labels": { "app": "single" } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
            "name": APP, "image": image.name, "imagePullPolicy": "Never",
            "command": ["sh", "-c", "export EXPORTED='by the entry point'; exec sleep 3600"],
        }] } });
    home.apply(&[pod]);
    let name = home.running_pod("single");
    let session = home.session(request(&format!("pod/{name}"))).unwrap();
    assert_eq!(session.variable("EXPORTED").unwrap(), "by the entry point");
    assert_eq!(session.variable("FROM_IMAGE").unwrap(), "of the image");
    assert_eq!(
        session.variable("HOSTNAME").unwrap(),
        "single",
        "of the pod itself"
    );
    assert_eq!(session.notices, []);
}

#[test]
fn exec_environment_of_a_container_without_cat_is_refused_and_a_pods_is_the_templates() {
    let Some(home) = Home::new("baseline") else { return };
    // the samples' image holds one program
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bare", "labels": { "app": "bare" } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
            "name": APP, "image": kinject_tests::cluster::SAMPLES_IMAGE, "imagePullPolicy": "Never",
            "args": ["serve", "web"], "env": [{ "name": "A", "value": "1" }],
        }] } });
    home.apply(&[pod]);
    home.running_pod("bare");
    let session = home.session(request("pod/bare")).unwrap();
    assert_eq!(session.variable("A").unwrap(), "1");
    let [notice] = &session.notices[..] else {
        panic!("{:?}", session.notices);
    };
    assert!(notice.message.contains("through exec"), "{}", notice.message);
    drop(session);
    let mut demanded = request("pod/bare");
    demanded.exec_environment = true;
    let refused = home.session(demanded).err().unwrap();
    assert!(
        refused.words().contains("leave out --exec-env"),
        "{}",
        refused.words()
    );
    assert_eq!(home.jobs(), Vec::<serde_json::Value>::new(), "nothing was made");
}
