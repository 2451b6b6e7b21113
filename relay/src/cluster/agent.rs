//! The session's agent in the cluster: starts it, connects to it again after an outage, starts another one when its pod
//! is gone, and removes it at the end.
//!
//! - [`spec`]: what all Jobs of the session have in common.
//! - [`start`]: starts an agent.
//! - [`jobs`]: the session's Jobs, their creation and removal.
//! - [`deleted`]: whether a user ended the session by deleting the Job.

mod deleted;
mod jobs;
mod spec;
mod start;

use super::access::Access;
use super::pod_state::{self, PodState};
use super::pod_transport::{ConnectFailure, PodTransports, RunningAgent};
use super::source::AgentSource;
use super::workload::{TargetWorkload, WorkloadView};
use super::{addresses, resource_version};
use crate::log;
use crate::names::pod_hosts::HostsLine;
use crate::reached::Reached;
use crate::report::{AgentLocation, Failure};
use crate::uplink::opened::Opened;
use jobs::SessionJobs;
use kinject_protocol::session::{Event, KubernetesTarget, Report};
use spec::AgentSpec;
use start::Starter;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The session's agent: the one that runs, and what it takes to start another one.
pub(crate) struct ClusterAgent {
    access: Access,
    spec: Rc<AgentSpec>,
    jobs: Rc<SessionJobs>,
    transports: Rc<PodTransports>,
    starter: Starter,
    agent: RefCell<Option<RunningAgent>>,
    /// Why the previous agent was replaced, until the user is notified.
    replaced_because: RefCell<Option<String>>,
    /// Why there is no tunnel, as far as the relay knows.
    outage: RefCell<Outage>,
    /// The task that keeps the resource version from which a watch can report the pod's end.
    version_refresh: RefCell<JoinSet<()>>,
}

/// Why there is no tunnel to the agent.
#[derive(Clone, Debug, Default)]
enum Outage {
    /// The API server has not answered yet whether the agent's pod runs.
    #[default]
    Unanswered,
    /// The request for the pod failed.
    RequestFailed(Failure),
    /// The pod runs, so the connection to it broke.
    Connection,
    /// The pod of this name is gone.
    PodGone(String, PodState),
}

