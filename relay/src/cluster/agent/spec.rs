//! What all Jobs of a session have in common.

use crate::cluster::carried::CarriedAgents;
use crate::cluster::manifest::Manifest;
use crate::cluster::source::AgentSource;
use crate::cluster::workload::TargetWorkload;
use kinject_protocol::session::TransportChoice;
use std::cell::Cell;

/// What all Jobs of a session have in common.
pub(super) struct AgentSpec {
    /// The session.
    pub(super) session: String,
    /// The image or the carried agent.
    pub(super) source: AgentSource,
    /// The workload that the agents stand in for, if the session has a target.
    pub(super) workload: Option<TargetWorkload>,
    /// The transports that the user allows.
    pub(super) transport: TransportChoice,
    /// Whether the namespace admits only pods that have resource limits.
    pub(super) with_limits: Cell<bool>,
    /// Whether the Job of an agent from an image ends by itself unless its pod runs. Only a user who may patch Jobs can
    /// lift that deadline; none until the cluster has said whether this user may.
    pub(super) with_deadline: Cell<Option<bool>>,
}

impl AgentSpec {
    /// The agents that the session carries; none if it uses an image of kinject-agent.
    pub(super) fn carried(&self) -> Option<&CarriedAgents> {
        match &self.source {
            AgentSource::Image(_) => None,
            AgentSource::Carried(agents) => Some(agents),
        }
    }

    /// The content of a Job of this name.
    pub(super) fn manifest<'a>(&'a self, name: &'a str) -> Manifest<'a> {
        Manifest {
            name,
            session: &self.session,
            container: self.source.container(),
            workload: self.workload.as_ref().and_then(TargetWorkload::part),
            transport: self.transport,
            with_limits: self.with_limits.get(),
            with_deadline: self.with_deadline.get() == Some(true),
        }
    }
}
