//! Starts an agent: creates its objects, waits until its pod runs, and opens a tunnel to it. If the cluster does not
//! start the agent for a reason that another Job can avoid, it starts the agent again with such a Job.

use super::jobs::{SessionJobs, no_randomness};
use super::spec::AgentSpec;
use crate::cluster::access::Access;
use crate::cluster::answering::awaited;
use crate::cluster::carried::presence;
use crate::cluster::carried::upload::{UploadPlan, UploadedMap};
use crate::cluster::creation::Creation;
use crate::cluster::held;
use crate::cluster::job::AgentJob;
use crate::cluster::pod_startup::RunningPod;
use crate::cluster::pod_transport::{ConnectFailure, PodTransports, RunningAgent};
use crate::cluster::pod_watch;
use crate::cluster::review::{self, Right};
use crate::cluster::start_failure::StartFailure;
use crate::cluster::workload::TargetWorkload;
use crate::log;
use crate::report::Failure;
use crate::uplink::opened::Opened;
use kinject_protocol::session::{Event, Report};
use kinject_tunnel::SessionKeys;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Time limit for the question whether the user may lift a deadline.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the agents of a session.
pub(super) struct Starter {
    /// The cluster and namespace.
    pub(super) access: Access,
    /// What all Jobs have in common.
    pub(super) spec: Rc<AgentSpec>,
    /// The Jobs that exist.
    pub(super) jobs: Rc<SessionJobs>,
    /// The transports to the pods.
    pub(super) transports: Rc<PodTransports>,
    /// The launcher, for progress messages.
    pub(super) events: mpsc::Sender<Event>,
}

/// An agent whose pod runs, and the tunnel to it or why there is none.
pub(super) type Started = (RunningAgent, Result<Opened, ConnectFailure>);

impl Starter {
    /// Starts an agent. Each of these is tried after a failure that calls for it: resource limits, ConfigMaps that the
    /// session does not share, a new Job, one without a deadline, another architecture, another image, another user
    /// than the workload's.
    pub(super) async fn start(&self) -> Result<Started, Failure> {
        let carried = self.spec.carried();
        let workload = self.spec.workload.as_ref();
        if let Some(workload) = workload {
            self.find_workload(workload).await?;
        }
        if let Some(agents) = carried {
            agents.begin_start();
        }
        let (mut was_map_removed, mut was_hold_expired) = (false, false);
        loop {
            let failure = match self.start_once().await {
                Ok(started) => {
                    if let Some(agents) = carried {
                        agents.record_success();
                        // the files were 1.6 MB of requests
                        kinject_tunnel::allocator::trim();
                    }
                    if let Some(workload) = workload {
                        let container = self.spec.source.container();
                        self.notify(workload.new_differences(&container, &started.0.pod.image_id))
                            .await;
                    }
                    return Ok(started);
                }
                Err(failure) => failure,
            };
            let (failure, change) = match (failure, carried) {
                (StartFailure::LimitsRequired(failure), _) if !self.spec.with_limits.replace(true) => {
                    (failure, "with limits")
                }
                (StartFailure::NameTaken(failure), Some(agents)) if agents.try_private_maps() => {
                    (failure, "with ConfigMaps of its own")
                }
                (StartFailure::ConfigMapRemoved(failure), Some(agents)) if !was_map_removed => {
                    was_map_removed = true;
                    agents.try_private_maps();
                    (failure, "with ConfigMaps of its own")
                }
                (StartFailure::HoldExpired(failure), _) if !was_hold_expired => {
                    was_hold_expired = true;
                    (failure, "in a new Job")
                }
                (StartFailure::DeadlineStays(failure), _)
                    if self.spec.with_deadline.replace(Some(false)) == Some(true) =>
                {
                    (failure, "without a deadline")
                }
                (StartFailure::WrongArchitecture(failure), Some(agents)) => {
                    (agents.try_next_architecture(failure)?, "for another architecture")
                }
                (StartFailure::ImageUnavailable(failure), Some(agents)) if agents.try_next_image() => {
                    (failure, "in another image")
                }
                (StartFailure::PodSecurity(failure), _)
                    if workload.is_some_and(TargetWorkload::try_own_user) =>
                {
                    (failure, "as a user of its own")
                }
                (StartFailure::PolicyDenied(failure), _)
                    if workload.is_some_and(TargetWorkload::try_fewer_rights) =>
                {
                    (failure, "with fewer rights")
                }
                (failure, _) => return Err(failure.into()),
            };
            log::info!("making the agent again, {change}: {}", failure.message);
        }
    }

    /// Finds the workload that the session's agents stand in for, and has them run in its image.
    async fn find_workload(&self, workload: &TargetWorkload) -> Result<(), Failure> {
        if workload.is_found() {
            return Ok(());
        }
        self.progress(&format!("looking for {}", workload.name()));
        let server = &self.access.server;
        let found = workload.find(&self.access);
        let report = awaited(server, |message| self.progress(message), found).await?;
        self.notify(report).await;
        if let (Some(agents), Some(part)) = (self.spec.carried(), workload.part()) {
            agents.prefer_workload(workload.images(), part.pod.architecture());
        }
        Ok(())
    }

