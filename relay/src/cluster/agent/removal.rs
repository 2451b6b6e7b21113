//! Removing the session's Jobs. A user may lack the right: then a Job stays, and the session goes on without it.

use super::ClusterAgent;
use crate::cluster::creation::{MadeJob, Rehearsal};
use crate::cluster::gc::{self, Removal};
use crate::log;
use crate::report::Failure;
use kinject_protocol::session::Report;
use std::time::Duration;
use tokio::time::timeout;

/// How long removing the Jobs may take at the end of the session.
const REMOVE_PATIENCE: Duration = Duration::from_secs(6);

/// How many Jobs a session may leave for want of the right to remove them. Each attempt at an agent that does not come up
/// would leave one more.
const MOST_LEFT: usize = 4;

impl ClusterAgent {
    /// Removes what the session made. What stays is said, with the command that removes it.
    pub(crate) async fn clean_up(&self) -> Result<(), Report> {
        self.remembering.borrow_mut().abort_all();
        let creating = self.creating.borrow_mut().take();
        if let Some(creating) = creating {
            // done, or its task is gone with the runtime
            let _gone = timeout(REMOVE_PATIENCE, creating).await.is_err();
        }
        let latest = self.made.borrow_mut().take();
        self.left.borrow_mut().extend(latest);
        let why = match timeout(REMOVE_PATIENCE, self.remove_left()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.message,
            Err(_) => "the cluster does not answer".to_owned(),
        };
        let names: Vec<_> = self.left.borrow().iter().map(|made| made.name.clone()).collect();
        Err(gc::not_removed(&self.access, &names, &why))
    }

    /// Removes all Jobs that are left. Those that stay are left then.
    async fn remove_left(&self) -> Result<(), Failure> {
        let (left, mut forbidden) = (self.left.borrow().clone(), None);
        for made in left {
            if let Removal::Forbidden(failure) = gc::remove_job(&self.access, &made).await?
                && !self.is_gone(&made).await
            {
                forbidden = Some(failure);
                continue;
            }
            self.forget(&made);
        }
        forbidden.map_or(Ok(()), Err)
    }

    /// Whether few enough Jobs are left for another one.
    async fn may_leave_another(&self) -> bool {
        if self.left.borrow().len() >= MOST_LEFT {
            let left = self.left.borrow().clone();
            for made in left {
                if self.is_gone(&made).await {
                    self.forget(&made);
                }
            }
        }
        self.left.borrow().len() < MOST_LEFT
    }

    fn forget(&self, gone: &MadeJob) {
        self.left.borrow_mut().retain(|left| left.name != gone.name);
    }

    /// Whether a Job that the user may not remove has gone by itself.
    async fn is_gone(&self, made: &MadeJob) -> bool {
        matches!(
            self.rehearse(&made.name).await,
            Rehearsal::Taken { .. } | Rehearsal::NamespaceIsGoing
        )
    }

    /// Removes the latest Job, if there may be one. One that the user may not remove is left until the end.
    pub(super) async fn remove(&self) -> Result<Removal, Failure> {
        let Some(made) = self.made.borrow().clone() else {
            return Ok(Removal::Removed);
        };
        let is_repeated = self.removal_is_begun.replace(true);
        let removal = gc::remove_job(&self.access, &made).await?;
        if let Removal::Forbidden(failure) = &removal {
            self.removal_is_begun.set(is_repeated);
            if self.is_gone(&made).await {
                self.made.borrow_mut().take();
                return Ok(removal);
            }
            if !self.may_leave_another().await {
                return Err(failure.clone());
            }
            log::warn!(
                "going on without removing the Job {}: {}",
                made.name,
                failure.message
            );
            self.left.borrow_mut().push(made);
        }
        self.made.borrow_mut().take();
        Ok(match (is_repeated, removal) {
            // by the attempt before, whose answer was lost
            (true, Removal::WasGone) => Removal::Removed,
            (_, removal) => removal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{Answer, FakeApi};
    use kinject_protocol::session::KubernetesTarget;
    use parking_lot::Mutex;
    use serde_json::json;
    use std::sync::Arc;
    use tokio::sync::mpsc;

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
        let (events, _unheard) = mpsc::channel(1);
        let agent = ClusterAgent::new(api.access(), "0", &KubernetesTarget::default(), events).unwrap();
        let leave = async |number: usize| {
            *agent.made.borrow_mut() = Some(MadeJob {
                name: format!("kinject-agent-0-{number}"),
                uid: Some(number.to_string()),
            });
            agent.remove().await
        };
        for number in 0..MOST_LEFT {
            assert!(
                matches!(leave(number).await, Ok(Removal::Forbidden(_))),
                "{number}"
            );
        }
        assert!(leave(MOST_LEFT).await.is_err());
        assert!(agent.made.borrow().is_some(), "it is not forgotten");
        *exist.lock() = false;
        assert!(matches!(leave(MOST_LEFT).await, Ok(Removal::Forbidden(_))));
        assert!(agent.made.borrow().is_none(), "it has gone");
        // nor is one that has gone told of
        assert!(agent.clean_up().await.is_ok());
    }
}
