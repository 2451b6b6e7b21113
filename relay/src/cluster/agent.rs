//! The session's agent in the cluster: made, reached, and removed again.

mod reach;
mod removal;

use super::access::Access;
use super::answering::awaited;
use super::creation::{self, Made, MadeJob, Rehearsal};
use super::job::{self, Manifest};
use super::leftovers::Removal;
use super::presence::{self, Presence};
use super::watching::NotRunning;
use super::{addresses, image, pod_end, watching};
use crate::log;
use crate::reached::Reached;
use crate::report::{Failure, Whereabouts};
use crate::uplink::Opened;
use kinject_protocol::session::{Event, KubernetesTarget, TlsChoice, TransportChoice};
use kinject_tunnel::{RelayIdentity, Security, SessionKeys};
use reach::Unreached;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

/// The session's agent: the one that runs, and what it takes to make another one.
pub(crate) struct ClusterAgent {
    access: Access,
    session: String,
    image: String,
    /// The image by the digest that the first agent was made of, where it can be pulled by that.
    pinned_image: OnceCell<String>,
    choice: TransportChoice,
    /// What the ends say through port-forward, beside the TLS of the API server and the kubelet.
    forward_security: Security,
    /// How many agents were made, or begun.
    generation: Cell<u32>,
    agent: RefCell<Option<RunningAgent>>,
    /// Why the agent before was given up, until the user is told.
    given_up: RefCell<Option<String>>,
    /// What is wrong with the way to the agent, as far as it is known.
    trouble: RefCell<Trouble>,
    /// Whether the namespace demands that an agent has limits.
    with_limits: Cell<bool>,
    made: Made,
    /// The Jobs before it that the user may not remove. They are tried again at the end of the session.
    left: RefCell<Vec<MadeJob>>,
    /// Whether the cluster may have removed that at our own word, without our having heard of it.
    removal_is_begun: Cell<bool>,
    /// The creation that is under way: it is always seen through, so that nothing is made after the end.
    creating: RefCell<Option<oneshot::Receiver<()>>>,
    /// The way that worked last.
    settled: Cell<Option<Way>>,
    events: mpsc::Sender<Event>,
}

/// One agent, and the keys that were made for it alone.
#[derive(Clone)]
struct RunningAgent {
    pod: watching::RunningPod,
    identity: Rc<RelayIdentity>,
}

/// What keeps a session from its agent.
#[derive(Clone, Debug, Default)]
enum Trouble {
    /// The API server has not said yet whether the agent is there.
    #[default]
    Asking,
    /// It cannot be asked.
    Unasked(Failure),
    /// It says that the agent's pod is there.
    Way,
    /// It says what became of the agent's pod.
    Gone(String, Presence),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Proxy,
    PortForward,
}

