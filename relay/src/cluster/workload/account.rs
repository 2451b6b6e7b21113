//! What a workload's service account may do, which a session's programs may do with its token.
//!
//! The account itself is asked, by a SelfSubjectRulesReview that impersonates it. The cluster's role `edit` has the
//! right to impersonate the service accounts of a namespace, and no right to read RoleBindings.

use crate::cluster::access::{Access, innermost};
use crate::log;
use http::HeaderValue;
use k8s_openapi::api::authorization::v1::{
    ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectRulesReviewStatus,
};
use kube::Resource;
use kube::api::PostParams;
use kube::core::Request;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The service account of pods that name none.
pub(super) const DEFAULT: &str = "default";

/// Time limit for the review.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// The header by which a request is another user's.
const IMPERSONATE: &str = "impersonate-user";

/// How many rules are named, and how many resources of each; the log has all of them.
const MAX_RULES: usize = 4;
const MAX_RESOURCES: usize = 6;

/// What every account may do: ask about itself.
const OF_ALL: [&str; 3] = [
    "selfsubjectaccessreviews",
    "selfsubjectreviews",
    "selfsubjectrulesreviews",
];

/// What an account may do, about which the cluster is asked while the agent starts.
pub(super) struct RightsReview {
    account: String,
    answer: Rc<OnceCell<Option<String>>>,
    /// It ends with this value.
    _task: JoinSet<()>,
}

impl RightsReview {
    /// Asks.
    pub(super) fn begin(access: &Access, account: String) -> Self {
        let answer = Rc::<OnceCell<_>>::default();
        let mut task = JoinSet::new();
        task.spawn_local({
            let (access, account, answer) = (access.clone(), account.clone(), Rc::clone(&answer));
            async move {
                let rights = rights(&access, &account).await;
                // nobody else answers
                let _answered = answer.set(rights).is_err();
            }
        });
        Self {
            account,
            answer,
            _task: task,
        }
    }

    /// The answer in words, as far as there is one.
    pub(super) fn in_words(&self) -> Option<String> {
        match self.answer.get() {
            Some(answer) => answer.clone(),
            None => unknown(&self.account, "before the cluster answers"),
        }
    }
}

/// What an account of the namespace may do there, in words, or why that cannot be seen; none for the default account
/// where it may do no more than every account.
async fn rights(access: &Access, account: &str) -> Option<String> {
    if access.is_impersonating {
        return unknown(account, "by a session that is another user's (--as)");
    }
    let reviewed = timeout(REVIEW_TIMEOUT, review(access, account)).await;
    match reviewed.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Ok(status) => {
            let rules = rules(&status.resource_rules);
            let all = if rules.is_empty() {
                "nothing".to_owned()
            } else {
                in_words(&rules, usize::MAX)
            };
            log::info!(
                "service account {account} may in namespace {}: {all}",
                access.namespace
            );
            described(account, &rules, status.incomplete)
        }
        Err(why) => {
            log::info!("what service account {account} may do cannot be seen: {why}");
            unknown(account, "without the right to impersonate it")
        }
    }
}

/// That the rights of an account are not known; none for the account of pods that name none.
fn unknown(account: &str, why: &str) -> Option<String> {
    (account != DEFAULT).then(|| format!("what service account {account} may do cannot be seen {why}"))
}

async fn review(access: &Access, account: &str) -> Result<SubjectRulesReviewStatus, String> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(access.namespace.clone()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let body = serde_json::to_vec(&review).map_err(|error| error.to_string())?;
    let url = SelfSubjectRulesReview::url_path(&(), None);
    let mut request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| error.to_string())?;
    let user = format!("system:serviceaccount:{}:{account}", access.namespace);
    let user = HeaderValue::try_from(user).map_err(|error| error.to_string())?;
    request.headers_mut().insert(IMPERSONATE, user);
    let reviewed = access.client.request::<SelfSubjectRulesReview>(request).await;
    let reviewed = reviewed.map_err(|error| innermost(&error))?;
    reviewed
        .status
        .ok_or_else(|| "the answer has no rules".to_owned())
}

