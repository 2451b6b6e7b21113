//! The session's Jobs: their creation, and their removal. A user may lack the right to remove Jobs. Then a Job stays,
//! and the session goes on with another one.

use super::spec::AgentSpec;
use crate::cluster::access::Access;
use crate::cluster::carried::upload::UploadPlan;
use crate::cluster::creation::{self, Creation, LatestJob};
use crate::cluster::dry_run::{self, DryRun};
use crate::cluster::gc::{self, Removal};
use crate::cluster::job::{self, RequestedJob};
use crate::log;
use crate::report::Failure;
use kinject_protocol::session::Report;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Time limit for the removal of the Jobs at the end of the session, and for the creation that is under way then.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(6);

/// How many Jobs a session may leave because the user may not remove them. Each failed start leaves one more.
const MAX_LEFT: usize = 4;

/// The Jobs of a session.
pub(super) struct SessionJobs {
    access: Access,
    spec: Rc<AgentSpec>,
    /// How many Jobs the session has requested.
    requested: Cell<u32>,
    latest: LatestJob,
    /// Earlier Jobs that the user may not remove. The clean-up tries again to remove them.
    left: RefCell<Vec<RequestedJob>>,
    /// Whether a request to remove the latest Job was sent, whose answer may be lost.
    is_removal_requested: Cell<bool>,
    /// Completes when the creation of the latest Job and its dependents is done.
    creating: RefCell<Option<oneshot::Receiver<()>>>,
}

impl SessionJobs {
    /// No Jobs yet.
    pub(super) fn new(access: Access, spec: Rc<AgentSpec>) -> Self {
        Self {
            access,
            spec,
            requested: Cell::new(0),
            latest: LatestJob::default(),
            left: RefCell::default(),
            is_removal_requested: Cell::new(false),
            creating: RefCell::default(),
        }
    }

    /// The latest Job, unless its removal is requested already.
    pub(super) fn unremoved(&self) -> Option<RequestedJob> {
        let latest = self.latest.borrow().clone();
        latest.filter(|_| !self.is_removal_requested.get())
    }

    /// Starts to create the next Job and its dependents, with the agent's keys.
    pub(super) fn create(&self, keys: String, plan: Option<Rc<UploadPlan>>) -> Result<Creation, Failure> {
        let requested = self.requested.get();
        self.requested.set(requested + 1);
        let name = match requested {
            0 => job::name(&self.spec.session),
            _ => self.later_name()?,
        };
        let manifest = self.spec.manifest(&name);
        let (creation, done) = creation::start(&self.access, &manifest, keys, &self.latest, plan)?;
        *self.creating.borrow_mut() = Some(done);
        self.is_removal_requested.set(false);
        Ok(creation)
    }

    fn later_name(&self) -> Result<String, Failure> {
        job::later_name(&self.spec.session).map_err(|error| no_randomness(&error))
    }

    /// What the API server would do with the creation of a Job of this name.
    pub(super) async fn dry_run(&self, name: &str) -> DryRun {
        dry_run::dry_run(&self.access, &self.spec.manifest(name)).await
    }

    /// The API server's clock in seconds; none if the API server would not create another Job of the session.
    pub(super) async fn server_time(&self) -> Option<i64> {
        match self.dry_run(&self.later_name().ok()?).await {
            DryRun::Accepted { at } => Some(at),
            DryRun::Exists { .. } | DryRun::NamespaceTerminating | DryRun::Refused => None,
        }
    }

    /// Removes the latest Job, if it may exist. A Job that the user may not remove is left until the clean-up.
    pub(super) async fn remove(&self) -> Result<Removal, Failure> {
        let Some(latest) = self.latest.borrow().clone() else {
            return Ok(Removal::Removed);
        };
        let is_repeated = self.is_removal_requested.replace(true);
        let removal = gc::remove_job(&self.access, &latest).await?;
        if let Removal::Forbidden(failure) = &removal {
            self.is_removal_requested.set(is_repeated);
            if self.is_gone(&latest).await {
                self.latest.borrow_mut().take();
                return Ok(removal);
            }
            if !self.may_leave_another().await {
                return Err(failure.clone());
            }
            log::warn!(
                "going on without removing the Job {}: {}",
                latest.name,
                failure.message
            );
            self.left.borrow_mut().push(latest);
        }
        self.latest.borrow_mut().take();
        Ok(match (is_repeated, removal) {
            // an earlier request of the session removed it, and its answer was lost
            (true, Removal::WasGone) => Removal::Removed,
            (_, removal) => removal,
        })
    }

    /// Removes all Jobs at the end of the session. Reports those that stay, with the command that removes them.
    pub(super) async fn clean_up(&self) -> Result<(), Report> {
        let creating = self.creating.borrow_mut().take();
        let is_creating = match creating {
            // an error of the receiver means that the task is gone with the runtime
            Some(done) => timeout(CLEAN_UP_TIMEOUT, done).await.is_err(),
            None => false,
        };
        let latest = self.latest.borrow_mut().take();
        self.left.borrow_mut().extend(latest);
        let why = match timeout(CLEAN_UP_TIMEOUT, self.remove_left(is_creating)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.message,
            Err(_) => "the cluster does not answer".to_owned(),
        };
        let names: Vec<_> = self.left.borrow().iter().map(|left| left.name.clone()).collect();
        Err(gc::not_removed(&self.access, &names, &why))
    }