    /// Creates an agent with a name and keys of its own, waits until its pod runs, and opens a tunnel to it.
    async fn start_once(&self) -> Result<Started, StartFailure> {
        // a start that failed may have left its Job
        self.jobs.remove().await?;
        if let Some(workload) = &self.spec.workload {
            workload.place(&self.access).await?;
        }
        let plan = match self.spec.carried() {
            None => {
                self.decide_deadline().await;
                None
            }
            Some(agents) => {
                let planned = agents.plan(&self.access);
                let server = &self.access.server;
                Some(Rc::new(
                    awaited(server, |message| self.progress(message), planned).await?,
                ))
            }
        };
        let keys = SessionKeys::generate().map_err(|error| no_randomness(&error))?;
        self.progress(match self.spec.with_limits.get() {
            false => "creating the agent",
            true => "creating the agent, with limits",
        });
        let image = self.spec.source.container().image().to_owned();
        let creation = self.jobs.create(keys.agent, plan.clone())?;
        let (job, pod, uploaded) = self.running_pod(creation, plan.as_deref()).await?;
        self.spec.source.pin(&pod.image_id);
        let agent = RunningAgent {
            pod,
            image,
            identity: Rc::new(keys.relay),
        };
        let connected = self.connect(&agent, &job, plan.as_deref(), &uploaded).await?;
        Ok((agent, connected))
    }

    /// Decides whether the Job of an agent from an image gets a deadline. With one, the cluster removes a Job whose
    /// relay died before it had made the Secret that the pod waits for.
    async fn decide_deadline(&self) {
        if self.spec.with_deadline.get().is_some() {
            return;
        }
        let lifting = Right::new("patch", "batch", "jobs", "");
        let answer = timeout(REVIEW_TIMEOUT, review::is_allowed(&self.access, &lifting)).await;
        // the session's next agent does not wait for an answer again
        self.spec.with_deadline.set(answer.unwrap_or(Some(false)));
    }

    /// Waits until the pod runs, and until everything that its Job owns is created.
    async fn running_pod(
        &self,
        mut creation: Creation,
        plan: Option<&UploadPlan>,
    ) -> Result<(AgentJob, RunningPod, Vec<UploadedMap>), StartFailure> {
        let progress = |message: &str| self.progress(message);
        let job = awaited(&self.access.server, progress, creation.job()).await?;
        let workload = self.spec.workload.as_ref().and_then(TargetWorkload::part);
        let own_mounts = workload.map(|part| part.pod.own_mounts());
        let (mountable, is_mountable) = oneshot::channel::<()>();
        let mut pod = pin!(pod_watch::running_pod(
            &self.access,
            &job,
            plan.is_some(),
            own_mounts.as_ref(),
            // done when the sender is dropped
            async {
                let _dropped = is_mountable.await.is_err();
            },
            progress
        ));
        let mut dependents = pin!(creation.dependents());
        let mut uploaded = tokio::select! {
            uploaded = &mut dependents => uploaded?,
            pod = &mut pod => {
                let pod = pod?;
                return Ok((job.clone(), pod, dependents.await?));
            }
        };
        drop(mountable);
        let pod = match plan {
            None => pod.await?,
            Some(plan) => presence::restore_until(&self.access, &job, plan, &mut uploaded, pod).await??,
        };
        Ok((job.clone(), pod, uploaded))
    }

    /// Opens a tunnel to an agent. At the same time it lifts the deadline of the agent's Job, and completes the start of
    /// a carried agent.
    async fn connect(
        &self,
        agent: &RunningAgent,
        job: &AgentJob,
        plan: Option<&UploadPlan>,
        uploaded: &[UploadedMap],
    ) -> Result<Result<Opened, ConnectFailure>, StartFailure> {
        let completed = async {
            match plan {
                Some(plan) => self.complete_carried_start(job, plan, uploaded).await,
                None if self.spec.with_deadline.get() == Some(true) => self.lift_deadline(job).await,
                None => Ok(()),
            }
        };
        let (mut completed, mut connected) = (pin!(completed), pin!(self.transports.connect_verified(agent)));
        tokio::select! {
            completed = &mut completed => {
                completed?;
                Ok(connected.await)
            }
            connected = &mut connected => {
                completed.await?;
                Ok(connected)
            }
        }
    }

    /// Lifts the deadline of the Job of an agent from an image.
    async fn lift_deadline(&self, job: &AgentJob) -> Result<(), StartFailure> {
        let lifted = held::lift_deadline(&self.access, job).await;
        lifted.map_err(|failure| match failure.lasting {
            true => StartFailure::DeadlineStays(failure),
            false => failure.into(),
        })
    }

    /// Verifies what a carried agent was started from, and lifts the deadline of its Job.
    async fn complete_carried_start(
        &self,
        job: &AgentJob,
        plan: &UploadPlan,
        uploaded: &[UploadedMap],
    ) -> Result<(), StartFailure> {
        let verified = presence::verify(&self.access, plan, uploaded);
        let (verified, lifted) = tokio::join!(verified, held::lift_deadline(&self.access, job));
        verified?;
        lifted?;
        Ok(())
    }

    async fn notify(&self, reports: impl IntoIterator<Item = Report>) {
        for report in reports {
            // a launcher that is gone receives nothing
            let _launcher_gone = self.events.send(Event::Notice(report)).await.is_err();
        }
    }

    fn progress(&self, message: &str) {
        // a launcher that reads slowly misses a progress message and nothing else
        let _missed = self.events.try_send(Event::Progress(message.to_owned())).is_err();
    }
}
