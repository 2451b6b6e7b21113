use super::super::fixture::{Maps, Session, owner, replace_first, status};
use super::*;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

/// The start of a pod that takes so long.
async fn start(after: Duration) -> &'static str {
    tokio::time::sleep(after).await;
    "started"
}

impl Session {
    async fn restore_until<T>(
        &self,
        plan: &UploadPlan,
        uploaded: &mut [UploadedMap],
        started: impl Future<Output = T>,
    ) -> Result<T, UploadError> {
        restore_until(&self.access, &owner("one"), plan, uploaded, started).await
    }

    async fn verify(&self, uploaded: &[UploadedMap]) -> Result<(), UploadError> {
        verify(&self.access, &self.plan().await, uploaded).await
    }
}

#[tokio::test]
async fn config_maps_unchanged_since_their_upload_pass_verification() {
    let session = Session::new();
    let uploaded = session.upload("one").await.unwrap();
    session.verify(&uploaded).await.unwrap();
}

#[tokio::test]
async fn config_map_replaced_during_the_start_fails_verification() {
    let session = Session::new();
    let uploaded = session.upload("one").await.unwrap();
    replace_first(&mut session.namespace.lock().maps);
    let Err(UploadError::Failed(failure)) = session.verify(&uploaded).await else {
        panic!("the ConfigMap was replaced");
    };
    assert!(
        failure.lasting && failure.message.contains("was replaced by one of other content"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn config_map_removed_during_the_start_fails_verification_as_removed() {
    let create_again = |maps: &mut Maps| {
        maps.values_mut().next().unwrap()["metadata"]["uid"] = json!("another");
    };
    for (remove, words) in [
        (Maps::clear as fn(&mut Maps), "was removed while"),
        (create_again, "was removed and made again while"),
    ] {
        let session = Session::new();
        let uploaded = session.upload("one").await.unwrap();
        remove(&mut session.namespace.lock().maps);
        let Err(UploadError::Removed(failure)) = session.verify(&uploaded).await else {
            panic!("the ConfigMap was removed");
        };
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test(start_paused = true)]
async fn verification_is_retried_after_transient_api_errors() {
    let session = Session::new();
    let uploaded = session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().next_answers = [429, 503].map(|code| status(code, "No", "try again")).into();
    verify(&session.access, &plan, &uploaded).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn config_map_removed_before_the_pod_runs_is_sent_again() {
    let session = Session::new();
    let mut uploaded = session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().maps.clear();
    session.namespace.lock().next_answers = [status(503, "ServiceUnavailable", "try again")].into();
    let restored = session.restore_until(&plan, &mut uploaded, start(5 * CHECK_PAUSE));
    assert_eq!(restored.await.unwrap(), "started");
    assert_eq!(session.owners(), [["one"], ["one"]]);
    session.verify(&uploaded).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn config_map_being_sent_again_as_the_pod_starts_passes_verification() {
    let session = Session::new();
    let mut uploaded = session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().maps.clear();
    let (start, started) = oneshot::channel();
    let start = Mutex::new(Some(start));
    session.namespace.lock().on_creation = Some(Box::new(move || {
        // the pod starts while the first ConfigMap of two is sent
        if let Some(start) = start.lock().take() {
            start.send(()).unwrap();
        }
    }));
    session
        .restore_until(&plan, &mut uploaded, started)
        .await
        .unwrap()
        .unwrap();
    session.verify(&uploaded).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lasting_refusal_before_the_pod_runs_ends_the_start() {
    let session = Session::new();
    let mut uploaded = session.upload("one").await.unwrap();
    let plan = session.plan().await;
    session.namespace.lock().forbidden = Some((Method::GET, status(403, "Forbidden", "no")));
    let restored = session.restore_until(&plan, &mut uploaded, start(5 * CHECK_PAUSE));
    assert!(matches!(restored.await, Err(UploadError::Failed(failure)) if failure.lasting));
}
