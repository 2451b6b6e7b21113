//! Sessions of one version share the ConfigMaps with the agent.

use std::fs;
use std::time::Instant;

use kinject_tests::running::{finish, run_within, spawn};
use kinject_tests::session::eventually;
use serde_json::{Value, json};

use crate::damage::Agents;
use crate::namespace::{ASK_WEB, PAUSE_IMAGE, REMOVAL, SECONDS, TestNamespace, assert_answered};

#[test]
fn second_session_shares_config_maps_and_the_last_one_removes_them() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let first = namespace.session();
    let sent = namespace.maps();
    assert!((1..=2).contains(&sent.len()), "{sent:?}");
    assert!(sent.iter().all(|(_, owners)| *owners == 1), "{sent:?}");
    let second = namespace.session();
    let shared: Vec<_> = sent.iter().map(|(uid, _)| (uid.clone(), 2)).collect();
    assert_eq!(namespace.maps(), shared);
    assert_eq!(first.end(), 0);
    eventually("one owner of each ConfigMap", REMOVAL, || {
        namespace.maps() == sent
    });
    assert_eq!(second.end(), 0);
    namespace.is_clean();
}

#[test]
fn eight_sessions_at_once_answer_and_leave_nothing() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let started = Instant::now();
    let sessions: Vec<_> = (0..8)
        .map(|_| spawn(&mut namespace.command(&["--host-image", PAUSE_IMAGE])))
        .collect();
    for session in sessions {
        assert_answered(&finish(session, started, "one of eight sessions", 4 * SECONDS));
    }
    namespace.is_clean();
}

/// What differs between two versions is the agent, by whose content the ConfigMaps are named.
#[test]
fn sessions_of_two_versions_have_config_maps_of_their_own() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let other = Agents::of_this_machine(|agent| {
        let mut loader = fs::read(agent.join("loader")).unwrap();
        // behind its last segment, which nothing reads
        loader.push(0);
        fs::write(agent.join("loader"), loader).unwrap();
    });
    let first = namespace.session();
    let of_first = namespace.maps();
    let second = namespace.session_by(&other.kinject());
    let of_both = namespace.maps();
    assert_eq!(of_both.len(), 2 * of_first.len());
    assert!(of_both.iter().all(|(_, owners)| *owners == 1), "{of_both:?}");
    assert!(of_first.iter().all(|map| of_both.contains(map)), "{of_both:?}");
    assert_eq!(first.end(), 0);
    let of_second: Vec<_> = of_both
        .into_iter()
        .filter(|map| !of_first.contains(map))
        .collect();
    eventually("the second version's ConfigMaps alone", REMOVAL, || {
        namespace.maps() == of_second
    });
    assert_answered(&run_within(
        second.command(ASK_WEB[0]).args(&ASK_WEB[1..]),
        SECONDS,
    ));
    assert_eq!(second.end(), 0);
    namespace.is_clean();
}

#[test]
fn foreign_config_maps_of_the_same_names_are_left_unchanged() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session();
    let names: Vec<String> = namespace
        .made("configmaps")
        .iter()
        .map(|map| map["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(session.end(), 0);
    namespace.is_clean();
    for name in &names {
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "of": "somebody else" },
            "metadata": { "name": name, "namespace": namespace.name() },
        });
        namespace.cluster.apply(&foreign.to_string()).unwrap();
    }
    assert_answered(&namespace.ask(&["--host-image", PAUSE_IMAGE]));
    for name in &names {
        let get = ["--namespace", namespace.name(), "get", "configmap", name];
        let foreign: Value = namespace.cluster.kubectl_json(&get).unwrap();
        assert_eq!(foreign["data"], json!({ "of": "somebody else" }), "{name}");
        assert!(foreign["metadata"]["ownerReferences"].is_null(), "{name}");
    }
    namespace.is_clean();
}
