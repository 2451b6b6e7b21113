//! The ways into the agent's pod: which is tried, for how long, and what is said where none leads there.

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
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the proxy is tried before `auto` goes on to port-forward.
const PROXY_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between attempts at an agent that is just starting.
const RETRY_PAUSE: Duration = Duration::from_millis(15);

/// After what time the pod is looked after while the way to it is tried: an agent that answers costs no request more.
const PROMPT: Duration = Duration::from_secs(1);

/// One agent, and the keys that were made for it alone.
#[derive(Clone)]
pub(super) struct RunningAgent {
    /// Its pod.
    pub(super) pod: RunningPod,
    /// The image that the pod was made of.
    pub(super) image: String,
    /// The relay's keys.
    pub(super) identity: Rc<RelayIdentity>,
}

impl RunningAgent {
    /// Where it is, for messages.
    pub(super) fn location(&self) -> AgentLocation<'_> {
        AgentLocation::Pod {
            name: &self.pod.name,
            image: &self.image,
        }
    }
}

/// The ways from here to the session's agents.
pub(super) struct Ways {
    access: Access,
    choice: TransportChoice,
    /// What the ends say through port-forward, beside the TLS of the API server and the kubelet.
    forward_security: Security,
    /// The way that worked last.
    settled: Cell<Option<ApiTransport>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApiTransport {
    Proxy,
    PortForward,
}

/// Why an agent was not reached.
pub(super) enum Unreached {
    /// Its pod ended or is gone.
    Gone(Failure),
    /// No way leads there, or somebody else is there.
    Failed(Failure),
}

impl From<Unreached> for Failure {
    fn from(why: Unreached) -> Self {
        match why {
            Unreached::Gone(failure) | Unreached::Failed(failure) => failure,
        }
    }
}

impl Ways {
    /// The ways that the user allows.
    pub(super) fn new(access: Access, target: &KubernetesTarget) -> Self {
        Self {
            access,
            choice: target.transport,
            forward_security: match target.tls {
                TlsChoice::Auto => Security::Proof,
                TlsChoice::Always => Security::Tls,
            },
            settled: Cell::new(None),
        }
    }

    /// Opens a tunnel to a running agent and makes sure that it leads there. Nothing was sent through it yet. The end of
    /// the pod, however late the cluster tells of it, explains a failure better than the way does.
    pub(super) async fn reach_for_certain(&self, agent: &RunningAgent) -> Result<Opened, Unreached> {
        let pod = &agent.pod;
        let mut reached = pin!(async {
            let opened = self.reach(agent).await?;
            pod_state::confirm(&self.access, pod).await?;
            Ok::<_, Failure>(opened)
        });
        let ended = async {
            tokio::time::sleep(PROMPT).await;
            pod_end::ended(&self.access, pod).await
        };
        let failure = tokio::select! {
            biased;
            outcome = &mut reached => match outcome {
                Ok(opened) => return Ok(opened),
                Err(failure) => failure,
            },
            end = ended => return Err(Unreached::Gone(end)),
        };
        Err(match pod_end::found(&self.access, pod, !failure.lasting).await {
            Some(pod_end::End::Ended(end)) => Unreached::Gone(end),
            Some(pod_end::End::Deleted) => match pod_state::confirm(&self.access, pod).await {
                Err(gone) if gone.lasting => Unreached::Failed(gone),
                Err(gone) => Unreached::Gone(gone),
                Ok(()) => Unreached::Failed(failure),
            },
            None => Unreached::Failed(failure),
        })
    }

    /// Opens a tunnel to a running pod, by the best way that works.
    async fn reach(&self, agent: &RunningAgent) -> Result<Opened, Failure> {
        let way = match (self.choice, self.settled.get()) {
            (TransportChoice::Proxy, _) => Some(ApiTransport::Proxy),
            (TransportChoice::PortForward, _) => Some(ApiTransport::PortForward),
            (TransportChoice::Auto, settled) => settled,
        };
        let started = Instant::now();
        let opened = match way {
            Some(ApiTransport::Proxy) => self.reach_by_proxy(agent, started + ANSWER_PATIENCE).await?,
            Some(ApiTransport::PortForward) => {
                self.reach_by_port_forward(agent, started + ANSWER_PATIENCE)
                    .await?
            }
            None => match self.reach_by_proxy(agent, started + PROXY_PATIENCE).await {
                Ok(opened) => opened,
                Err(failure) => {
                    log::info!("not through the pod proxy: {}", failure.message);
                    let deadline = Instant::now() + ANSWER_PATIENCE;
                    let mut opened = self.reach_by_port_forward(agent, deadline).await?;
                    opened.transport.not_by_proxy = Some(failure.summary().to_owned());
                    opened
                }
            },
        };
        self.settled.set(Some(if opened.transport.name == "proxy" {
            ApiTransport::Proxy
        } else {
            ApiTransport::PortForward
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

    /// Has a broader stream join one through port-forward that is open. Where none is to be had the session goes on as it is.
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
                // it was opened by the pod's name, too
                pod_state::confirm(&access, &pod)
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
}