/// Verbs, and the resources to which they apply.
struct Rule {
    verbs: String,
    resources: Vec<String>,
}

impl Rule {
    /// As kubectl takes it (`get,list pods,services`), with at most so many resources.
    fn in_words(&self, most: usize) -> String {
        let verbs = match self.verbs.as_str() {
            "*" => "do all to",
            verbs => verbs,
        };
        let named: Vec<_> = self.resources.iter().take(most).map(String::as_str).collect();
        let named = named.join(",");
        match self.resources.len().saturating_sub(most) {
            0 => format!("{verbs} {named}"),
            more => format!("{verbs} {named} and {more} more"),
        }
    }
}

fn in_words(rules: &[Rule], most_resources: usize) -> String {
    let rules: Vec<_> = rules.iter().map(|rule| rule.in_words(most_resources)).collect();
    rules.join("; ")
}

/// The rules without those of every account. Resources with the same verbs stand together.
fn rules(rules: &[ResourceRule]) -> Vec<Rule> {
    let mut by_verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in rules {
        let resources = resources(rule);
        if resources.is_empty() {
            continue;
        }
        let mut verbs = rule.verbs.clone();
        verbs.sort();
        verbs.dedup();
        let known = by_verbs.entry(verbs.join(",")).or_default();
        known.extend(
            resources
                .into_iter()
                .filter(|resource| !known.contains(resource))
                .collect::<Vec<_>>(),
        );
    }
    let rules = by_verbs.into_iter();
    let mut rules: Vec<_> = rules
        .map(|(verbs, resources)| Rule { verbs, resources })
        .collect();
    // what changes something comes first
    rules.sort_by_key(|rule| {
        rule.verbs
            .split(',')
            .all(|verb| matches!(verb, "get" | "list" | "watch"))
    });
    rules
}

/// The resources of a rule: `pods`, `deployments.apps`, `secrets/web-tls`.
fn resources(rule: &ResourceRule) -> Vec<String> {
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let names = rule.resource_names.as_deref().unwrap_or_default();
    let of_rule = rule.resources.iter().flatten();
    let mut resources = Vec::new();
    for resource in of_rule.filter(|resource| !OF_ALL.contains(&resource.as_str())) {
        for group in groups {
            let resource = match (resource.as_str(), group.as_str()) {
                ("*", "*") => "everything".to_owned(),
                (resource, "" | "*") => resource.to_owned(),
                (resource, group) => format!("{resource}.{group}"),
            };
            match names {
                [] => resources.push(resource),
                names => resources.extend(names.iter().map(|name| format!("{resource}/{name}"))),
            }
        }
    }
    resources
}

