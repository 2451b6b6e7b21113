//! Why an agent did not start, as far as another attempt with a changed Job may succeed.

use super::carried::upload::UploadError;
use crate::report::Failure;

/// Why an agent did not start.
#[derive(Clone, Debug)]
pub(super) enum StartFailure {
    /// The namespace admits only pods that have resource limits.
    LimitsRequired(Failure),
    /// Pod Security does not admit the pod.
    PodSecurity(Failure),
    /// Another policy does not admit the pod.
    PolicyDenied(Failure),
    /// Different ConfigMaps have the names of a carried agent's, or the cluster does not let this user share them.
    NameTaken(Failure),
    /// A ConfigMap of a carried agent was removed while the agent started.
    ConfigMapRemoved(Failure),
    /// The Job of a carried agent ended at its deadline before the relay released it.
    HoldExpired(Failure),
    /// The cluster does not let this user lift the deadline of a Job.
    DeadlineStays(Failure),
    /// The cluster has no node, or the image no variant, of the carried agent's architecture.
    WrongArchitecture(Failure),
    /// The node cannot pull the image in which a carried agent should run.
    ImageUnavailable(Failure),
    /// Any other failure.
    Failed(Failure),
}

impl From<Failure> for StartFailure {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<UploadError> for StartFailure {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NameTaken(failure) => Self::NameTaken(failure),
            UploadError::Removed(failure) => Self::ConfigMapRemoved(failure),
            UploadError::HoldExpired(failure) => Self::HoldExpired(failure),
            UploadError::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl From<StartFailure> for Failure {
    fn from(failure: StartFailure) -> Self {
        match failure {
            StartFailure::LimitsRequired(failure)
            | StartFailure::PodSecurity(failure)
            | StartFailure::PolicyDenied(failure)
            | StartFailure::NameTaken(failure)
            | StartFailure::ConfigMapRemoved(failure)
            | StartFailure::HoldExpired(failure)
            | StartFailure::DeadlineStays(failure)
            | StartFailure::WrongArchitecture(failure)
            | StartFailure::ImageUnavailable(failure)
            | StartFailure::Failed(failure) => failure,
        }
    }
}