    /// Removes the Jobs in `left`. Those stay in it that the user may not remove, and one that the API server may still
    /// create, because it has not answered the request that is under way.
    async fn remove_left(&self, is_creating: bool) -> Result<(), Failure> {
        let (left, mut failed) = (self.left.borrow().clone(), None);
        for job in left {
            match gc::remove_job(&self.access, &job).await? {
                Removal::Forbidden(failure) if !self.is_gone(&job).await => failed = Some(failure),
                Removal::NotFound if is_creating => {
                    failed = Some(self.access.silence("to create the agent's Job"));
                }
                _ => self.forget(&job),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether the session may leave another Job, after forgetting those that are gone.
    async fn may_leave_another(&self) -> bool {
        if self.left.borrow().len() >= MAX_LEFT {
            let left = self.left.borrow().clone();
            for job in left {
                if self.is_gone(&job).await {
                    self.forget(&job);
                }
            }
        }
        self.left.borrow().len() < MAX_LEFT
    }

    fn forget(&self, gone: &RequestedJob) {
        self.left.borrow_mut().retain(|left| left.name != gone.name);
    }

    /// Whether a Job that the user may not remove is gone nevertheless.
    async fn is_gone(&self, job: &RequestedJob) -> bool {
        matches!(
            self.dry_run(&job.name).await,
            DryRun::Accepted { .. } | DryRun::NamespaceTerminating
        )
    }
}

/// The failure of getrandom(2).
pub(super) fn no_randomness(error: &dyn std::fmt::Display) -> Failure {
    Failure::lasting(
        format!("cannot make the agent's keys: {error}"),
        "check that getrandom(2) is allowed here (seccomp, an old kernel)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{self, Answer, FakeApi};
    use crate::cluster::source::AgentSource;
    use kinject_protocol::session::KubernetesTarget;
    use parking_lot::Mutex;
    use serde_json::json;
    use std::sync::Arc;

    fn jobs_at(api: &FakeApi) -> SessionJobs {
        let target = KubernetesTarget::default();
        let spec = AgentSpec {
            session: "0".to_owned(),
            source: AgentSource::of(&target).unwrap(),
            workload: None,
            transport: target.transport,
            with_limits: Cell::new(false),
            with_deadline: Cell::new(None),
        };
        SessionJobs::new(api.access(), Rc::new(spec))
    }

    #[tokio::test(start_paused = true)]
    async fn clean_up_reports_a_missing_job_only_while_its_creation_is_unanswered() {
        let missing = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "jobs.batch \"kinject-agent-0\" not found", "reason": "NotFound", "code": 404 });
        let api = fake_api::always(Answer::refusal(404, missing));
        for (uid, is_answered, is_reported) in [
            (None, false, true),
            (None, true, false),
            (Some("1".to_owned()), false, false),
        ] {
            let jobs = jobs_at(&api);
            *jobs.latest.borrow_mut() = Some(RequestedJob {
                name: "kinject-agent-0".to_owned(),
                uid: uid.clone(),
            });
            let (done, creating) = oneshot::channel();
            *jobs.creating.borrow_mut() = Some(creating);
            let _under_way = match is_answered {
                true => done.send(()).map(|()| None).unwrap(),
                false => Some(done),
            };
            let report = jobs.clean_up().await.err();
            assert_eq!(report.is_some(), is_reported, "{uid:?}, {is_answered}");
            if let Some(report) = report {
                assert!(
                    report.message.contains("kinject-agent-0 could not be removed"),
                    "{}",
                    report.message
                );
            }
        }
    }

    #[tokio::test]
    async fn jobs_left_without_the_delete_right_are_limited_until_some_are_gone() {
        let failure = |code, reason| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "jobs.batch: no", "reason": reason, "code": code });
            Answer::refusal(code, status)
        };
        let exist = Arc::new(Mutex::new(true));
        let still = Arc::clone(&exist);
        let api = FakeApi::new(move |path| match (path.contains("dryRun"), *still.lock()) {
            (false, _) => failure(403, "Forbidden"),
            (true, true) => failure(409, "AlreadyExists"),
            (true, false) => Answer::object(json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": {
                "name": "kinject-agent-0", "creationTimestamp": "2026-01-01T00:00:00Z",
            } })),
        });
        let jobs = jobs_at(&api);
        let leave = async |number: usize| {
            *jobs.latest.borrow_mut() = Some(RequestedJob {
                name: format!("kinject-agent-0-{number}"),
                uid: Some(number.to_string()),
            });
            jobs.remove().await
        };
        for number in 0..MAX_LEFT {
            assert!(
                matches!(leave(number).await, Ok(Removal::Forbidden(_))),
                "{number}"
            );
        }
        assert!(leave(MAX_LEFT).await.is_err());
        assert!(jobs.latest.borrow().is_some(), "the session still knows it");
        *exist.lock() = false;
        assert!(matches!(leave(MAX_LEFT).await, Ok(Removal::Forbidden(_))));
        assert!(jobs.latest.borrow().is_none(), "the Job is gone");
        assert!(jobs.clean_up().await.is_ok(), "no Job that is gone is reported");
    }
}
