//! Reopens the tunnel when it breaks, and notifies the user of outages.

use super::{ActiveTunnel, Connector, Established, State, Uplink};
use crate::log;
use crate::names::order::Source;
use crate::report::Failure;
use kinject_protocol::session::{Event, Report};
use kinject_tunnel::Version;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The first pause before another attempt; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How long the first tunnel is retried if the agent evicts the relay's connection before it is authenticated.
const EVICTED_RETRY_TIME: Duration = Duration::from_secs(2);

/// How long an outage may last before the user is notified: most programs do not notice a shorter one.
const NOTICE_DELAY: Duration = Duration::from_secs(2);

/// Keeps the tunnel open for as long as the session lives.
pub(crate) struct Reconnector {
    connector: Connector,
    state: watch::Sender<State>,
    sources: Rc<RefCell<Vec<Source>>>,
    events: mpsc::Sender<Event>,
    /// The agent's release as last reported to the user; initially our own.
    release: RefCell<String>,
}

/// The time between two tunnels.
struct Outage<'a> {
    /// The close reason of the first one.
    close_reason: &'a str,
    since: Instant,
    /// Whether the user was notified.
    is_reported: Cell<bool>,
}

/// Calls of programs outlive the reconnector until the relay has removed what the session created. They must not use
/// the last tunnel, which is closed.
impl Drop for Reconnector {
    fn drop(&mut self) {
        self.state.send_replace(State::Ended);
    }
}

impl Reconnector {
    /// A reconnector, and the uplink that the session's parts share.
    pub(crate) fn new(connector: Connector, events: mpsc::Sender<Event>) -> (Self, Rc<Uplink>) {
        let (sender, receiver) = watch::channel(State::Connecting);
        let sources = Rc::default();
        (
            Self {
                connector,
                state: sender,
                sources: Rc::clone(&sources),
                events,
                release: RefCell::new(Version::own().software),
            },
            Rc::new(Uplink {
                state: receiver,
                sources,
            }),
        )
    }

    /// Runs the tunnel and replaces it whenever it breaks; `renewed` is called with each new tunnel before it is used.
    /// After the session has ended, the tunnel is not replaced.
    pub(crate) async fn run(
        self,
        mut established: Established,
        renewed: impl Fn(&ActiveTunnel),
    ) -> Infallible {
        loop {
            self.sources.replace(established.up.names.sources.clone());
            self.state.send_replace(State::Active(established.up));
            let (mut driver, widening) = (established.driver, established.widening);
            let reason = tokio::select! {
                reason = &mut driver => reason,
                reason = async { widening.await; future::pending().await } => reason,
            };
            self.state.send_replace(State::Connecting);
            log::warn!("the tunnel broke: {reason}");
            established = match self.restore(&reason.to_string()).await {
                Ok(established) => established,
                Err(end) => {
                    self.state.send_replace(State::Ended);
                    log::warn!("{}", end.message);
                    // a launcher that is gone receives nothing
                    let _launcher_gone = self.events.send(Event::Failed(end.into())).await.is_err();
                    // calls are answered until the program has ended
                    return future::pending().await;
                }
            };
            renewed(&established.up);
        }
    }

    /// Opens another tunnel, and notifies the user if that takes long. Its failure is the end of the session.
    async fn restore(&self, close_reason: &str) -> Result<Established, Failure> {
        let outage = Outage {
            close_reason,
            since: Instant::now(),
            is_reported: Cell::new(false),
        };
        let mut reconnecting = pin!(self.reconnect(&outage));
        let established = tokio::select! {
            // a short outage is not reported
            biased;
            reconnected = &mut reconnecting => reconnected?,
            () = tokio::time::sleep(NOTICE_DELAY) => {
                self.report_outage(&outage).await;
                reconnecting.await?
            }
        };
        let notice = established
            .reached
            .reconnect_notice(outage.since.elapsed().as_secs_f32());
        match outage.is_reported.get() {
            // a launcher that is gone receives nothing
            true => drop(self.events.send(Event::Recovered(notice)).await.is_err()),
            false => log::info!("{notice}"),
        }
        Ok(established)
    }

    /// Notifies the user of the outage and its reason, once.
    async fn report_outage(&self, outage: &Outage<'_>) {
        if !outage.is_reported.replace(true) {
            let why = self.connector.outage_reason(outage.close_reason);
            self.notice(
                format!("lost the connection to the agent: {why}"),
                Some("open connections were reset; new ones wait until it is back"),
            )
            .await;
        }
    }

    async fn reconnect(&self, outage: &Outage<'_>) -> Result<Established, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut last_reported = None;
        loop {
            let failure = match self.connect_once().await {
                Err(failure) if !failure.is_end => failure,
                outcome => return outcome,
            };
            log::warn!("cannot reconnect: {}", failure.message);
            if failure.lasting && last_reported.as_ref() != Some(&failure.message) {
                self.report_outage(outage).await;
                self.notice(failure.message.clone(), failure.hint.as_deref())
                    .await;
                last_reported = Some(failure.message);
                pause = MAX_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    /// Opens the first tunnel, whose failure is the session's. An agent that evicts the connection is retried for a
    /// while.
    pub(crate) async fn connect(&self) -> Result<Established, Failure> {
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match self.connect_once().await {
                Err(failure) if failure.cut_short && start.elapsed() + pause < EVICTED_RETRY_TIME => {
                    log::info!("trying again: {}", failure.message);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    async fn connect_once(&self) -> Result<Established, Failure> {
        let established = self.connector.connect().await?;
        let agent = &established.up.tunnel.agent().version;
        let known = self.release.replace(agent.software.clone());
        if agent.software != known {
            self.report(self.connector.of_another_release(agent)).await;
        }
        Ok(established)
    }

    async fn notice(&self, message: String, hint: Option<&str>) {
        let report = Report {
            message,
            hint: hint.map(str::to_owned),
        };
        self.report(report).await;
    }

    async fn report(&self, report: Report) {
        // a launcher that is gone receives nothing
        let _launcher_gone = self.events.send(Event::Notice(report)).await.is_err();
    }
}
