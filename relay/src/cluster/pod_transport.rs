//! Connects to the agent's pod through the API server, by its pod proxy or by port-forward: which transport to try and
//! for how long, and why neither works.

use super::access::Access;
use super::pod_startup::RunningPod;
use super::proxy::ProxyError;
use super::{pod_end, pod_state, port_forward, proxy};
use crate::log;
use crate::report::{self, AgentLocation, Failure};
use crate::uplink::opened::Opened;
use kinject_escape::word;
use kinject_protocol::session::{KubernetesTarget, TlsChoice, TransportChoice};
use kinject_tunnel::lanes::SecondLane;
use kinject_tunnel::{RelayIdentity, Security, link};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an agent whose container runs may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `auto` tries the proxy before port-forward.
const PROXY_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between attempts at an agent that is just starting.
const RETRY_PAUSE: Duration = Duration::from_millis(15);

/// How long to try to connect before also watching for the end of the pod. An agent that answers sooner costs no
/// further request.
const END_WATCH_DELAY: Duration = Duration::from_secs(1);

/// An agent whose pod runs, and the relay's keys for that agent.
#[derive(Clone)]
pub(super) struct RunningAgent {
    /// Its pod.
    pub(super) pod: RunningPod,
    /// The image of the pod.
    pub(super) image: String,
    /// The relay's keys.
    pub(super) identity: Rc<RelayIdentity>,
}

impl RunningAgent {
    /// Its location for messages.
    pub(super) fn location(&self) -> AgentLocation<'_> {
        AgentLocation::Pod {
            name: &self.pod.name,
            image: &self.image,
        }
    }
}

/// The transports from the relay to the agents of a session.
pub(super) struct PodTransports {
    access: Access,
    choice: TransportChoice,
    /// How relay and agent secure a port-forward, in addition to the TLS of the API server and the kubelet.
    forward_security: Security,
    /// The transport that worked last.
    working: Cell<Option<ApiTransport>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApiTransport {
    Proxy,
    PortForward,
}

/// Why there is no tunnel to an agent.
pub(super) enum ConnectFailure {
    /// Its pod has ended or is gone.
    PodGone(Failure),
    /// No transport works, or the agent is another one.
    Failed(Failure),
}

impl From<ConnectFailure> for Failure {
    fn from(why: ConnectFailure) -> Self {
        match why {
            ConnectFailure::PodGone(failure) | ConnectFailure::Failed(failure) => failure,
        }
    }
}

impl PodTransports {
    /// The transports that the user allows.
    pub(super) fn new(access: Access, target: &KubernetesTarget) -> Self {
        Self {
            access,
            choice: target.transport,
            forward_security: match target.tls {
                TlsChoice::Auto => Security::Proof,
                TlsChoice::Always => Security::Tls,
            },
            working: Cell::new(None),
        }
    }

    /// Opens a tunnel to a running agent, and checks that the tunnel leads to that agent's pod before anything is sent
    /// through it. If the pod has ended, which the API server reports late, that is the failure to report.
    pub(super) async fn connect_verified(&self, agent: &RunningAgent) -> Result<Opened, ConnectFailure> {
        let pod = &agent.pod;
        let mut connected = pin!(async {
            let opened = self.connect(agent).await?;
            pod_state::confirm(&self.access, pod).await?;
            Ok::<_, Failure>(opened)
        });
        let ended = async {
            tokio::time::sleep(END_WATCH_DELAY).await;
            pod_end::ended(&self.access, pod).await
        };
        let failure = tokio::select! {
            biased;
            outcome = &mut connected => match outcome {
                Ok(opened) => return Ok(opened),
                Err(failure) => failure,
            },
            end = ended => return Err(ConnectFailure::PodGone(end)),
        };
        Err(match pod_end::found(&self.access, pod, !failure.lasting).await {
            Some(pod_end::End::Ended(end)) => ConnectFailure::PodGone(end),
            Some(pod_end::End::Deleted) => match pod_state::confirm(&self.access, pod).await {
                Err(gone) if gone.lasting => ConnectFailure::Failed(gone),
                Err(gone) => ConnectFailure::PodGone(gone),
                Ok(()) => ConnectFailure::Failed(failure),
            },
            None => ConnectFailure::Failed(failure),
        })
    }

