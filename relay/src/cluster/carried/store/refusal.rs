//! What a cluster's refusals of a carried agent mean, and the ways out of them.

use crate::cluster::access::Access;
use crate::report::Failure;
use kube::core::Status;

/// The cluster's refusal, with the ways out of it.
pub(in crate::cluster) fn refused(access: &Access, error: &kube::Error, what: &str) -> Failure {
    let failure = access.failure(error, what);
    let kube::Error::Api(status) = error else {
        return or_by_image(failure);
    };
    let message = &status.message;
    if status.code != 403 || message.contains("exceeded quota") {
        return or_by_image(failure);
    }
    let hint = match is_about_rights(message) {
        true => {
            "a carried agent takes `create`, `get` and `patch` on configmaps, and `patch` on jobs: ask for them"
        }
        false => "these are the cluster's own words",
    };
    or_by_image(Failure::lasting(failure.message, hint))
}

/// Whether a refusal is RBAC's: `User "a" cannot create resource "configmaps" in API group "" in the namespace "b"`.
/// Admission and its webhooks refuse by the same code.
fn is_about_rights(message: &str) -> bool {
    message.contains(" cannot ") && message.contains(" resource \"")
}

/// Whether an object was not changed because it is gone, changes at the same time, or has another UID than the request.
/// To a patch the API server says the last as "Invalid", with the field among the causes.
pub(in crate::cluster) fn is_changed(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    match status.code {
        404 | 409 => true,
        422 => causes.any(|cause| cause.field == "metadata.uid"),
        _ => false,
    }
}

/// The failure, with the way out that leads around all of what is special of a carried agent.
pub(in crate::cluster) fn or_by_image(mut failure: Failure) -> Failure {
    if failure.lasting && !failure.is_end {
        let hint = failure.hint.take().unwrap_or_default();
        failure.hint = Some(format!(
            "{hint}; --agent-image names an image that holds the agent instead"
        ));
    }
    failure
}
