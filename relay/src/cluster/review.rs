//! Asks the cluster which rights the user has, by a SelfSubjectAccessReview, which every authenticated user may create.

use super::access::{Access, innermost};
use crate::log;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use std::fmt;

/// A verb on a resource of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// The object; empty for all of them.
    name: String,
}

impl Right {
    /// A verb on all objects of a resource.
    pub(super) fn new(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        subresource: &'static str,
    ) -> Self {
        Self {
            verb,
            group,
            resource,
            subresource,
            name: String::new(),
        }
    }

    /// The same verb on one object.
    pub(super) fn of_object(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for Right {
    /// As kubectl takes it: `get deployments.apps/web`, `create pods/exec`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        for part in [self.subresource, &self.name] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

/// Whether the user has a right; none if the cluster does not say.
pub(super) async fn is_allowed(access: &Access, right: &Right) -> Option<bool> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(access.namespace.clone()),
                verb: given(right.verb),
                group: given(right.group),
                resource: given(right.resource),
                subresource: given(right.subresource),
                name: given(&right.name),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(access.client.clone());
    match reviews.create(&PostParams::default(), &review).await {
        Ok(review) => review.status.map(|status| status.allowed),
        Err(error) => {
            log::info!("cannot ask for the right to {right}: {}", innermost(&error));
            None
        }
    }
}