    /// Opens a tunnel to a running agent, by the best transport that works.
    async fn connect(&self, agent: &RunningAgent) -> Result<Opened, Failure> {
        let transport = match (self.choice, self.working.get()) {
            (TransportChoice::Proxy, _) => Some(ApiTransport::Proxy),
            (TransportChoice::PortForward, _) => Some(ApiTransport::PortForward),
            (TransportChoice::Auto, working) => working,
        };
        let started = Instant::now();
        let opened = match transport {
            Some(ApiTransport::Proxy) => self.connect_by_proxy(agent, started + ANSWER_TIMEOUT).await?,
            Some(ApiTransport::PortForward) => {
                self.connect_by_port_forward(agent, started + ANSWER_TIMEOUT)
                    .await?
            }
            None => match self.connect_by_proxy(agent, started + PROXY_TIMEOUT).await {
                Ok(opened) => opened,
                Err(failure) => {
                    log::info!("not through the pod proxy: {}", failure.message);
                    let deadline = Instant::now() + ANSWER_TIMEOUT;
                    let mut opened = self.connect_by_port_forward(agent, deadline).await?;
                    opened.transport.not_by_proxy = Some(failure.summary().to_owned());
                    opened
                }
            },
        };
        self.working.set(Some(if opened.transport.name == "proxy" {
            ApiTransport::Proxy
        } else {
            ApiTransport::PortForward
        }));
        Ok(opened)
    }

    async fn connect_by_proxy(&self, agent: &RunningAgent, deadline: Instant) -> Result<Opened, Failure> {
        let pod = &agent.pod.name;
        loop {
            let attempt = tokio::time::timeout_at(deadline, async {
                let stream = proxy::open(&self.access, pod).await?;
                Ok(Opened::over(stream, &agent.identity, Security::Tls, "proxy").await)
            });
            let failure = match attempt.await {
                Ok(Ok(Ok(opened))) => return Ok(opened),
                Ok(Ok(Err(error))) => report::of_open_error(&error, agent.location()),
                Ok(Err(ProxyError::Forbidden(words))) => {
                    return Err(Failure::lasting(
                        format!("the pod proxy may not be used: {words}"),
                        "`get` on `pods/proxy` is needed, or --transport port-forward",
                    ));
                }
                Ok(Err(error)) => Failure::passing(
                    format!("the agent cannot be reached through the pod proxy: {error}"),
                    "check that the API server reaches pods, or use --transport port-forward",
                ),
                Err(_) => Failure::passing(
                    "the agent does not answer through the pod proxy",
                    "check that the API server reaches pods, or use --transport port-forward",
                ),
            };
            if failure.lasting || Instant::now() >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn connect_by_port_forward(
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
                Ok(Ok(Err(error))) => report::of_open_error(&error, agent.location()),
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

    /// Adds a second lane over SPDY, which has more throughput, to an open port-forward. If that fails, the tunnel
    /// keeps its one lane.
    fn widening(
        &self,
        agent: &RunningAgent,
        may_widen: bool,
        second: SecondLane,
    ) -> impl Future<Output = ()> + 'static {
        let (access, RunningAgent { pod, identity, .. }) = (self.access.clone(), agent.clone());
        let security = self.forward_security;
        async move {
            if !may_widen {
                return;
            }
            let joining = async {
                let stream = port_forward::open_spdy(&access, &pod.name).await?;
                let (stream, _) = link::open(stream, &identity, security).await?;
                // another pod may have taken the name since
                pod_state::confirm(&access, &pod)
                    .await
                    .map_err(|failure| anyhow::anyhow!(failure.message))?;
                anyhow::Ok(second.join(stream).await?)
            };
            match tokio::time::timeout(ANSWER_TIMEOUT, joining).await {
                Ok(Ok(())) => log::info!("port-forward has a second, broader lane"),
                Ok(Err(error)) => log::info!("port-forward stays with one lane: {error:#}"),
                Err(_) => log::info!("port-forward stays with one lane: the other one took too long"),
            }
        }
    }
}
