//! The session's agent in the cluster: made, reached, and removed again.

mod removal;

use super::access::Access;
use super::answering::awaited;
use super::carried::presence;
use super::carried::upload::{UploadPlan, UploadedMap};
use super::creation::{self, Creation, Made, MadeJob, Rehearsal};
use super::gc::Removal;
use super::job::{self, AgentJob};
use super::manifest::Manifest;
use super::pod_startup::RunningPod;
use super::pod_state::{self, PodState};
use super::reach::{RunningAgent, Unreached, Ways};
use super::source::AgentSource;
use super::start_failure::StartFailure;
use super::{addresses, deletion, held, pod_watch, resource_version};
use crate::log;
use crate::reached::Reached;
use crate::report::{AgentLocation, Failure};
use crate::uplink::opened::Opened;
use kinject_protocol::session::{Event, KubernetesTarget, TransportChoice};
use kinject_tunnel::SessionKeys;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The session's agent: the one that runs, and what it takes to make another one.
pub(crate) struct ClusterAgent {
    access: Access,
    session: String,
    source: AgentSource,
    transport: TransportChoice,
    ways: Ways,
    /// How many agents were made, or begun.
    generation: Cell<u32>,
    agent: RefCell<Option<RunningAgent>>,
    /// Why the agent before was given up, until the user is told.
    given_up: RefCell<Option<String>>,
    /// What is wrong with the way to the agent, as far as it is known.
    trouble: RefCell<Unreachable>,
    /// Whether the namespace demands that an agent has limits.
    with_limits: Cell<bool>,
    made: Made,
    /// The Jobs before it that the user may not remove. They are tried again at the end of the session.
    left: RefCell<Vec<MadeJob>>,
    /// What keeps the cluster able to tell how the agent ends.
    remembering: RefCell<JoinSet<()>>,
    /// Whether the cluster may have removed that at our own word, without our having heard of it.
    removal_is_begun: Cell<bool>,
    /// The creation that is under way: it is always seen through, so that nothing is made after the end.
    creating: RefCell<Option<oneshot::Receiver<()>>>,
    events: mpsc::Sender<Event>,
}

/// What keeps a session from its agent.
#[derive(Clone, Debug, Default)]
enum Unreachable {
    /// The API server has not said yet whether the agent is there.
    #[default]
    Asking,
    /// It cannot be asked.
    Unasked(Failure),
    /// It says that the agent's pod is there.
    Connection,
    /// It says what became of the agent's pod.
    Gone(String, PodState),
}

