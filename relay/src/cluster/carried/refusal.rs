//! What the API server's refusals mean for a carried agent, and the hints for them.

use crate::cluster::access::Access;
use crate::report::Failure;
use kube::core::Status;

/// The failure for the API server's refusal, with a hint; `what` completes "cannot".
pub(in crate::cluster) fn refused(access: &Access, error: &kube::Error, what: &str) -> Failure {
    let failure = access.failure(error, what);
    let kube::Error::Api(status) = error else {
        return or_by_image(failure);
    };
    let message = &status.message;
    if status.code != 403 || message.contains("exceeded quota") {
        return or_by_image(failure);
    }
    let hint = match is_by_rbac(message) {
        true => {
            "a carried agent takes `create`, `get` and `patch` on configmaps, and `patch` on jobs: ask for them"
        }
        false => "these are the cluster's own words",
    };
    or_by_image(Failure::lasting(failure.message, hint))
}

/// Whether RBAC refused the request: `User "a" cannot create resource "configmaps" in API group "" in the namespace
/// "b"`. Admission plug-ins and webhooks refuse with the same code.
fn is_by_rbac(message: &str) -> bool {
    message.contains(" cannot ") && message.contains(" resource \"")
}

/// Whether a request failed because the object is gone, changed at the same time, or has another UID than the request
/// names. The API server answers a patch with another UID as "Invalid", and names the field among the causes.
pub(in crate::cluster) fn is_changed(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    match status.code {
        404 | 409 => true,
        422 => causes.any(|cause| cause.field == "metadata.uid"),
        _ => false,
    }
}

/// The failure with one more hint: an agent from an image avoids all requests that only a carried agent needs.
pub(in crate::cluster) fn or_by_image(mut failure: Failure) -> Failure {
    if failure.lasting && !failure.is_end {
        let hint = failure.hint.take().unwrap_or_default();
        failure.hint = Some(format!(
            "{hint}; --agent-image names an image that holds the agent instead"
        ));
    }
    failure
}
