//! The names, labels and time limits of a session's Jobs, and how other objects name a Job as their owner.
//! [`super::manifest`] has the content of a Job.

use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;

/// Where the agent listens for the API server's pod proxy, on the pod's address.
pub(crate) const PROXY_PORT: u16 = 7800;

/// Where the agent listens for port-forward, on the pod's loopback.
pub(crate) const FORWARD_PORT: u16 = 7801;

/// The key of the agent's identity in the Secret, and the name of its file in the pod.
pub(super) const IDENTITY_KEY: &str = "identity";

/// Seconds that a finished Job stays, long enough for a look at its log.
pub(super) const KEEP_FINISHED_SECONDS: u32 = 10;

/// Seconds that the upload of a carried agent's ConfigMaps may take.
pub(super) const UPLOAD_SECONDS: u32 = 240;

/// Seconds that a pod may take to run once everything exists that it mounts, if no event reports a failure. Most of the
/// time goes into pulling the image.
pub(super) const START_SECONDS: u32 = 120;

/// Seconds after which a Job ends unless its pod runs. They count from the Job's creation, so they cover the upload of a
/// carried agent, the start of the pod, and the requests that release the Job and lift its deadline.
pub(super) const HOLD_SECONDS: u32 = UPLOAD_SECONDS + START_SECONDS + 180;

/// A Job of this session that exists. Every user who may create Jobs can choose the name of one, and none can choose
/// its UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentJob {
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
}

/// A Job whose creation the session has requested. It may not exist.
#[derive(Clone, Debug)]
pub(super) struct RequestedJob {
    /// Its name.
    pub(super) name: String,
    /// Its UID; none until the API server has answered the request.
    pub(super) uid: Option<String>,
}

/// The name of a session's first Job.
pub(crate) fn name(session: &str) -> String {
    format!("kinject-agent-{session}")
}

/// A name for a later Job of the session. It is random, so that no other user can create a pod with the labels of the
/// Job before the Job exists.
pub(crate) fn later_name(session: &str) -> io::Result<String> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!("{}-{:016x}", name(session), u64::from_ne_bytes(random)))
}

/// Whether a Job of that name can be the session's.
pub(crate) fn is_name_of(session: &str, job: &str) -> bool {
    let first = name(session);
    job.strip_prefix(&first)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The labels of everything that a session makes for itself.
pub(super) fn labels(session: &str) -> BTreeMap<String, String> {
    let mut labels = shared_labels();
    labels.insert("app.kubernetes.io/instance".to_owned(), session.to_owned());
    labels
}

/// The labels of everything that sessions make, also of what they share.
pub(super) fn shared_labels() -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "kinject-agent"),
        ("app.kubernetes.io/managed-by", "kinject"),
        ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into()
}

/// The owner reference that makes a Job the owner of another object. The garbage collector removes an object when all
/// of its owners are gone.
pub(super) fn owner_reference(job: &AgentJob) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.name,
        "uid": job.uid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_job_names_are_random_and_recognized_as_the_sessions() {
        let (one, other) = (later_name("0123abcd").unwrap(), later_name("0123abcd").unwrap());
        assert_ne!(one, other);
        for name in [&one, &other, &name("0123abcd")] {
            assert!(is_name_of("0123abcd", name), "{name}");
            assert!(
                name.len() + "-12345".len() <= 63,
                "a pod's name has to fit: {name}"
            );
        }
        for foreign in [
            "kinject-agent-0123abcde",
            "kinject-agent-0123abc",
            "web",
            "my-kinject-agent-0123abcd",
        ] {
            assert!(!is_name_of("0123abcd", foreign), "{foreign}");
        }
    }
}
