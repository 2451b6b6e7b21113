//! Workloads that are not there, or in whose place no session can be: what is said, and that nothing is made.

use kinject_tests::cluster::Rule;
use serde_json::{Value, json};

use crate::home::Home;
use crate::image::NodeImage;
use crate::relay::request;
use crate::sources::{APP, deployment, sources};

#[test]
fn missing_workload_and_container_are_named_with_near_names() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "missing");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let refused = home.session(request("deploy/ap")).err().unwrap();
    let expected = format!("there is no deployment ap in namespace {}", home.name());
    assert_eq!(refused.report.message, expected);
    assert!(
        refused.words().ends_with("use one of the deployments there: app"),
        "{}",
        refused.words()
    );
    let refused = home.session(request("sts/app")).err().unwrap();
    assert!(
        refused.words().contains("use -t deployment/app"),
        "{}",
        refused.words()
    );
    let refused = home.session(request("rollout/app")).err().unwrap();
    assert!(
        refused.words().contains("there is no rollout app"),
        "{}",
        refused.words()
    );
    let mut other = request(APP);
    other.container = Some("ap".to_owned());
    let refused = home.session(other).err().unwrap();
    assert!(refused.words().contains("use -c app"), "{}", refused.words());
    assert_eq!(home.jobs(), Vec::<Value>::new(), "nothing was made");
}

#[test]
fn missing_rights_are_named_all_at_once_before_anything_is_made() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let rules = [Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch"],
    }];
    let user = home.cluster.restricted_user(home.name(), "user", &rules).unwrap();
    let refused = home
        .session_as(&user.path(), None, request("deploy/web"))
        .err()
        .unwrap();
    for right in [
        "get deployments.apps/web",
        "create jobs.batch",
        "create secrets",
        "create configmaps",
        "get pods/proxy or get pods/portforward",
    ] {
        assert!(
            refused.report.message.contains(right),
            "{right}: {}",
            refused.report.message
        );
    }
    assert!(
        !refused.report.message.contains("list pods"),
        "{}",
        refused.report.message
    );
    assert_eq!(home.jobs(), Vec::<Value>::new(), "nothing was made");
}

#[test]
fn volume_of_a_missing_secret_is_named_at_once_with_the_way_on() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "volume");
    home.apply(&sources());
    let mut workload = deployment(&image.name);
    workload["spec"]["template"]["spec"]["volumes"][2]["secret"]["secretName"] = json!("nowhere");
    home.apply(&[workload]);
    let began = std::time::Instant::now();
    let refused = home.session(request(APP)).err().unwrap();
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    assert!(
        refused.words().contains("secret \"nowhere\" not found"),
        "{}",
        refused.words()
    );
    assert!(refused.words().contains("--files none"), "{}", refused.words());
    assert_eq!(home.jobs(), Vec::<Value>::new(), "nothing is left");
}

#[test]
fn variable_of_a_missing_key_is_named_with_the_clusters_words() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "key");
    home.apply(&sources());
    let mut workload = deployment(&image.name);
    let container = &mut workload["spec"]["template"]["spec"]["containers"][1];
    container["env"] =
        json!([{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "config", "key": "gone" } } }]);
    home.apply(&[workload]);
    let refused = home.session(request(APP)).err().unwrap();
    assert!(
        refused.words().contains("couldn't find key gone in ConfigMap"),
        "{}",
        refused.words()
    );
    assert_eq!(home.jobs(), Vec::<Value>::new(), "nothing is left");
}

#[test]
fn workload_whose_image_is_gone_has_an_agent_in_another_image_and_a_notice() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    home.apply(&sources());
    home.apply(&[deployment("kinject-workload:gone")]);
    let outcome = home.session_in_image("kinject-pause:1", request(APP)).unwrap();
    assert_eq!(outcome.variable("PASSWORD").unwrap(), "hunter2");
    assert!(
        outcome.notices[0].message.contains("kinject-pause:1"),
        "{:?}",
        outcome.notices
    );
}
