//! Dials targets from the agent's pod, for connects and for flows: through the current tunnel, and through the next one
//! if it is lost meanwhile.

use crate::log;
use crate::routes::Transport;
use crate::trace::Trace;
use crate::uplink::{ActiveTunnel, Ended, Uplink};
use crate::words;
use kinject_protocol::ConnectFailure;
use kinject_tunnel::{DialError, TunnelStream};
use std::net::SocketAddr;
use std::rc::Rc;

/// Dials over the session's uplink.
pub(crate) struct Dialer {
    uplink: Rc<Uplink>,
    trace: Rc<Trace>,
}

impl Dialer {
    /// A dialer that traces its connects.
    pub(crate) fn new(uplink: Rc<Uplink>, trace: Rc<Trace>) -> Self {
        Self { uplink, trace }
    }

    /// Connects to a target by TCP, and traces it.
    pub(crate) async fn connect(&self, target: SocketAddr) -> Result<TunnelStream, ConnectFailure> {
        let traced = self.trace.target(Transport::Tcp, target);
        // a scope means something on this machine only, and a mapped address is an IPv4 address
        let authority = SocketAddr::new(target.ip().to_canonical(), target.port()).to_string();
        let dialled = self.dial(async |up| up.tunnel.connect(&authority).await).await;
        let outcome = dialled.map_err(|error| failure_of(&error));
        traced.ended(match &outcome {
            Ok(_) => "connected",
            Err(failure) => words::errno(*failure),
        });
        outcome
    }

    /// Dials through the tunnel, and again through the next one each time that the tunnel is lost meanwhile. The
    /// program's own time-out is the limit; [`DialError::TunnelLost`] means that the session has ended.
    pub(crate) async fn dial<T>(
        &self,
        mut dial: impl AsyncFnMut(&Rc<ActiveTunnel>) -> Result<T, DialError>,
    ) -> Result<T, DialError> {
        loop {
            let up = self.uplink.up().await.map_err(|Ended| DialError::TunnelLost)?;
            match dial(&up).await {
                Err(DialError::TunnelLost) => self.uplink.lost(&up).await,
                outcome => return outcome,
            }
        }
    }

    /// Waits until the session has noticed that this tunnel is lost.
    pub(crate) async fn lost(&self, lost: &Rc<ActiveTunnel>) {
        self.uplink.lost(lost).await;
    }

    /// Whether there will be no tunnel any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.uplink.has_ended()
    }
}

/// The failure as the control protocol has it.
pub(crate) fn failure_of(error: &DialError) -> ConnectFailure {
    match error {
        DialError::Refused => ConnectFailure::Refused,
        DialError::TimedOut => ConnectFailure::TimedOut,
        DialError::HostUnreachable => ConnectFailure::HostUnreachable,
        DialError::NetworkUnreachable => ConnectFailure::NetworkUnreachable,
        DialError::Reset => ConnectFailure::Reset,
        DialError::PermissionDenied => ConnectFailure::PermissionDenied,
        DialError::AddressNotAvailable => ConnectFailure::AddressNotAvailable,
        DialError::TunnelLost => ConnectFailure::TunnelDown,
        DialError::Other(reason) => {
            log::warn!("the agent failed to dial: {reason}");
            ConnectFailure::NetworkUnreachable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_agent::{DEADLINE, TestAgent};
    use crate::uplink::Reconnector;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn dial_after_the_session_ended_returns_tunnel_lost() {
        let test = async {
            let agent = TestAgent::start().await;
            let (events, _receiver) = mpsc::channel(8);
            let (reconnector, uplink) = Reconnector::new(agent.connector(), events);
            let established = reconnector.connect().await.unwrap();
            let session = tokio::task::spawn_local(reconnector.run(established, |_| {}));
            uplink.up().await.unwrap();
            let trace = Rc::new(Trace::open(None, Rc::default()).unwrap());
            let dialer = Dialer::new(Rc::clone(&uplink), trace);
            let mut attempts = 0;
            let dial = dialer.dial(async |up| {
                attempts += 1;
                assert!(attempts < 10, "the closed tunnel is used again and again");
                if attempts == 1 {
                    // the session ends while the agent dials
                    session.abort();
                    while !session.is_finished() {
                        tokio::task::yield_now().await;
                    }
                }
                up.tunnel.connect("10.0.0.1:1").await.map(drop)
            });
            assert_eq!(dial.await, Err(DialError::TunnelLost));
            assert!(uplink.up().await.is_err() && uplink.now().is_none());
        };
        tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
            .await
            .unwrap();
    }
}
