//! Forwards DNS messages to the pod's name servers.
//!
//! Messages are forwarded unchanged in both directions, so every type and every extension works and the relay sees the
//! name server's answer: NXDOMAIN, SERVFAIL and an empty answer stay distinct. Only the transaction id is replaced
//! towards the name server; it is random like the source port, against forged answers.
//!
//! The relay completes the names that programs ask for, with the search list in [`Resolver::text`].

mod exchange;

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};
use std::time::Duration;

use bytes::Bytes;
use kinject_dns::message::{self, Outgoing, Query};
use ring::rand::{SecureRandom, SystemRandom};

use crate::resolv_conf::PodConf;
use exchange::ExchangeError;

/// Asks the pod's nameservers.
pub(crate) struct Resolver {
    conf: PodConf,
    next_server: AtomicUsize,
    random: SystemRandom,
}

/// A message that got no answer.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// It is not a DNS query with one question.
    NotAQuery,
    /// No nameserver answered in time.
    TimedOut,
    /// No name server could be reached; the last error.
    Failed(std::io::Error),
}

impl std::fmt::Display for ForwardError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ForwardError::NotAQuery => f.write_str("not a DNS query"),
            ForwardError::TimedOut => f.write_str("no nameserver answered in time"),
            ForwardError::Failed(error) => write!(f, "no nameserver can be reached: {error}"),
        }
    }
}

impl Resolver {
    pub(crate) fn new(conf: PodConf) -> Self {
        Resolver {
            conf,
            next_server: AtomicUsize::new(0),
            random: SystemRandom::new(),
        }
    }

    /// The resolver configuration, unchanged.
    pub(crate) fn text(&self) -> &str {
        &self.conf.text
    }

    /// Sends the message to the name servers in turn, with the attempts and the time-out of the pod's configuration.
    ///
    /// If a server answers SERVFAIL, REFUSED or NOTIMP, the next one is asked; if no other answers, its answer is
    /// returned.
    pub(crate) async fn forward(&self, message: &[u8]) -> Result<Bytes, ForwardError> {
        let query = Query::parse(message).map_err(|_| ForwardError::NotAQuery)?;
        let query = query.outgoing(self.random_id()?);
        let mut answer = self.ask_all(&query).await?;
        query.restore_id(&mut answer);
        Ok(answer.into())
    }

    async fn ask_all(&self, query: &Outgoing<'_>) -> Result<Vec<u8>, ForwardError> {
        let servers = &self.conf.servers;
        let first = match self.conf.file.rotate {
            true => self.next_server.fetch_add(1, Memory::Relaxed) % servers.len(),
            false => 0,
        };
        let mut last = ForwardError::TimedOut;
        let mut fallback = None;
        for attempt in 0..self.conf.file.attempts {
            let time_limit = self.time_limit(attempt);
            for turn in 0..servers.len() {
                let server = servers[(first + turn) % servers.len()];
                match self.ask(server, query, time_limit).await {
                    Ok(answer) if message::is_for_next_server(&answer) => fallback = Some(answer),
                    Ok(answer) => return Ok(answer),
                    Err(ExchangeError::TimedOut) => {}
                    Err(ExchangeError::Io(error)) => last = ForwardError::Failed(error),
                }
            }
            if let Some(answer) = fallback {
                return Ok(answer);
            }
        }
        Err(last)
    }

    /// The time limit of one attempt: as in glibc, it doubles with each attempt and is divided among the servers.
    fn time_limit(&self, attempt: u32) -> Duration {
        let whole = self.conf.file.timeout * (1 << attempt);
        let shared = match attempt.cmp(&0) {
            Ordering::Greater => whole / self.conf.servers.len() as u32,
            _ => whole,
        };
        shared.max(Duration::from_secs(1))
    }

    async fn ask(
        &self,
        server: SocketAddr,
        query: &Outgoing<'_>,
        time_limit: Duration,
    ) -> Result<Vec<u8>, ExchangeError> {
        if !self.conf.file.use_vc {
            let answer = exchange::udp(server, query, time_limit).await?;
            if !message::is_truncated(&answer) {
                return Ok(answer);
            }
        }
        exchange::tcp(server, query, time_limit).await
    }

    fn random_id(&self) -> Result<u16, ForwardError> {
        let mut id = [0; 2];
        self.random
            .fill(&mut id)
            .map_err(|_| ForwardError::Failed(std::io::Error::other("the system gives no random bytes")))?;
        Ok(u16::from_be_bytes(id))
    }
}

#[cfg(test)]
mod tests;
