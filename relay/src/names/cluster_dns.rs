//! Asks the cluster's name servers through the tunnel, and caches their answers.

use super::cache::Cache;
use super::query::{self, Answer, MAX_NEGATIVE_TTL, MAX_TTL, Outcome};
use crate::log;
use crate::uplink::{ActiveTunnel, Uplink};
use bytes::Bytes;
use hickory_proto::rr::RecordType;
use kinject_dns::message::{self, Code, Query};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a lookup waits for a tunnel: as long as glibc waits for a silent server, two attempts of five seconds
/// (resolv.conf(5)).
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer answers are not cached: few programs ask for them, and rarely.
const MAX_CACHED_BYTES: usize = 4096;

/// The cluster's answers to questions with identifier 0; none if no name server answered.
type MessageCache = Cache<Vec<u8>, Option<Rc<CachedAnswer>>>;

/// A cached answer of the cluster.
#[derive(Debug)]
struct CachedAnswer {
    message: Vec<u8>,
    at: Instant,
}

/// The cluster's name servers.
pub(super) struct ClusterDns {
    uplink: Rc<Uplink>,
    addresses: Cache<(String, RecordType), Answer>,
    messages: MessageCache,
}

impl ClusterDns {
    /// With an empty cache.
    pub(super) fn new(uplink: Rc<Uplink>) -> Self {
        Self {
            uplink,
            addresses: Cache::default(),
            messages: MessageCache::default(),
        }
    }

    /// Drops all cached answers.
    pub(super) fn forget(&self) {
        self.addresses.clear();
        self.messages.clear();
    }

    /// The tunnel, as soon as there is one; none after [`TUNNEL_TIMEOUT`].
    pub(super) async fn up(&self) -> Option<Rc<ActiveTunnel>> {
        let up = tokio::time::timeout(TUNNEL_TIMEOUT, self.uplink.up());
        up.await.ok()?.ok()
    }

    /// The tunnel, if there is one.
    pub(super) fn now(&self) -> Option<Rc<ActiveTunnel>> {
        self.uplink.now()
    }

    /// Asks for the addresses of one family of one fully qualified name.
    pub(super) async fn ask_record(&self, name: &str, record: RecordType) -> Outcome {
        let Some(question) = query::question(name, record) else {
            return Outcome::NotFound;
        };
        let ask = || async move {
            let answer = match self.uplink.up().await {
                Err(_) => Answer::uncached(Outcome::NoAnswer),
                Ok(up) => match up.tunnel.dns(question).await {
                    Ok(message) => query::answer(&message, record),
                    Err(error) => {
                        log::info!("lookup of {name}: the cluster's name servers do not answer: {error}");
                        Answer::uncached(Outcome::NoAnswer)
                    }
                },
            };
            let ttl = answer.ttl;
            (answer, ttl)
        };
        let key = (name.to_ascii_lowercase(), record);
        let outcome = self.addresses.get_or_ask(key, ask).await.outcome;
        with_questions_spelling(outcome, name)
    }

    /// Asks the cluster. If it cannot be asked, the answer is SERVFAIL.
    pub(super) async fn exchange(&self, query: &Query<'_>) -> Vec<u8> {
        let id = query.id();
        // RFC 8484, 4.1: identifier 0, so that answers can be cached
        let question = query.with_id(0);
        let cached = if query.is_common() {
            let ask = || self.ask_for_message(query, question.clone());
            self.messages.get_or_ask(question.clone(), ask).await
        } else {
            self.ask_for_message(query, question).await.0
        };
        let Some(cached) = cached else {
            return query.refusal(Code::ServFail);
        };
        let mut answer = cached.message.clone();
        message::age(&mut answer, cached.at.elapsed());
        message::set_id(&mut answer, id);
        answer
    }

    async fn ask_for_message(
        &self,
        query: &Query<'_>,
        question: Vec<u8>,
    ) -> (Option<Rc<CachedAnswer>>, Duration) {
        let Some(up) = self.up().await else {
            return (None, Duration::ZERO);
        };
        let answer = match up.tunnel.dns(Bytes::from(question)).await {
            // the program would take an answer to another question for a forged one
            Ok(answer) if query.is_answered_by(0, &answer) => answer,
            Ok(_) => {
                log::warn!(
                    "question about {}: the cluster's answer is malformed",
                    query.name()
                );
                return (None, Duration::ZERO);
            }
            Err(error) => {
                log::info!(
                    "question about {}: the cluster's name servers do not answer: {error}",
                    query.name()
                );
                return (None, Duration::ZERO);
            }
        };
        let ttl = match message::ttl(&answer) {
            Some(_) if answer.len() > MAX_CACHED_BYTES || message::is_truncated(&answer) => Duration::ZERO,
            Some(ttl) if message::has_answers(&answer) => ttl.min(MAX_TTL),
            Some(ttl) => ttl.min(MAX_NEGATIVE_TTL),
            None => Duration::ZERO,
        };
        let cached = CachedAnswer {
            message: answer.to_vec(),
            at: Instant::now(),
        };
        (Some(Rc::new(cached)), ttl)
    }
}

/// Gives the canonical name the question's upper and lower case, as a server does; a cached answer has that of the
/// first question.
fn with_questions_spelling(mut outcome: Outcome, name: &str) -> Outcome {
    let name = name.trim_end_matches('.');
    if let Outcome::Found { canonical, .. } = &mut outcome
        && canonical.eq_ignore_ascii_case(name)
    {
        name.clone_into(canonical);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::query::found_for_tests as found;

    #[test]
    fn cached_answer_has_the_questions_spelling() {
        let Outcome::Found { canonical, .. } = with_questions_spelling(found(&["10.0.0.1"]), "WEB.") else {
            panic!("found stays found")
        };
        assert_eq!(canonical, "WEB");
        assert_eq!(
            with_questions_spelling(found(&["10.0.0.1"]), "alias"),
            found(&["10.0.0.1"])
        );
    }
}