impl ClusterAgent {
    /// Prepares a session's agent. It creates nothing yet.
    pub(crate) fn new(
        access: Access,
        session: &str,
        target: &KubernetesTarget,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, Failure> {
        let source = AgentSource::of(target)?;
        Ok(Self::with_source(access, session, target, source, events))
    }

    fn with_source(
        access: Access,
        session: &str,
        target: &KubernetesTarget,
        source: AgentSource,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let is_carried = matches!(source, AgentSource::Carried(_));
        let spec = Rc::new(AgentSpec {
            session: session.to_owned(),
            source,
            workload: TargetWorkload::of(target, session, is_carried),
            transport: target.transport,
            with_limits: Cell::new(false),
            with_deadline: Cell::new(None),
        });
        let jobs = Rc::new(SessionJobs::new(access.clone(), Rc::clone(&spec)));
        let transports = Rc::new(PodTransports::new(access.clone(), target));
        let starter = Starter {
            access: access.clone(),
            spec: Rc::clone(&spec),
            jobs: Rc::clone(&jobs),
            transports: Rc::clone(&transports),
            events,
        };
        Self {
            access,
            spec,
            jobs,
            transports,
            starter,
            agent: RefCell::new(None),
            replaced_because: RefCell::new(None),
            outage: RefCell::default(),
            version_refresh: RefCell::default(),
        }
    }

    /// The cluster and namespace.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Calls a function with the location of the agent that runs.
    pub(crate) fn with_location<T>(&self, call: impl FnOnce(AgentLocation<'_>) -> T) -> T {
        match &*self.agent.borrow() {
            Some(agent) => call(agent.location()),
            None => call(AgentLocation::Pod {
                name: "(none)",
                image: self.spec.source.container().image(),
            }),
        }
    }

    /// Why there is no tunnel yet after one broke; `close_reason` is that of the broken tunnel.
    pub(crate) fn outage_reason(&self, close_reason: &str) -> String {
        match &*self.outage.borrow() {
            Outage::Unanswered => "the API server does not answer".to_owned(),
            Outage::RequestFailed(failure) => failure.message.clone(),
            Outage::Connection => format!("the connection through the API server broke ({close_reason})"),
            Outage::PodGone(pod, pod_state) => format!("the agent's pod {pod} {pod_state}"),
        }
    }

    /// Opens a tunnel to the agent that runs, otherwise to a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let running = self.agent.borrow().clone();
        if let Some(agent) = running {
            match self.reconnect(&agent).await? {
                Ok(opened) => {
                    // this machine may have slept for longer than the cluster keeps old versions
                    self.refresh_version(&agent, Duration::ZERO);
                    return Ok(opened.to(self.reached(agent.pod.name)));
                }
                Err(gone) => self.give_up(&agent, gone).await?,
            }
        }
        let (agent, opened) = self.starter.start().await?;
        // the session keeps an agent that runs, even if no transport works yet
        *self.agent.borrow_mut() = Some(agent.clone());
        self.refresh_version(&agent, resource_version::KEPT_AT_LEAST);
        Ok(opened?.to(self.reached(agent.pod.name)))
    }

    /// Keeps the resource version of this agent's pod usable, and that of no other, after this time.
    fn refresh_version(&self, agent: &RunningAgent, after: Duration) {
        let mut refresh = JoinSet::new();
        let (access, pod) = (self.access.clone(), agent.pod.clone());
        refresh.spawn_local(async move {
            tokio::time::sleep(after).await;
            resource_version::refresh(access, pod).await;
        });
        *self.version_refresh.borrow_mut() = refresh;
    }

    /// Those of the addresses that the agent reports which the cluster gave to its pod.
    pub(crate) fn own_addresses(&self, reported: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        match &*self.agent.borrow() {
            Some(agent) => addresses::confirmed(reported, &agent.pod.addresses),
            None => Vec::new(),
        }
    }

    /// What programs find in the place of the session's workload; none without a target, or without an agent.
    /// The pod has this search list.
    pub(crate) fn workload_view(&self, search: &[String]) -> Option<WorkloadView> {
        let agent = self.agent.borrow();
        let workload = self.spec.workload.as_ref()?;
        workload.view(&self.access, &agent.as_ref()?.pod, search)
    }

    /// What the service account of the session's workload may do, in words, as far as the cluster has answered and it is
    /// worth saying.
    pub(crate) fn account_rights(&self) -> Option<String> {
        self.spec.workload.as_ref()?.account_rights()
    }

    /// The lines of the hosts file of the agent's pod, which has this search list; none without a target.
    pub(crate) fn pod_hosts(&self, search: &[String]) -> Vec<HostsLine> {
        match (&self.spec.workload, &*self.agent.borrow()) {
            (Some(workload), Some(agent)) => workload.hosts(&self.access, &agent.pod, search),
            _ => Vec::new(),
        }
    }

    /// Opens a tunnel to the agent that ran before, or returns how its pod is gone.
    async fn reconnect(&self, agent: &RunningAgent) -> Result<Result<Opened, PodState>, Failure> {
        match self.pod_state(agent).await? {
            PodState::Running => {}
            gone => return Ok(Err(gone)),
        }
        let failure = match self.transports.connect_verified(agent).await {
            Ok(opened) => return Ok(Ok(opened)),
            Err(ConnectFailure::Failed(failure)) => return Err(failure),
            Err(ConnectFailure::PodGone(failure)) => failure,
        };
        match self.pod_state(agent).await? {
            PodState::Running => Err(failure),
            gone => Ok(Err(gone)),
        }
    }

    async fn pod_state(&self, agent: &RunningAgent) -> Result<PodState, Failure> {
        let state = pod_state::look(&self.access, &agent.pod).await;
        *self.outage.borrow_mut() = match &state {
            Ok(PodState::Running) => Outage::Connection,
            Ok(gone) => Outage::PodGone(agent.pod.name.clone(), gone.clone()),
            Err(failure) => Outage::RequestFailed(failure.clone()),
        };
        state
    }

    /// Gives up an agent whose pod is gone, so that another one is started. If a user deleted its Job, the session ends
    /// instead.
    async fn give_up(&self, agent: &RunningAgent, gone: PodState) -> Result<(), Failure> {
        log::warn!("the agent's pod {} {gone}", agent.pod.name);
        // once the session itself has removed the Job, a user's deletion does not show any more
        if let Some(job) = self.jobs.unremoved()
            && let Some(end) =
                deleted::end_of_session(&self.access, &self.jobs, &job, &agent.pod, &gone).await?
        {
            return Err(end);
        }
        self.jobs.remove().await?;
        log::info!("making a new agent with new keys");
        self.replaced_because
            .borrow_mut()
            .get_or_insert_with(|| gone.to_string());
        self.agent.borrow_mut().take();
        Ok(())
    }

    /// The agent in this pod, for the notice after an outage.
    fn reached(&self, pod: String) -> Reached {
        match self.replaced_because.borrow().clone() {
            Some(because) => Reached::NewPod { pod, because },
            None => Reached::SamePod(pod),
        }
    }

    /// Records that the opened tunnel is in use, so that the outage is over.
    pub(crate) fn is_in_use(&self) {
        self.replaced_because.borrow_mut().take();
        *self.outage.borrow_mut() = Outage::default();
    }

    /// Removes what the session created. Reports the Jobs that stay, with the command that removes them.
    pub(crate) async fn clean_up(&self) -> Result<(), Report> {
        self.version_refresh.borrow_mut().abort_all();
        self.jobs.clean_up().await
    }
}

#[cfg(test)]
mod tests;