impl ClusterAgent {
    /// Prepares a session's agent; nothing is made yet.
    pub(crate) fn new(
        access: Access,
        session: &str,
        target: &KubernetesTarget,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            ways: Ways::new(access.clone(), target),
            access,
            session: session.to_owned(),
            source: AgentSource::of(target)?,
            transport: target.transport,
            generation: Cell::new(0),
            agent: RefCell::new(None),
            given_up: RefCell::new(None),
            trouble: RefCell::default(),
            with_limits: Cell::new(false),
            made: Made::default(),
            left: RefCell::default(),
            remembering: RefCell::default(),
            removal_is_begun: Cell::new(false),
            creating: RefCell::new(None),
            events,
        })
    }

    /// The cluster and namespace.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Says something of the agent that runs.
    pub(crate) fn with_location<T>(&self, tell: impl FnOnce(AgentLocation<'_>) -> T) -> T {
        match &*self.agent.borrow() {
            Some(agent) => tell(agent.location()),
            None => tell(AgentLocation::Pod {
                name: "(none)",
                image: self.source.container().image(),
            }),
        }
    }

    fn progress(&self, words: &str) {
        // a launcher that reads slowly misses a word of progress and nothing else
        let _missed = self.events.try_send(Event::Progress(words.to_owned())).is_err();
    }

    /// Why a tunnel that broke is not back yet; `reason` is what its own end was told.
    pub(crate) fn outage_reason(&self, reason: &str) -> String {
        match &*self.trouble.borrow() {
            Unreachable::Asking => "the API server does not answer".to_owned(),
            Unreachable::Unasked(failure) => failure.message.clone(),
            Unreachable::Connection => format!("the connection through the API server broke ({reason})"),
            Unreachable::Gone(pod, pod_state) => format!("the agent's pod {pod} {pod_state}"),
        }
    }

    /// Opens a tunnel: to the pod that runs, otherwise to a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let running = self.agent.borrow().clone();
        if let Some(agent) = running {
            match self.reach_again(&agent).await? {
                Ok(opened) => {
                    // the machine may have slept for longer than the cluster remembers
                    self.remember(&agent, Duration::ZERO);
                    return Ok(opened.to(self.whom(agent.pod.name)));
                }
                Err(gone) => self.give_up(&agent, gone).await?,
            }
        }
        let (agent, opened) = self.create().await?;
        // it is the session's from here on: a way that is not there yet costs no agent
        *self.agent.borrow_mut() = Some(agent.clone());
        self.remember(&agent, resource_version::KEPT_AT_LEAST);
        Ok(opened?.to(self.whom(agent.pod.name)))
    }

    /// Keeps the cluster able to tell how this agent ends, and no other, from some time on.
    fn remember(&self, agent: &RunningAgent, from: Duration) {
        let mut remembering = JoinSet::new();
        let (access, pod) = (self.access.clone(), agent.pod.clone());
        remembering.spawn_local(async move {
            tokio::time::sleep(from).await;
            resource_version::refresh(access, pod).await;
        });
        *self.remembering.borrow_mut() = remembering;
    }

    /// Of the addresses that the agent tells, those that the cluster gave to its pod.
    pub(crate) fn own_addresses(&self, told: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        match &*self.agent.borrow() {
            Some(agent) => addresses::confirmed(told, &agent.pod.addresses),
            None => Vec::new(),
        }
    }

    /// Opens a tunnel to an agent that was there before, or says what became of it.
    async fn reach_again(&self, agent: &RunningAgent) -> Result<Result<Opened, PodState>, Failure> {
        match self.look(agent).await? {
            PodState::Running => {}
            gone => return Ok(Err(gone)),
        }
        let failure = match self.ways.reach_for_certain(agent).await {
            Ok(opened) => return Ok(Ok(opened)),
            Err(Unreached::Failed(failure)) => return Err(failure),
            Err(Unreached::Gone(failure)) => failure,
        };
        match self.look(agent).await? {
            PodState::Running => Err(failure),
            gone => Ok(Err(gone)),
        }
    }

    async fn look(&self, agent: &RunningAgent) -> Result<PodState, Failure> {
        let looked = pod_state::look(&self.access, &agent.pod).await;
        *self.trouble.borrow_mut() = match &looked {
            Ok(PodState::Running) => Unreachable::Connection,
            Ok(gone) => Unreachable::Gone(agent.pod.name.clone(), gone.clone()),
            Err(failure) => Unreachable::Unasked(failure.clone()),
        };
        looked
    }

    /// Lets go of an agent whose pod is gone, for another one to be made. Where somebody deleted its Job, that is the
    /// end of the session.
    async fn give_up(&self, agent: &RunningAgent, gone: PodState) -> Result<(), Failure> {
        log::warn!("the agent's pod {} {gone}", agent.pod.name);
        let made = self.made.borrow().clone();
        // its removal, which begins below, would hide that somebody else's had begun
        if let (Some(made), false) = (&made, self.removal_is_begun.get())
            && let Some(end) = self.end_by_somebody(agent, &gone, made).await?
        {
            return Err(end);
        }
        self.remove().await?;
        log::info!("making a new agent with new keys");
        self.given_up.borrow_mut().get_or_insert_with(|| gone.to_string());
        self.agent.borrow_mut().take();
        Ok(())
    }

    /// The end of the session where somebody deleted the agent's Job, or all of its namespace.
    async fn end_by_somebody(
        &self,
        agent: &RunningAgent,
        gone: &PodState,
        made: &MadeJob,
    ) -> Result<Option<Failure>, Failure> {
        let namespace = &self.access.namespace;
        let job = &made.name;
        let at = match self.rehearse(job).await {
            Rehearsal::NamespaceIsGoing => {
                return Ok(Some(over(&format!(
                    "namespace {namespace} is being deleted, with the agent's Job {job}"
                ))));
            }
            // a cluster that cannot look for it says so, too: who removes it knows
            Rehearsal::Taken { at } => match self.remove().await? {
                Removal::WasGone | Removal::Forbidden(_) => Some(at),
                Removal::Removed => None,
            },
            Rehearsal::Exists {
                is_being_deleted: true,
            } => self.clock().await,
            // that may be another Job of its name, or a quota's word
            Rehearsal::Exists { .. } | Rehearsal::Refused => match self.remove().await? {
                Removal::WasGone => self.clock().await,
                Removal::Removed | Removal::Forbidden(_) => None,
            },
        };
        let (Some(at), Some(uid)) = (at, &made.uid) else {
            return Ok(None);
        };
        let is_by_somebody = deletion::is_explicit(&self.access, uid, &agent.pod, gone, at).await;
        Ok(is_by_somebody.then(|| {
            over(&format!(
                "somebody deleted the agent's Job {job} in namespace {namespace}"
            ))
        }))
    }

    /// What the cluster would do with another Job of that name.
    async fn rehearse(&self, name: &str) -> Rehearsal {
        creation::rehearse(&self.access, &self.manifest(name)).await
    }

    /// The API server's clock in seconds, if it would make a Job.
    async fn clock(&self) -> Option<i64> {
        match self.rehearse(&self.later_name().ok()?).await {
            Rehearsal::Taken { at } => Some(at),
            Rehearsal::Exists { .. } | Rehearsal::NamespaceIsGoing | Rehearsal::Refused => None,
        }
    }

    fn later_name(&self) -> Result<String, Failure> {
        job::later_name(&self.session).map_err(|error| without_randomness(&error))
    }

    /// Whom a tunnel leads to, and why it is not the agent that the user knows.
    fn whom(&self, pod: String) -> Reached {
        match self.given_up.borrow().clone() {
            Some(because) => Reached::NewPod { pod, because },
            None => Reached::SamePod(pod),
        }
    }

    /// The tunnel that was opened is in use: what was wrong before is over.
    pub(crate) fn is_in_use(&self) {
        self.given_up.borrow_mut().take();
        *self.trouble.borrow_mut() = Unreachable::default();
    }

    /// What an agent of that name is made of.
    fn manifest<'a>(&'a self, name: &'a str) -> Manifest<'a> {
        Manifest {
            name,
            session: &self.session,
            container: self.source.container(),
            transport: self.transport,
            with_limits: self.with_limits.get(),
        }
    }

    /// Makes an agent: with limits where the namespace demands them, with ConfigMaps of its own where those that
    /// sessions share cannot be used, for the architecture that the cluster has, in an image that its nodes get.
    async fn create(&self) -> Result<(RunningAgent, Result<Opened, Unreached>), Failure> {
        let carried = match &self.source {
            AgentSource::Image(_) => None,
            AgentSource::Carried(agents) => Some(agents),
        };
        if let Some(agents) = carried {
            agents.begin_start();
        }
        let (mut is_map_removed, mut is_held_too_long) = (false, false);
        loop {
            let why = match self.create_once().await {
                Ok(created) => {
                    if let Some(agents) = carried {
                        agents.record_success();
                    }
                    return Ok(created);
                }
                Err(why) => why,
            };
            let (failure, otherwise) = match (why, carried) {
                (StartFailure::LimitsRequired(failure), _) if !self.with_limits.replace(true) => {
                    (failure, "with limits")
                }
                (StartFailure::NameTaken(failure), Some(agents)) if agents.try_private_maps() => {
                    (failure, "with ConfigMaps of its own")
                }
                (StartFailure::ConfigMapRemoved(failure), Some(agents)) if !is_map_removed => {
                    is_map_removed = true;
                    agents.try_private_maps();
                    (failure, "with ConfigMaps of its own")
                }
                (StartFailure::HoldExpired(failure), _) if !is_held_too_long => {
                    is_held_too_long = true;
                    (failure, "in a new Job")
                }
                (StartFailure::WrongArchitecture(failure), Some(agents)) => {
                    (agents.try_next_architecture(failure)?, "for another architecture")
                }
                (StartFailure::ImageUnavailable(failure), Some(agents)) if agents.try_next_image() => {
                    (failure, "in another image")
                }
                (why, _) => return Err(why.into()),
            };
            log::info!("making the agent again, {otherwise}: {}", failure.message);
        }
    }

    /// Makes an agent with a name and keys of its own, waits until its pod runs, and opens a tunnel to it.
    async fn create_once(&self) -> Result<(RunningAgent, Result<Opened, Unreached>), StartFailure> {
        // an attempt before this one may have left a Job that never ran
        self.remove().await?;
        let placement = match &self.source {
            AgentSource::Image(_) => None,
            AgentSource::Carried(agents) => {
                let plan = agents.plan(&self.access);
                let server = &self.access.server;
                Some(Rc::new(
                    awaited(server, |words| self.progress(words), plan).await?,
                ))
            }
        };
        let SessionKeys { relay, agent } =
            SessionKeys::generate().map_err(|error| without_randomness(&error))?;
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        let name = match generation {
            0 => job::name(&self.session),
            _ => self.later_name()?,
        };
        self.progress(match self.with_limits.get() {
            false => "creating the agent",
            true => "creating the agent, with limits",
        });
        let manifest = self.manifest(&name);
        let image = manifest.container.image().to_owned();
        let (creation, done) =
            creation::start(&self.access, &manifest, agent, &self.made, placement.clone())?;
        *self.creating.borrow_mut() = Some(done);
        self.removal_is_begun.set(false);
        let (job, pod, maps) = self.running_pod(creation, placement.as_deref()).await?;
        self.source.pin(&pod.image_id);
        let agent = RunningAgent {
            pod,
            image,
            identity: Rc::new(relay),
        };
        // while the tunnel is opened, which must not wait for either
        let checked = async {
            let Some(placement) = &placement else {
                return Ok(());
            };
            let confirmed = presence::verify(&self.access, placement, &maps);
            let (confirmed, lifted) = tokio::join!(confirmed, held::lift_deadline(&self.access, &job));
            confirmed?;
            lifted.map_err(StartFailure::from)
        };
        let opened = async {
            let (mut checked, mut opened) = (pin!(checked), pin!(self.ways.reach_for_certain(&agent)));
            tokio::select! {
                checked = &mut checked => {
                    checked?;
                    Ok(opened.await)
                }
                opened = &mut opened => {
                    checked.await?;
                    Ok::<_, StartFailure>(opened)
                }
            }
        };
        let opened = opened.await?;
        Ok((agent, opened))
    }

    /// Waits until the pod runs, and until everything is there that it was made of.
    async fn running_pod(
        &self,
        mut creation: Creation,
        placement: Option<&UploadPlan>,
    ) -> Result<(AgentJob, RunningPod, Vec<UploadedMap>), StartFailure> {
        let progress = |words: &str| self.progress(words);
        let job = awaited(&self.access.server, progress, creation.job()).await?;
        let (are_there, mountable) = oneshot::channel::<()>();
        let mut pod = pin!(pod_watch::running_pod(
            &self.access,
            &job,
            placement.is_some(),
            // the other end is dropped when they are there
            async {
                let _dropped = mountable.await.is_err();
            },
            progress
        ));
        let mut dependents = pin!(creation.dependents());
        let mut maps = tokio::select! {
            maps = &mut dependents => maps?,
            pod = &mut pod => {
                let pod = pod?;
                return Ok((job.clone(), pod, dependents.await?));
            }
        };
        drop(are_there);
        let pod = match placement {
            None => pod.await?,
            Some(placement) => {
                presence::restore_until(&self.access, &job, placement, &mut maps, pod).await??
            }
        };
        Ok((job.clone(), pod, maps))
    }
}

/// The end of a session by somebody else's hand.
fn over(what: &str) -> Failure {
    Failure::end(
        format!("the session is over: {what}"),
        "programs go on without the cluster: start the command again for another session",
    )
}

fn without_randomness(error: &dyn std::fmt::Display) -> Failure {
    Failure::lasting(
        format!("cannot make the agent's keys: {error}"),
        "check that getrandom(2) is allowed here (seccomp, an old kernel)",
    )
}

#[cfg(test)]
mod tests;
