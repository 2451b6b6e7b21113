//! Volumes of a pod that the kubelet cannot mount, or the cluster not attach, by the events that say so.

use super::access::{Access, innermost};
use super::events;
use super::own_mounts::OwnMounts;
use super::workload::pod::WITHOUT_FILES;
use crate::log;
use crate::report::Failure;

/// The reasons of events about volumes: the kubelet's, and the attach controller's.
const REASONS: [&str; 2] = ["FailedMount", "FailedAttachVolume"];

/// What the kubelet says of a volume that waiting does not mend: its source is not there, or another node has it.
const LASTING: [&str; 6] = [
    "\" not found",
    "references non-existent config key",
    "references non-existent secret key",
    "non-existent downward api",
    "hostPath type check failed",
    "Multi-Attach error",
];

/// Waits for an event about a volume of that pod that will not be mounted. All other failures to mount one are told as
/// progress. Without the right to read events it waits for ever.
pub(super) async fn of_pod(
    access: &Access,
    pod_uid: &str,
    own: &OwnMounts,
    progress: impl Fn(&str),
) -> Failure {
    let failed = events::about_pod(access, pod_uid, |event| {
        if !REASONS.contains(&event.reason.as_deref().unwrap_or_default()) {
            return None;
        }
        let message = event.message.unwrap_or_default();
        if is_lasting(&message, own) {
            return Some(failure(&message));
        }
        log::info!("a volume of the agent's pod is not mounted yet: {message}");
        progress("waiting for the workload's volumes");
        None
    });
    match failed.await {
        Ok(failure) => failure,
        Err(error) => {
            log::info!("cannot read the events of the agent's pod: {}", innermost(&error));
            std::future::pending().await
        }
    }
}

/// Whether the volume is the workload's and will not be mounted. The relay sees to the agent's own.
fn is_lasting(message: &str, own: &OwnMounts) -> bool {
    let is_own = message
        .split_once("volume \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .is_some_and(|(volume, _)| own.has_volume(volume));
    !is_own && LASTING.iter().any(|words| message.contains(words))
}

fn failure(message: &str) -> Failure {
    let mend = match message.contains("Multi-Attach") {
        true => "wait until the other node has let go of it",
        false => "create what is missing",
    };
    Failure::lasting(
        format!("a volume of the workload cannot be mounted: {message}"),
        &format!("{mend}, or go on without files: {WITHOUT_FILES}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{self, Answer};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn missing_sources_and_volumes_of_other_nodes_are_lasting_failures() {
        let own = OwnMounts::default();
        for message in [
            "MountVolume.SetUp failed for volume \"config\" : configmap \"gone\" not found",
            "MountVolume.SetUp failed for volume \"all\" : [configmap \"a\" not found, secret \"b\" not found]",
            "MountVolume.SetUp failed for volume \"config\" : references non-existent config key: gone",
            "MountVolume.SetUp failed for volume \"host\" : hostPath type check failed: /srv is not a directory",
            "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) db-0",
        ] {
            assert!(is_lasting(message, &own), "{message}");
        }
        for message in [
            "MountVolume.SetUp failed for volume \"config\" : failed to sync configmap cache: timed out waiting for the \
             condition",
            "MountVolume.SetUp failed for volume \"files\" : configmap \"kinject-agent-0\" not found",
            "MountVolume.SetUp failed for volume \"identity\" : secret \"kinject-agent-0\" not found",
        ] {
            assert!(!is_lasting(message, &own), "{message}");
        }
    }

    fn event(reason: &str, message: &str) -> Value {
        json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "involvedObject": {},
            "reason": reason, "message": message,
        } })
    }

    #[tokio::test]
    async fn first_lasting_failure_is_told_with_the_clusters_words_and_the_way_on() {
        let api = fake_api::always(Answer::events([
            event("Scheduled", "\" not found"),
            event(
                "FailedMount",
                "MountVolume.SetUp failed for volume \"a\" : timed out",
            ),
            event(
                "FailedMount",
                "MountVolume.SetUp failed for volume \"a\" : secret \"gone\" not found",
            ),
        ]));
        let told = std::cell::RefCell::new(Vec::new());
        let progress = |words: &str| told.borrow_mut().push(words.to_owned());
        let failure = of_pod(&api.access(), "ours", &OwnMounts::default(), progress).await;
        assert!(
            failure.message.ends_with("secret \"gone\" not found"),
            "{}",
            failure.message
        );
        assert!(failure.hint.unwrap().contains("--files none"));
        assert_eq!(*told.borrow(), ["waiting for the workload's volumes"]);
        assert!(
            api.asked()[0].contains("involvedObject.uid%3Dours"),
            "{:?}",
            api.asked()
        );
    }
}
