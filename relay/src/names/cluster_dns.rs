//! The cluster's name servers, asked through the tunnel, and their answers as long as they last.

use super::cache::Cache;
use super::query::{self, Answer, MAX_NEGATIVE_TTL, MAX_TTL, Outcome};
use crate::log;
use crate::uplink::{ActiveTunnel, Uplink};
use bytes::Bytes;
use hickory_proto::rr::RecordType;
use kinject_dns::message::{self, Code, Query};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a lookup waits for a tunnel that is being mended: glibc's own patience with a silent server, two attempts
/// of five seconds (resolv.conf(5)).
const TUNNEL_PATIENCE: Duration = Duration::from_secs(10);

/// Longer answers are not kept: few programs ask for them, and never often.
const LARGEST_KEPT: usize = 4096;

/// The cluster's answers to questions with identifier 0; none where no name server answered.
type MessageCache = Cache<Vec<u8>, Option<Rc<Kept>>>;

/// An answer of the cluster.
#[derive(Debug)]
struct Kept {
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
    /// With no answers yet.
    pub(super) fn new(uplink: Rc<Uplink>) -> Self {
        Self {
            uplink,
            addresses: Cache::default(),
            messages: MessageCache::default(),
        }
    }

    /// Forgets all answers.
    pub(super) fn forget(&self) {
        self.addresses.clear();
        self.messages.clear();
    }

    /// The tunnel, if there is one as long as a lookup waits.
    pub(super) async fn up(&self) -> Option<Rc<ActiveTunnel>> {
        let up = tokio::time::timeout(TUNNEL_PATIENCE, self.uplink.up());
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
                Err(_) => Answer::passing(Outcome::NoAnswer),
                Ok(up) => match up.tunnel.dns(question).await {
                    Ok(message) => query::answer(&message, record),
                    Err(error) => {
                        log::info!("lookup of {name}: the cluster's name servers do not answer: {error}");
                        Answer::passing(Outcome::NoAnswer)
                    }
                },
            };
            let ttl = answer.ttl;
            (answer, ttl)
        };
        let key = (name.to_ascii_lowercase(), record);
        let outcome = self.addresses.get_or_ask(key, ask).await.outcome;
        spelt_as_asked(outcome, name)
    }

    /// Asks the cluster. Where it cannot be asked, the answer is a server's failure.
    pub(super) async fn exchange(&self, query: &Query<'_>) -> Vec<u8> {
        let id = query.id();
        // RFC 8484, 4.1: with identifier 0 caches can work
        let question = query.with_id(0);
        let kept = if query.is_common() {
            let ask = || self.ask_for_message(query, question.clone());
            self.messages.get_or_ask(question.clone(), ask).await
        } else {
            self.ask_for_message(query, question).await.0
        };
        let Some(kept) = kept else {
            return query.refusal(Code::ServFail);
        };
        let mut answer = kept.message.clone();
        message::age(&mut answer, kept.at.elapsed());
        message::set_id(&mut answer, id);
        answer
    }

    async fn ask_for_message(&self, query: &Query<'_>, question: Vec<u8>) -> (Option<Rc<Kept>>, Duration) {
        let Some(up) = self.up().await else {
            return (None, Duration::ZERO);
        };
        let answer = match up.tunnel.dns(Bytes::from(question)).await {
            // what answers another question would be taken for forged
            Ok(answer) if query.is_answered_by(0, &answer) => answer,
            Ok(_) => {
                log::warn!(
                    "question about {}: the cluster's answer makes no sense",
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
            Some(_) if answer.len() > LARGEST_KEPT || message::is_truncated(&answer) => Duration::ZERO,
            Some(ttl) if message::has_answers(&answer) => ttl.min(MAX_TTL),
            Some(ttl) => ttl.min(MAX_NEGATIVE_TTL),
            None => Duration::ZERO,
        };
        let kept = Kept {
            message: answer.to_vec(),
            at: Instant::now(),
        };
        (Some(Rc::new(kept)), ttl)
    }
}

/// A server repeats the name in the question's spelling; a kept answer has the spelling of whoever asked first.
fn spelt_as_asked(mut outcome: Outcome, name: &str) -> Outcome {
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
        let Outcome::Found { canonical, .. } = spelt_as_asked(found(&["10.0.0.1"]), "WEB.") else {
            panic!("found stays found")
        };
        assert_eq!(canonical, "WEB");
        assert_eq!(
            spelt_as_asked(found(&["10.0.0.1"]), "alias"),
            found(&["10.0.0.1"])
        );
    }
}
