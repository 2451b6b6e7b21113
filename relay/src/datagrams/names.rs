//! Answers datagrams to the cluster's name servers, in place of these.
//!
//! So a program that resolves names by itself gets the session's answers: the cluster's, and this machine's for names
//! that do not exist in the cluster.

use crate::log;
use crate::names::resolver::Resolver;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Maximum of concurrent questions of one flow; further ones are dropped, as by a busy name server.
const MAX_QUESTIONS: usize = 256;

/// The longest question that is read.
const MAX_QUESTION_BYTES: usize = 65_535;

/// Answers questions until none has arrived for `idle_timeout`.
pub(super) async fn answer(resolver: &Rc<Resolver>, socket: &UdpSocket, idle_timeout: Duration) {
    let mut pending: JoinSet<Option<Vec<u8>>> = JoinSet::new();
    let mut buffer = vec![0; MAX_QUESTION_BYTES];
    loop {
        let received = tokio::select! {
            received = tokio::time::timeout(idle_timeout, socket.recv(&mut buffer)) => received,
            Some(answered) = pending.join_next() => {
                if let Ok(Some(answer)) = answered
                    && let Err(error) = socket.try_send(&answer)
                {
                    log::debug!("an answer to a question about a name was lost: {error}");
                }
                continue;
            }
        };
        match received {
            Ok(Ok(length)) if pending.len() < MAX_QUESTIONS => {
                let resolver = Rc::clone(resolver);
                let question = buffer.get(..length).unwrap_or_default().to_vec();
                pending.spawn_local(async move { resolver.exchange_datagram(&question).await });
            }
            Ok(Ok(_)) => log::debug!("a question about a name was dropped: too many are pending"),
            // an ICMP error of an earlier answer, which the program did not receive
            Ok(Err(error)) => log::debug!("cannot receive a question about a name: {error}"),
            Err(_) => return,
        }
    }
}
