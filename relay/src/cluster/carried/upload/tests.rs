use super::super::fixture::{Session, owner, replace_first, status};
use super::*;
use crate::cluster::fake_api::FakeApi;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

#[tokio::test]
async fn missing_config_maps_are_created_and_owned_by_the_job() {
    let session = Session::new();
    let plan = session.plan().await;
    assert_eq!(plan.existing, [Existing::Missing, Existing::Missing]);
    let uploaded = session.upload("one").await.unwrap();
    assert_eq!(session.owners(), [["one"], ["one"]]);
    let existing: Vec<_> = uploaded
        .into_iter()
        .map(|map| Existing::Identical(map.uid))
        .collect();
    assert_eq!(session.plan().await.existing, existing);
}

#[tokio::test]
async fn existing_config_maps_get_another_owner_and_are_not_sent_again() {
    let session = Session::new();
    let first = session.upload("one").await.unwrap();
    let received = session.namespace.lock().received;
    let second = session.another().upload("other").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(session.owners(), [["one", "other"], ["one", "other"]]);
    assert_eq!(session.namespace.lock().received, received);
}

#[tokio::test]
async fn config_maps_created_concurrently_by_another_session_are_shared() {
    let session = Session::new();
    let (plan, other) = (session.plan().await, session.plan().await);
    let first = upload(&session.access, &owner("one"), &plan).await.unwrap();
    let second = upload(&session.access, &owner("other"), &other).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(session.owners(), [["one", "other"], ["one", "other"]]);
}

#[tokio::test]
async fn config_maps_garbage_collected_concurrently_are_sent_again() {
    let session = Session::new();
    let first = session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().before_write = Some(BTreeMap::clear);
    let second = upload(&session.access, &owner("other"), &plan).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(session.owners(), [["other"], ["other"]]);
}

#[tokio::test]
async fn config_map_with_other_content_counts_as_taken_name_and_is_unchanged() {
    let session = Session::new();
    session.upload("one").await.unwrap();
    replace_first(&mut session.namespace.lock().maps);
    let other = session.another();
    assert_eq!(other.plan().await.existing[0], Existing::Different);
    let Err(UploadError::NameTaken(failure)) = other.upload("other").await else {
        panic!("the ConfigMap was taken for the agent's");
    };
    assert!(
        failure
            .message
            .contains("another ConfigMap of the name kinject-agent-"),
        "{}",
        failure.message
    );
    assert_eq!(session.owners()[0], ["one"]);
}

#[tokio::test]
async fn config_map_replaced_before_the_patch_is_compared_again() {
    let session = Session::new();
    session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().before_write = Some(|maps| {
        for map in maps.values_mut() {
            map["metadata"]["uid"] = json!("another");
        }
    });
    let uploaded = upload(&session.access, &owner("other"), &plan).await.unwrap();
    assert!(uploaded.iter().all(|map| map.uid == "another"), "{uploaded:?}");
    assert_eq!(session.owners(), [["one", "other"], ["one", "other"]]);
}

#[tokio::test]
async fn config_map_replaced_by_other_content_before_the_patch_counts_as_taken_name() {
    let session = Session::new();
    session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().before_write = Some(replace_first);
    let refused = upload(&session.access, &owner("other"), &plan).await;
    assert!(matches!(refused, Err(UploadError::NameTaken(_))), "{refused:?}");
    assert_eq!(session.owners()[0], ["one"]);
}

#[tokio::test]
async fn config_map_whose_owners_cannot_be_changed_counts_as_taken_name() {
    let session = Session::new();
    session.upload("one").await.unwrap();
    let message =
        "configmaps \"a\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>";
    session.namespace.lock().forbidden = Some((Method::PATCH, status(403, "Forbidden", message)));
    let refused = session.upload("other").await;
    assert!(matches!(refused, Err(UploadError::NameTaken(_))), "{refused:?}");
}

#[tokio::test]
async fn verified_config_map_is_not_read_again_until_its_uid_changes() {
    let session = Session::new();
    session.upload("one").await.unwrap();
    let other = session.another();
    let read = || session.namespace.lock().read;
    other.plan().await;
    assert_eq!(read(), 2);
    let existing = other.plan().await.existing;
    assert!(
        matches!(existing[..], [Existing::Identical(_), Existing::Identical(_)]),
        "{existing:?}"
    );
    session.plan().await;
    assert_eq!(read(), 2, "the first session sent them itself");
    replace_first(&mut session.namespace.lock().maps);
    assert_eq!(other.plan().await.existing[0], Existing::Different);
    assert_eq!(read(), 3);
}

/// The Job is not released then ([`creation`](crate::cluster::creation)).
#[tokio::test]
async fn quota_reached_at_the_second_config_map_fails_with_the_servers_message() {
    let message = "configmaps \"a\" is forbidden: exceeded quota: q, requested: count/configmaps=1";
    let session = Session::new();
    session.namespace.lock().quota = Some((1, status(403, "Forbidden", message)));
    let Err(UploadError::Failed(failure)) = session.upload("one").await else {
        panic!("the API server refused it");
    };
    assert!(
        failure.message.contains("exceeded quota: q"),
        "{}",
        failure.message
    );
    assert_eq!(session.owners(), [["one"]], "the first one goes with the Job");
}

#[tokio::test(start_paused = true)]
async fn upload_without_answers_fails_before_the_hold_of_the_job_ends() {
    let plan = Session::new().plan().await;
    let (access, job) = (FakeApi::silent().access(), owner("one"));
    let hold = Duration::from_secs(u64::from(job::HOLD_SECONDS));
    let uploaded = timeout(hold, upload(&access, &job, &plan)).await;
    let Ok(Err(UploadError::Failed(failure))) = uploaded else {
        panic!("{uploaded:?}");
    };
    assert!(!failure.lasting, "{}", failure.message);
}

#[tokio::test]
async fn config_map_denial_hint_names_the_cause_and_agent_image() {
    for (message, hinted) in [
        (
            "configmaps is forbidden: User \"a\" cannot create resource \"configmaps\" in API group \"\" in the \
             namespace \"b\"",
            "`patch` on configmaps",
        ),
        (
            "configmaps \"a\" is forbidden: exceeded quota: q",
            "quota is used up",
        ),
        (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no binary data here",
            "these are the cluster's own words",
        ),
    ] {
        let session = Session::new();
        session.namespace.lock().forbidden = Some((Method::POST, status(403, "Forbidden", message)));
        let Err(UploadError::Failed(failure)) = session.upload("one").await else {
            panic!("the API server refused it");
        };
        assert!(failure.message.contains(message), "{}", failure.message);
        let hint = failure.hint.unwrap();
        assert!(hint.contains(hinted) && hint.contains("--agent-image"), "{hint}");
    }
}
