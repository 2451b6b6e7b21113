//! The session's agent in the cluster: made, reached, and removed again.

use super::access::{self, Access};
use super::proxy::ProxyError;
use super::{job, leftovers, port_forward, proxy, watching};
use crate::log;
use crate::report::{self, Failure, Whereabouts};
use crate::uplink::Opened;
use k8s_openapi::api::batch::v1::Job;
use kinject_escape::word;
use kinject_protocol::session::{Event, KubernetesTarget, Report, TransportChoice};
use kinject_tunnel::lanes::SecondLane;
use kinject_tunnel::{RelayIdentity, Security, SessionKeys, link};
use kube::api::{Api, PostParams};
use std::cell::{Cell, RefCell};
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

/// How long the cluster may take to create the Job: admission webhooks are asked meanwhile, each for up to 30 seconds.
const CREATE_PATIENCE: Duration = Duration::from_secs(40);

/// How long removing the Job may take at the end of the session.
const REMOVE_PATIENCE: Duration = Duration::from_secs(6);

/// The agent's Job and the way into its pod.
pub(crate) struct ClusterAgent {
    access: Access,
    session: String,
    image: String,
    choice: TransportChoice,
    identity: Rc<RelayIdentity>,
    agent_identity: String,
    /// The agent that runs now, if there is one; a new one gets a new name.
    generation: Cell<u32>,
    /// Whether its Job may be in the cluster.
    may_exist: Rc<Cell<bool>>,
    pod: RefCell<Option<watching::RunningPod>>,
    /// The creation that is under way: it is always seen through, so that nothing is made after the end.
    creating: RefCell<Option<oneshot::Receiver<()>>>,
    /// The way that worked last.
    settled: Cell<Option<Way>>,
    events: mpsc::Sender<Event>,
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
    ) -> Result<Self, Failure> {
        let SessionKeys { relay, agent } = SessionKeys::generate().map_err(|error| {
            Failure::lasting(
                format!("cannot make the session's keys: {error}"),
                "is the system out of randomness?",
            )
        })?;
        Ok(Self {
            access,
            session: session.to_owned(),
            image: target.agent_image.clone(),
            choice: target.transport,
            identity: Rc::new(relay),
            agent_identity: agent,
            generation: Cell::new(0),
            may_exist: Rc::default(),
            pod: RefCell::new(None),
            creating: RefCell::new(None),
            settled: Cell::new(None),
            events,
        })
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
        let pod = self.pod.borrow();
        tell(self.whereabouts(pod.as_ref().map_or("(none)", |pod| &pod.name)))
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.access.client.clone(), &self.access.namespace)
    }

    fn job_name(&self, generation: u32) -> String {
        match generation {
            0 | 1 => job::name(&self.session),
            later => format!("{}-{later}", job::name(&self.session)),
        }
    }

    fn progress(&self, words: &str) {
        // a launcher that reads slowly misses a word of progress and nothing else
        let _missed = self.events.try_send(Event::Progress(words.to_owned())).is_err();
    }

    /// Opens a tunnel: to the pod that runs, otherwise to a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let running = self.pod.borrow().clone();
        if let Some(pod) = running {
            if self.is_running(&pod).await? {
                return self.reach(&pod.name).await;
            }
            log::warn!("the agent's pod {} is gone, making a new one", pod.name);
            self.remove().await?;
            self.pod.borrow_mut().take();
        }
        let pod = self.create().await?;
        let opened = self.reach(&pod.name).await?;
        *self.pod.borrow_mut() = Some(pod);
        Ok(opened)
    }

    async fn is_running(&self, pod: &watching::RunningPod) -> Result<bool, Failure> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.access.client.clone(), &self.access.namespace);
        let found = pods
            .get_opt(&pod.name)
            .await
            .map_err(|error| self.access.failure(&error, "look for the agent's pod"))?;
        Ok(found.is_some_and(|pod| {
            let phase = pod.status.and_then(|status| status.phase);
            pod.metadata.deletion_timestamp.is_none() && phase.as_deref() == Some("Running")
        }))
    }

    async fn create(&self) -> Result<watching::RunningPod, Failure> {
        // an attempt before this one may have left a Job that never ran
        self.remove().await?;
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let name = self.job_name(generation);
        self.progress("creating the agent");
        let manifest =
            job::manifest(&name, &self.session, &self.image, &self.agent_identity).map_err(|error| {
                Failure::lasting(
                    format!("the agent's Job cannot be written: {error}"),
                    "report this",
                )
            })?;
        let (done, created) = oneshot::channel();
        let jobs = self.jobs();
        let (created_sender, created_receiver) = oneshot::channel();
        *self.creating.borrow_mut() = Some(created);
        self.may_exist.set(true);
        let may_exist = Rc::clone(&self.may_exist);
        tokio::task::spawn_local(async move {
            let parameters = PostParams::default();
            let outcome = tokio::time::timeout(CREATE_PATIENCE, jobs.create(&parameters, &manifest)).await;
            if let Ok(Err(error)) = &outcome
                && access::did_nothing(error)
            {
                may_exist.set(false);
            }
            // both receivers may be gone when the session ends meanwhile
            let _unheard = created_sender.send(outcome).is_err();
            let _unheard = done.send(()).is_err();
        });
        match created_receiver.await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => return Err(self.access.failure(&error, "create the agent's Job")),
            Ok(Err(_)) => {
                return Err(Failure::passing(
                    format!(
                        "the cluster at {} does not answer when asked to create the agent's Job",
                        self.access.server
                    ),
                    "does `kubectl get --raw /readyz` get an answer from here?",
                ));
            }
            Err(_) => {
                return Err(Failure::passing(
                    "creating the agent's Job was cut short",
                    "try again",
                ));
            }
        }
        watching::running_pod(&self.access, &name, |words| self.progress(words)).await
    }

    /// Opens a tunnel to a running pod, by the best way that works.
    async fn reach(&self, pod: &str) -> Result<Opened, Failure> {
        let way = match (self.choice, self.settled.get()) {
            (TransportChoice::Proxy, _) => Some(Way::Proxy),
            (TransportChoice::PortForward, _) => Some(Way::PortForward),
            (TransportChoice::Auto, settled) => settled,
        };
        let started = Instant::now();
        let opened = match way {
            Some(Way::Proxy) => self.reach_by_proxy(pod, started + ANSWER_PATIENCE).await?,
            Some(Way::PortForward) => self.reach_by_port_forward(pod, started + ANSWER_PATIENCE).await?,
            None => match self.reach_by_proxy(pod, started + PROXY_PATIENCE).await {
                Ok(opened) => opened,
                Err(failure) => {
                    log::info!("not through the pod proxy: {}", failure.message);
                    self.reach_by_port_forward(pod, Instant::now() + ANSWER_PATIENCE)
                        .await?
                }
            },
        };
        self.settled.set(Some(if opened.transport == "proxy" {
            Way::Proxy
        } else {
            Way::PortForward
        }));
        Ok(opened)
    }

    async fn reach_by_proxy(&self, pod: &str, deadline: Instant) -> Result<Opened, Failure> {
        loop {
            let attempt = tokio::time::timeout_at(deadline, async {
                let stream = proxy::open(&self.access, pod).await?;
                Ok(Opened::over(stream, &self.identity, Security::Tls, "proxy").await)
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

    async fn reach_by_port_forward(&self, pod: &str, deadline: Instant) -> Result<Opened, Failure> {
        loop {
            let attempt = tokio::time::timeout_at(deadline, async {
                let (stream, may_widen) = port_forward::open(&self.access, pod).await?;
                let widen = |second| self.widening(pod, may_widen, second);
                Ok(Opened::in_lanes(stream, &self.identity, "port-forward", widen).await)
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
    fn widening(&self, pod: &str, may_widen: bool, second: SecondLane) -> impl Future<Output = ()> + 'static {
        let (access, identity, pod) = (self.access.clone(), Rc::clone(&self.identity), pod.to_owned());
        async move {
            if !may_widen {
                return;
            }
            let joining = async {
                let stream = port_forward::open_broad(&access, &pod).await?;
                let (stream, _) = link::open(stream, &identity, Security::Proof).await?;
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
        let name = self.job_name(self.generation.get());
        Err(leftovers::stays(&self.access, &name, &failure))
    }

    /// Removes the latest Job, if there may be one.
    async fn remove(&self) -> Result<(), Failure> {
        if !self.may_exist.get() {
            return Ok(());
        }
        let name = self.job_name(self.generation.get());
        leftovers::remove_job(&self.access, &name).await?;
        self.may_exist.set(false);
        Ok(())
    }
}