fn described(account: &str, rules: &[Rule], is_incomplete: bool) -> Option<String> {
    let more = rules.len().saturating_sub(MAX_RULES);
    let named = in_words(&rules[..rules.len() - more], MAX_RESOURCES);
    let more = match (more, is_incomplete) {
        (0, false) => String::new(),
        (0, true) => ", and perhaps more".to_owned(),
        (more, _) => format!("; and {more} more, which -v names"),
    };
    match (rules, is_incomplete) {
        ([], _) if account == DEFAULT => None,
        ([], false) => Some(format!(
            "service account {account} may do no more than every account"
        )),
        ([], true) => Some(format!(
            "the cluster does not tell all that service account {account} may do"
        )),
        _ => Some(format!("service account {account} may {named}{more}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{self, Answer, FakeApi};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn reviewed(rules: &Value, is_incomplete: bool) -> Answer {
        Answer::object(
            json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
            "metadata": {}, "spec": {},
            "status": { "resourceRules": rules, "nonResourceRules": [], "incomplete": is_incomplete } }),
        )
    }

    fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Value {
        json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "resourceNames": names })
    }

    /// What every account has.
    fn basic() -> Value {
        rule(
            &["create"],
            "authorization.k8s.io",
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            &[],
        )
    }

    async fn of(account: &str, rules: Value, is_incomplete: bool) -> Option<String> {
        let api = fake_api::always(reviewed(&rules, is_incomplete));
        rights(&api.access(), account).await
    }

    #[tokio::test]
    async fn account_is_asked_itself_by_impersonation() {
        let user = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&user);
        let api = FakeApi::of_whole_requests(move |request, body| {
            assert_eq!(
                request.uri.path(),
                "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            );
            let review: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(review["spec"]["namespace"], "default");
            *seen.lock() = request.headers.get(IMPERSONATE).cloned();
            reviewed(&json!([basic()]), false)
        });
        let words = rights(&api.access(), "web").await.unwrap();
        assert_eq!(words, "service account web may do no more than every account");
        assert_eq!(user.lock().clone().unwrap(), "system:serviceaccount:default:web");
    }

    #[tokio::test]
    async fn rules_are_named_as_kubectl_takes_them_those_that_change_something_first() {
        let rules = json!([
            basic(),
            rule(&["list", "get"], "", &["pods", "services"], &[]),
            rule(&["get", "list"], "apps", &["deployments"], &[]),
            rule(&["get"], "", &["secrets"], &["web-tls"]),
            rule(&["*"], "batch", &["jobs"], &[]),
        ]);
        assert_eq!(
            of("web", rules, false).await.unwrap(),
            "service account web may do all to jobs.batch; get secrets/web-tls; get,list \
             pods,services,deployments.apps"
        );
        let administrators = json!([rule(&["*"], "*", &["*"], &[])]);
        assert_eq!(
            of("default", administrators, false).await.unwrap(),
            "service account default may do all to everything"
        );
    }

    #[tokio::test]
    async fn many_rules_are_counted_and_an_incomplete_list_is_said_to_be_one() {
        let verbs = ["create", "delete", "get", "list", "patch", "watch"];
        let rules: Vec<_> = verbs
            .iter()
            .map(|verb| rule(&[verb], "", &["pods"], &[]))
            .collect();
        let words = of("web", json!(rules), false).await.unwrap();
        assert!(words.ends_with("; and 2 more, which -v names"), "{words}");
        let words = of("web", json!([rules[0]]), true).await.unwrap();
        assert!(words.ends_with("create pods, and perhaps more"), "{words}");
        let words = of("web", json!([]), true).await.unwrap();
        assert!(words.contains("does not tell"), "{words}");
    }

    /// A chart may list hundreds of objects by their names.
    #[tokio::test]
    async fn many_resources_of_a_rule_are_counted() {
        let names: Vec<_> = (0..100).map(|number| format!("s{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let named = rule(&["get"], "", &["secrets"], &names);
        assert_eq!(
            of("web", json!([named]), false).await.unwrap(),
            "service account web may get secrets/s0,secrets/s1,secrets/s2,secrets/s3,secrets/s4,secrets/s5 and 94 more"
        );
    }

    #[tokio::test]
    async fn rights_that_cannot_be_seen_are_said_only_of_an_account_of_the_workloads_own() {
        let refusal = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "cannot impersonate", "reason": "Forbidden", "code": 403 });
        let api = fake_api::always(Answer::refusal(403, refusal));
        let words = rights(&api.access(), "web").await.unwrap();
        assert!(words.contains("cannot be seen"), "{words}");
        assert_eq!(rights(&api.access(), DEFAULT).await, None);
        assert_eq!(of(DEFAULT, json!([basic()]), false).await, None);
    }

    #[tokio::test]
    async fn session_that_impersonates_a_user_asks_for_nobody_else() {
        let api = FakeApi::of_requests(|_, path, _| panic!("{path}"));
        let mut access = api.access();
        access.is_impersonating = true;
        assert!(rights(&access, "web").await.unwrap().ends_with("(--as)"));
    }
}