impl ClusterAgent {
    /// Prepares a session's agent; nothing is made yet.
    pub(crate) fn new(
        access: Access,
        session: &str,
        target: &KubernetesTarget,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            access,
            session: session.to_owned(),
            image: target.agent_image.clone(),
            pinned_image: OnceCell::new(),
            choice: target.transport,
            forward_security: match target.tls {
                TlsChoice::Auto => Security::Proof,
                TlsChoice::Always => Security::Tls,
            },
            generation: Cell::new(0),
            agent: RefCell::new(None),
            given_up: RefCell::new(None),
            trouble: RefCell::default(),
            with_limits: Cell::new(false),
            made: Made::default(),
            left: RefCell::default(),
            removal_is_begun: Cell::new(false),
            creating: RefCell::new(None),
            settled: Cell::new(None),
            events,
        }
    }

    /// The cluster and namespace.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The agent in that pod, for messages.
    fn whereabouts<'a>(&'a self, pod: &'a str) -> Whereabouts<'a> {
        Whereabouts::Pod {
            name: pod,
            image: &self.image,
        }
    }

    /// Says something of the agent that runs.
    pub(crate) fn told<T>(&self, tell: impl FnOnce(Whereabouts<'_>) -> T) -> T {
        let agent = self.agent.borrow();
        tell(self.whereabouts(agent.as_ref().map_or("(none)", |agent| &agent.pod.name)))
    }

    fn progress(&self, words: &str) {
        // a launcher that reads slowly misses a word of progress and nothing else
        let _missed = self.events.try_send(Event::Progress(words.to_owned())).is_err();
    }

    /// Why a tunnel that broke is not back yet; `reason` is what its own end was told.
    pub(crate) fn trouble(&self, reason: &str) -> String {
        match &*self.trouble.borrow() {
            Trouble::Asking => "the API server does not answer".to_owned(),
            Trouble::Unasked(failure) => failure.message.clone(),
            Trouble::Way => format!("the connection through the API server broke ({reason})"),
            Trouble::Gone(pod, presence) => format!("the agent's pod {pod} {presence}"),
        }
    }

    /// Opens a tunnel: to the pod that runs, otherwise to a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let running = self.agent.borrow().clone();
        if let Some(agent) = running {
            match self.reach_again(&agent).await? {
                Ok(opened) => return Ok(opened.to(self.whom(agent.pod.name))),
                Err(gone) => self.give_up(&agent, gone).await?,
            }
        }
        let agent = self.create().await?;
        // it is the session's from here on: a way that is not there yet costs no agent
        *self.agent.borrow_mut() = Some(agent.clone());
        let opened = self.reach_for_certain(&agent).await?;
        Ok(opened.to(self.whom(agent.pod.name)))
    }

    /// Of the addresses that the agent tells, those that the cluster gave to its pod.
    pub(crate) fn own_addresses(&self, told: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        match &*self.agent.borrow() {
            Some(agent) => addresses::confirmed(told, &agent.pod.addresses),
            None => Vec::new(),
        }
    }

    /// Opens a tunnel to an agent that was there before, or says what became of it.
    async fn reach_again(&self, agent: &RunningAgent) -> Result<Result<Opened, Presence>, Failure> {
        match self.look(agent).await? {
            Presence::Running => {}
            gone => return Ok(Err(gone)),
        }
        let failure = match self.reach_for_certain(agent).await {
            Ok(opened) => return Ok(Ok(opened)),
            Err(Unreached::Failed(failure)) => return Err(failure),
            Err(Unreached::Gone(failure)) => failure,
        };
        match self.look(agent).await? {
            Presence::Running => Err(failure),
            gone => Ok(Err(gone)),
        }
    }

    async fn look(&self, agent: &RunningAgent) -> Result<Presence, Failure> {
        let looked = presence::look(&self.access, &agent.pod).await;
        *self.trouble.borrow_mut() = match &looked {
            Ok(Presence::Running) => Trouble::Way,
            Ok(gone) => Trouble::Gone(agent.pod.name.clone(), gone.clone()),
            Err(failure) => Trouble::Unasked(failure.clone()),
        };
        looked
    }

    /// Lets go of an agent whose pod is gone, for another one to be made. Where somebody deleted its Job, that is the end
    /// of the session.
    async fn give_up(&self, agent: &RunningAgent, gone: Presence) -> Result<(), Failure> {
        let pod = &agent.pod;
        log::warn!("the agent's pod {} {gone}", pod.name);
        let job = self.made.borrow().as_ref().map(|made| made.name.clone());
        let removal = self.remove().await?;
        if let (Removal::WasGone, Some(job)) = (removal, job)
            && let Some(end) = self.end_by_somebody(agent, &gone, &job).await
        {
            return Err(end);
        }
        log::info!("making a new agent with new keys");
        self.given_up.borrow_mut().get_or_insert_with(|| gone.to_string());
        self.agent.borrow_mut().take();
        Ok(())
    }

    /// The end of the session where somebody deleted the agent's Job, or all of its namespace.
    ///
    /// The cluster itself removes a Job, too: some seconds after its pod has ended, as the pod of a session does that was
    /// away for long, or one that was deleted alone. So it counts that the pod was at work when it was deleted, and that
    /// this was not so long ago. Where the cluster does not tell, the agent is replaced.
    async fn end_by_somebody(&self, agent: &RunningAgent, gone: &Presence, job: &str) -> Option<Failure> {
        let deleted = match gone {
            // a pod that has ended is gone as soon as it is deleted
            Presence::Terminating(since) => *since,
            Presence::Deleted | Presence::Replaced => {
                pod_end::deleted_alive_at(&self.access, &agent.pod).await?
            }
            Presence::Running | Presence::Ended(_) => return None,
        };
        let namespace = &self.access.namespace;
        let what = match self.rehearse(job).await {
            Rehearsal::NamespaceIsGoing => {
                format!("namespace {namespace} is being deleted, with the agent's Job {job}")
            }
            Rehearsal::Taken { at } if at - deleted < i64::from(job::KEEP_FINISHED_SECONDS) => {
                format!("somebody deleted the agent's Job {job} in namespace {namespace}")
            }
            Rehearsal::Taken { .. } | Rehearsal::Exists { .. } | Rehearsal::Refused => return None,
        };
        Some(Failure::end(
            format!("the session is over: {what}"),
            "programs go on without the cluster: start the command again for another session",
        ))
    }

    /// What the cluster would do with another Job of that name.
    async fn rehearse(&self, name: &str) -> Rehearsal {
        creation::rehearse(&self.access, &self.manifest(name)).await
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
        *self.trouble.borrow_mut() = Trouble::default();
    }

    /// What an agent of that name is made of.
    fn manifest<'a>(&'a self, name: &'a str) -> Manifest<'a> {
        Manifest {
            name,
            session: &self.session,
            image: self.pinned_image.get().unwrap_or(&self.image),
            transport: self.choice,
            with_limits: self.with_limits.get(),
        }
    }

    /// Makes an agent, with limits where the namespace demands them.
    async fn create(&self) -> Result<RunningAgent, Failure> {
        match self.create_once().await {
            Err(NotRunning::WithoutLimits(failure)) if !self.with_limits.replace(true) => {
                log::info!("making the agent again, with limits: {}", failure.message);
                Ok(self.create_once().await?)
            }
            created => Ok(created?),
        }
    }

    /// Makes an agent with a name and keys of its own, and waits until its pod runs.
    async fn create_once(&self) -> Result<RunningAgent, NotRunning> {
        // an attempt before this one may have left a Job that never ran
        self.remove().await?;
        let SessionKeys { relay, agent } =
            SessionKeys::generate().map_err(|error| without_randomness(&error))?;
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        let name = match generation {
            0 => job::name(&self.session),
            _ => job::later_name(&self.session).map_err(|error| without_randomness(&error))?,
        };
        self.progress(match self.with_limits.get() {
            false => "creating the agent",
            true => "creating the agent, with limits",
        });
        let manifest = self.manifest(&name);
        let (mut creation, done) = creation::start(&self.access, &manifest, agent, &self.made)?;
        *self.creating.borrow_mut() = Some(done);
        self.removal_is_begun.set(false);
        let server = &self.access.server;
        let job = awaited(server, |words| self.progress(words), creation.job()).await?;
        let pod = watching::running_pod(&self.access, &job, |words| self.progress(words));
        let secret = async { Ok(creation.secret().await?) };
        let (pod, ()) = tokio::try_join!(pod, secret)?;
        if let Some(pinned) = image::pinned(&self.image, &pod.image_id) {
            log::info!("later agents of this session are made of {pinned}");
            // one that is set already is what this pod was made of
            let _known = self.pinned_image.set(pinned).is_err();
        }
        Ok(RunningAgent {
            pod,
            identity: Rc::new(relay),
        })
    }
}

fn without_randomness(error: &dyn std::fmt::Display) -> Failure {
    Failure::lasting(
        format!("cannot make the agent's keys: {error}"),
        "is the system out of randomness?",
    )
}
