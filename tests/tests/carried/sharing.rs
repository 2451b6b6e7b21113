//! Sessions of one version share the ConfigMaps with the agent.

use std::time::Instant;

use kinject_tests::running::{finish, spawn};
use kinject_tests::session::eventually;
use serde_json::{Value, json};

use crate::installation::{Home, PAUSE_IMAGE, REMOVAL, SECONDS, assert_answered};

#[test]
fn second_session_sends_nothing_and_the_last_one_takes_the_maps_with_it() {
    let Some(home) = Home::new() else { return };
    let first = home.session();
    let sent = home.maps();
    assert!((1..=2).contains(&sent.len()), "{sent:?}");
    assert!(sent.iter().all(|(_, owners)| *owners == 1), "{sent:?}");
    let second = home.session();
    let shared: Vec<_> = sent.iter().map(|(uid, _)| (uid.clone(), 2)).collect();
    assert_eq!(home.maps(), shared);
    assert_eq!(first.end(), 0);
    eventually("one owner of each ConfigMap", REMOVAL, || home.maps() == sent);
    assert_eq!(second.end(), 0);
    home.is_clean();
}

#[test]
fn eight_sessions_at_once_answer_and_leave_nothing() {
    let Some(home) = Home::new() else { return };
    let started = Instant::now();
    let sessions: Vec<_> = (0..8)
        .map(|_| spawn(&mut home.command(&["--host-image", PAUSE_IMAGE])))
        .collect();
    for session in sessions {
        assert_answered(&finish(session, started, "one of eight sessions", 4 * SECONDS));
    }
    home.is_clean();
}

#[test]
fn maps_of_somebody_else_under_the_same_names_are_left_alone() {
    let Some(home) = Home::new() else { return };
    let session = home.session();
    let names: Vec<String> = home
        .made("configmaps")
        .iter()
        .map(|map| map["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(session.end(), 0);
    home.is_clean();
    for name in &names {
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "of": "somebody else" },
            "metadata": { "name": name, "namespace": home.name() },
        });
        home.cluster.apply(&foreign.to_string()).unwrap();
    }
    assert_answered(&home.ask(&["--host-image", PAUSE_IMAGE]));
    for name in &names {
        let get = ["--namespace", home.name(), "get", "configmap", name];
        let foreign: Value = home.cluster.kubectl_json(&get).unwrap();
        assert_eq!(foreign["data"], json!({ "of": "somebody else" }), "{name}");
        assert!(foreign["metadata"]["ownerReferences"].is_null(), "{name}");
    }
    home.is_clean();
}
