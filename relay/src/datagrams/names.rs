//! Datagrams to the cluster's name servers, which the relay answers itself.
//!
//! A program that resolves names by itself gets the session's answers this way: the cluster's, and this machine's where
//! the cluster knows no such name.

use crate::log;
use crate::names::resolver::Resolver;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Questions of one flow that may be under way; further ones are lost, as at a name server that is busy.
const MOST: usize = 256;

/// The longest question that is read.
const LONGEST: usize = 65_535;

/// Answers questions until none has come for as long as `patience`, or the program is gone.
pub(super) async fn answer(resolver: &Rc<Resolver>, socket: &UdpSocket, patience: Duration) {
    let mut under_way: JoinSet<Option<Vec<u8>>> = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            received = tokio::time::timeout(patience, socket.recv(&mut buffer)) => received,
            Some(answered) = under_way.join_next() => {
                if let Ok(Some(answer)) = answered
                    && let Err(error) = socket.try_send(&answer)
                {
                    log::debug!("an answer to a question about a name was lost: {error}");
                }
                continue;
            }
        };
        match received {
            Ok(Ok(length)) if under_way.len() < MOST => {
                let resolver = Rc::clone(resolver);
                let question = buffer.get(..length).unwrap_or_default().to_vec();
                under_way.spawn_local(async move { resolver.exchange_datagram(&question).await });
            }
            Ok(Ok(_)) => log::debug!("a question about a name was lost: too many are under way"),
            // an answer that came when the program was gone, or looked the other way
            Ok(Err(error)) => log::debug!("cannot receive a question about a name: {error}"),
            Err(_) => return,
        }
    }
}
