//! The rights that a session in the place of a workload takes, asked for before anything is made.
//!
//! Where the cluster does not say whether the user has one, it counts as given: the request that needs it says
//! otherwise.

use crate::cluster::access::Access;
use crate::cluster::review::{self, Right};
use crate::log;
use crate::report::Failure;
use futures::future::join_all;
use kinject_escape::word;
use kinject_protocol::session::{KubernetesTarget, TransportChoice};
use kinject_protocol::workload::WorkloadRequest;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for the reviews.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// The rights of a session, each as a choice of which one is enough.
pub(super) fn needed(
    target: &KubernetesTarget,
    request: &WorkloadRequest,
    is_carried: bool,
) -> Vec<Vec<Right>> {
    let kind = request.workload.kind;
    let mut rights = vec![
        vec![Right::new("get", kind.group(), kind.resource(), "").of_object(&request.workload.name)],
        vec![Right::new("create", "batch", "jobs", "")],
        vec![Right::new("create", "", "secrets", "")],
        vec![Right::new("list", "", "pods", "")],
        vec![Right::new("watch", "", "pods", "")],
    ];
    if is_carried {
        rights.push(vec![Right::new("patch", "batch", "jobs", "")]);
        for verb in ["create", "get", "patch"] {
            rights.push(vec![Right::new(verb, "", "configmaps", "")]);
        }
    }
    let proxy = Right::new("get", "", "pods", "proxy");
    let port_forward = Right::new("get", "", "pods", "portforward");
    rights.push(match target.transport {
        TransportChoice::Auto => vec![proxy, port_forward],
        TransportChoice::Proxy => vec![proxy],
        TransportChoice::PortForward => vec![port_forward],
    });
    if request.exec_environment {
        rights.push(vec![Right::new("get", "", "pods", "exec")]);
    }
    rights
}

/// Checks that the user has all of these, and names all that are missing.
pub(in crate::cluster) async fn check(access: &Access, needed: &[Vec<Right>]) -> Result<(), Failure> {
    let asked = join_all(needed.iter().map(async |choice| {
        let answers = join_all(choice.iter().map(|right| review::is_allowed(access, right))).await;
        answers.iter().all(|answer| *answer == Some(false))
    }));
    let refused = timeout(REVIEW_TIMEOUT, asked).await.unwrap_or_else(|_| {
        log::info!("the cluster does not say which rights this user has");
        Vec::new()
    });
    let missing: Vec<_> = needed
        .iter()
        .zip(refused)
        .filter(|(_, is_refused)| *is_refused)
        .map(|(choice, _)| {
            let words: Vec<_> = choice.iter().map(Right::to_string).collect();
            words.join(" or ")
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::lasting(
        format!(
            "missing rights in namespace {}: {}",
            access.namespace,
            missing.join(", ")
        ),
        &format!(
            "ask for them, or choose another namespace with --namespace; `kubectl -n {} auth can-i --list` shows yours",
            word(&access.namespace)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{Answer, FakeApi};
    use serde_json::{Value, json};

    fn request(exec_environment: bool) -> WorkloadRequest {
        WorkloadRequest {
            workload: "deploy/web".parse().unwrap(),
            container: None,
            files: true,
            remote_paths: Vec::new(),
            local_paths: Vec::new(),
            exec_environment,
        }
    }

    /// An API server where the user may do all but these, by verb and resource with its subresource.
    fn refusing(refused: &'static [(&'static str, &'static str)]) -> FakeApi {
        FakeApi::of_requests(move |_, path, body| {
            assert!(path.ends_with("/selfsubjectaccessreviews?"), "{path}");
            let mut review: Value = serde_json::from_slice(body).unwrap();
            let asked = &review["spec"]["resourceAttributes"];
            let resource = match asked["subresource"].as_str() {
                Some(subresource) => format!("{}/{subresource}", asked["resource"].as_str().unwrap()),
                None => asked["resource"].as_str().unwrap().to_owned(),
            };
            let is_refused = refused.contains(&(asked["verb"].as_str().unwrap(), resource.as_str()));
            review["status"] = json!({ "allowed": !is_refused });
            Answer::object(review)
        })
    }

    async fn checked(api: &FakeApi, transport: TransportChoice) -> Result<(), Failure> {
        let target = KubernetesTarget {
            transport,
            ..KubernetesTarget::default()
        };
        check(&api.access(), &needed(&target, &request(true), true)).await
    }

    #[tokio::test]
    async fn missing_rights_are_named_all_at_once() {
        let api = refusing(&[
            ("get", "deployments"),
            ("create", "jobs"),
            ("patch", "configmaps"),
            ("get", "pods/exec"),
        ]);
        let failure = checked(&api, TransportChoice::Auto).await.unwrap_err();
        assert_eq!(
            failure.message,
            "missing rights in namespace default: get deployments.apps/web, create jobs.batch, patch configmaps, get \
             pods/exec"
        );
    }

    #[tokio::test]
    async fn one_of_two_transports_is_enough() {
        let api = refusing(&[("get", "pods/proxy")]);
        checked(&api, TransportChoice::Auto).await.unwrap();
        let failure = checked(&api, TransportChoice::Proxy).await.unwrap_err();
        assert!(
            failure.message.ends_with(": get pods/proxy"),
            "{}",
            failure.message
        );
        let api = refusing(&[("get", "pods/proxy"), ("get", "pods/portforward")]);
        let failure = checked(&api, TransportChoice::Auto).await.unwrap_err();
        assert!(
            failure
                .message
                .ends_with("get pods/proxy or get pods/portforward"),
            "{}",
            failure.message
        );
    }

    #[tokio::test]
    async fn reviews_that_the_cluster_refuses_do_not_end_a_session() {
        let refusal = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "forbidden", "reason": "Forbidden", "code": 403 });
        let api = crate::cluster::fake_api::always(Answer::refusal(403, refusal));
        checked(&api, TransportChoice::Auto).await.unwrap();
    }

    #[test]
    fn exec_and_config_maps_are_needed_only_where_they_are_used() {
        let words = |exec, is_carried| -> String {
            let rights = needed(&KubernetesTarget::default(), &request(exec), is_carried);
            let words: Vec<_> = rights.concat().iter().map(Right::to_string).collect();
            words.join(", ")
        };
        assert!(!words(false, false).contains("exec") && !words(false, false).contains("configmaps"));
        assert!(words(true, false).contains("get pods/exec"));
        assert!(words(false, true).contains("create configmaps"));
    }
}
