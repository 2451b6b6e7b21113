//! The session's agent in the cluster: made, reached, and removed again.

use super::access::Access;
use super::creation::{self, Made};
use super::job::{self, Manifest};
use super::presence::{self, Presence};
use super::proxy::ProxyError;
use super::{image, leftovers, port_forward, proxy, watching};
use crate::log;
use crate::reached::Reached;
use crate::report::{self, Failure, Whereabouts};
use crate::uplink::Opened;
use kinject_escape::word;
use kinject_protocol::session::{Event, KubernetesTarget, Report, TlsChoice, TransportChoice};
use kinject_tunnel::lanes::SecondLane;
use kinject_tunnel::{RelayIdentity, Security, SessionKeys, link};
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long an agent whose container runs may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the proxy is tried before `auto` goes on to port-forward.
const PROXY_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between attempts at an agent that is just starting.
const RETRY_PAUSE: Duration = Duration::from_millis(15);

/// How long removing the Job may take at the end of the session.
const REMOVE_PATIENCE: Duration = Duration::from_secs(6);

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
    /// Why the agent before was given up.
    given_up: RefCell<Option<String>>,
    made: Made,
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
            made: Made::default(),
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

    /// Opens a tunnel: to the pod that runs, otherwise to a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let running = self.agent.borrow().clone();
        if let Some(agent) = running {
            match presence::look(&self.access, &agent.pod).await? {
                Presence::Running => {
                    let opened = self.reach_for_certain(&agent).await?;
                    return Ok(opened.to(Reached::SamePod(agent.pod.name)));
                }
                gone => {
                    log::warn!(
                        "the agent's pod {} {gone}: making a new agent with new keys",
                        agent.pod.name
                    );
                    *self.given_up.borrow_mut() = Some(gone.to_string());
                    self.remove().await?;
                    self.agent.borrow_mut().take();
                }
            }
        }
        let agent = self.create().await?;
        let opened = self.reach_for_certain(&agent).await?;
        let because = self.given_up.borrow_mut().take();
        let pod = agent.pod.name.clone();
        *self.agent.borrow_mut() = Some(agent);
        Ok(opened.to(Reached::NewPod { pod, because }))
    }

    /// Makes an agent with a name and keys of its own, and waits until its pod runs.
    async fn create(&self) -> Result<RunningAgent, Failure> {
        // an attempt before this one may have left a Job that never ran
        self.remove().await?;
        let without_randomness = |error: &dyn std::fmt::Display| {
            Failure::lasting(
                format!("cannot make the agent's keys: {error}"),
                "is the system out of randomness?",
            )
        };
        let SessionKeys { relay, agent } =
            SessionKeys::generate().map_err(|error| without_randomness(&error))?;
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        let name = match generation {
            0 => job::name(&self.session),
            _ => job::later_name(&self.session).map_err(|error| without_randomness(&error))?,
        };
        self.progress("creating the agent");
        let manifest = Manifest {
            name: &name,
            session: &self.session,
            image: self.pinned_image.get().unwrap_or(&self.image),
            transport: self.choice,
        };
        let (mut creation, done) = creation::start(&self.access, &manifest, agent, &self.made)?;
        *self.creating.borrow_mut() = Some(done);
        let job = creation.job().await?;
        let pod = watching::running_pod(&self.access, &job, |words| self.progress(words));
        let (pod, ()) = tokio::try_join!(pod, creation.secret())?;
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

    /// Opens a tunnel to a running agent and makes sure that it leads there. Nothing was sent through it yet.
    async fn reach_for_certain(&self, agent: &RunningAgent) -> Result<Opened, Failure> {
        let opened = self.reach(agent).await?;
        presence::confirm(&self.access, &agent.pod).await?;
        Ok(opened)
    }

    /// Opens a tunnel to a running pod, by the best way that works.
    async fn reach(&self, agent: &RunningAgent) -> Result<Opened, Failure> {
        let way = match (self.choice, self.settled.get()) {
            (TransportChoice::Proxy, _) => Some(Way::Proxy),
            (TransportChoice::PortForward, _) => Some(Way::PortForward),
            (TransportChoice::Auto, settled) => settled,
        };
        let started = Instant::now();
        let opened = match way {
            Some(Way::Proxy) => self.reach_by_proxy(agent, started + ANSWER_PATIENCE).await?,
            Some(Way::PortForward) => {
                self.reach_by_port_forward(agent, started + ANSWER_PATIENCE)
                    .await?
            }
            None => match self.reach_by_proxy(agent, started + PROXY_PATIENCE).await {
                Ok(opened) => opened,
                Err(failure) => {
                    log::info!("not through the pod proxy: {}", failure.message);
                    let deadline = Instant::now() + ANSWER_PATIENCE;
                    let mut opened = self.reach_by_port_forward(agent, deadline).await?;
                    opened.way.not_by_proxy = Some(failure.in_own_words().to_owned());
                    opened
                }
            },
        };
        self.settled.set(Some(if opened.way.transport == "proxy" {
            Way::Proxy
        } else {
            Way::PortForward
        }));
        Ok(opened)
    }

    async fn reach_by_proxy(&self, agent: &RunningAgent, deadline: Instant) -> Result<Opened, Failure> {
        let pod = &agent.pod.name;
        loop {
            let attempt = tokio::time::timeout_at(deadline, async {
                let stream = proxy::open(&self.access, pod).await?;
                Ok(Opened::over(stream, &agent.identity, Security::Tls, "proxy").await)
            });
            let failure = match attempt.await {
                Ok(Ok(Ok(opened))) => return Ok(opened),
                Ok(Ok(Err(error))) => report::of_open_error(&error, self.whereabouts(pod)),
                Ok(Err(ProxyError::Forbidden(words))) => {
                    return Err(Failure::lasting(
                        format!("the pod proxy may not be used: {words}"),
                        "`get` on `pods/proxy` is needed, or --transport port-forward",
                    ));
                }
                Ok(Err(error)) => Failure::passing(
                    format!("the agent cannot be reached through the pod proxy: {error}"),
                    "does the API server reach pods? --transport port-forward goes another way",
                ),
                Err(_) => Failure::passing(
                    "the agent does not answer through the pod proxy",
                    "does the API server reach pods? --transport port-forward goes another way",
                ),
            };
            if failure.lasting || Instant::now() >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn reach_by_port_forward(
        &self,
        agent: &RunningAgent,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let pod = &agent.pod.name;
        loop {
            let attempt = tokio::time::timeout_at(deadline, async {
                let (stream, may_widen) = port_forward::open(&self.access, pod).await?;
                let widen = |second| self.widening(agent, may_widen, second);
                let security = self.forward_security;
                Ok(Opened::in_lanes(stream, &agent.identity, security, "port-forward", widen).await)
            });
            let failure = match attempt.await {
                Ok(Ok(Ok(opened))) => return Ok(opened),
                Ok(Ok(Err(error))) => report::of_open_error(&error, self.whereabouts(pod)),
                Ok(Err(error)) => {
                    let error: kube::Error = error;
                    self.access.failure(&error, "open a port-forward to the agent")
                }
                Err(_) => Failure::passing(
                    "the agent does not answer through port-forward",
                    &format!(
                        "`kubectl -n {} logs {}` shows its log",
                        word(&self.access.namespace),
                        word(pod)
                    ),
                ),
            };
            if failure.lasting || Instant::now() >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Has a broader stream join one through port-forward that is open. Where none is to be had the session goes on as it is.
    fn widening(
        &self,
        agent: &RunningAgent,
        may_widen: bool,
        second: SecondLane,
    ) -> impl Future<Output = ()> + 'static {
        let (access, RunningAgent { pod, identity }) = (self.access.clone(), agent.clone());
        let security = self.forward_security;
        async move {
            if !may_widen {
                return;
            }
            let joining = async {
                let stream = port_forward::open_broad(&access, &pod.name).await?;
                let (stream, _) = link::open(stream, &identity, security).await?;
                // it was opened by the pod's name, too
                presence::confirm(&access, &pod)
                    .await
                    .map_err(|failure| anyhow::anyhow!(failure.message))?;
                anyhow::Ok(second.join(stream).await?)
            };
            match tokio::time::timeout(ANSWER_PATIENCE, joining).await {
                Ok(Ok(())) => log::info!("port-forward has a second, broader lane"),
                Ok(Err(error)) => log::info!("port-forward stays with one lane: {error:#}"),
                Err(_) => log::info!("port-forward stays with one lane: the other one took too long"),
            }
        }
    }

    /// Removes what the session made. What stays is said, with the command that removes it.
    pub(crate) async fn clean_up(&self) -> Result<(), Report> {
        let creating = self.creating.borrow_mut().take();
        if let Some(creating) = creating {
            // done, or its task is gone with the runtime
            let _gone = tokio::time::timeout(REMOVE_PATIENCE, creating).await.is_err();
        }
        let removal = tokio::time::timeout(REMOVE_PATIENCE, self.remove()).await;
        let failure = match removal {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.message,
            Err(_) => "the cluster does not answer".to_owned(),
        };
        let made = self.made.borrow();
        let name = made
            .as_ref()
            .map_or_else(|| job::name(&self.session), |made| made.name.clone());
        Err(leftovers::stays(&self.access, &name, &failure))
    }

    /// Removes the latest Job, if there may be one.
    async fn remove(&self) -> Result<(), Failure> {
        let made = self.made.borrow().clone();
        if let Some(made) = made {
            leftovers::remove_job(&self.access, &made).await?;
            self.made.borrow_mut().take();
        }
        Ok(())
    }
}
