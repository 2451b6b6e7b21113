//! res_search(3) with the pod's search list.
//!
//! All candidates are asked at once, and the answer is selected in glibc's order. Only if none of them exists in the
//! cluster, this machine's own name servers are asked, for the name as given.

use super::resolver::Resolver;
use super::search_list::{self, Candidate, CandidateOutcome};
use crate::trace::Traced;
use crate::words;
use kinject_dns::message::{self, Code, Query};
use kinject_protocol::NameFailure;
use kinject_protocol::control::{DnsTransport, Reply, Search};
use kinject_protocol::rules;

impl Resolver {
    /// The answer that res_search(3) returns, or its `h_errno`.
    pub(crate) async fn search(&self, transport: DnsTransport, message: &[u8], search: Search) -> Reply {
        match (self.try_search(message, search).await, transport) {
            (Ok(answer), DnsTransport::Stream) => Reply::Answer(answer),
            (Ok(answer), DnsTransport::Datagram) => Reply::Answer(message::truncate(message, answer)),
            (Err(failure), _) => Reply::NameFailed(failure),
        }
    }

    async fn try_search(&self, message: &[u8], search: Search) -> Result<Vec<u8>, NameFailure> {
        let query = Query::parse(message).map_err(|_| NameFailure::NoRecovery)?;
        let name = query.name();
        let only = self.routes.egress_of_name(&name);
        if only == Some(rules::Egress::Local) {
            let answer = self
                .exchange(message)
                .await
                .filter(|answer| message::has_answers(answer));
            return answer.ok_or(NameFailure::NotFound);
        }
        let mut traced = self.trace.lookup(name.as_bytes());
        let found = self
            .search_in_cluster(&query, &name, search, only, &mut traced)
            .await;
        match &found {
            Ok(answer) => traced.exchanged(message::code(answer), &message::addresses(answer)),
            Err(failure) => traced.ended(words::h_errno(*failure)),
        }
        found
    }

    /// Searches in the cluster, and here for names that do not exist there.
    async fn search_in_cluster(
        &self,
        query: &Query<'_>,
        name: &str,
        search: Search,
        only: Option<rules::Egress>,
        traced: &mut Traced<'_>,
    ) -> Result<Vec<u8>, NameFailure> {
        let Some(up) = self.cluster.up().await else {
            return Err(NameFailure::TryAgain);
        };
        let dots = query.labels().count().saturating_sub(1);
        let candidates = search_list::candidates(&up.names.conf, dots, search);
        let questions: Vec<Option<Vec<u8>>> = candidates
            .iter()
            .map(|candidate| question(query, *candidate))
            .collect();
        let asked = questions.iter().map(|question| async {
            let query = Query::parse(question.as_deref()?).ok()?;
            Some(self.cluster.exchange(&query).await)
        });
        let mut answers = futures::future::join_all(asked).await;
        let outcomes = answers.iter().map(|answer| candidate_outcome(answer.as_deref()));
        match search_list::select_answer(&candidates, outcomes) {
            Ok(index) => {
                let mut answer = answers.swap_remove(index).ok_or(NameFailure::NoRecovery)?;
                if only.is_none() {
                    answer = self
                        .policy
                        .without_loopback_addresses(query, name, answer, traced);
                    if !message::has_answers(&answer) {
                        return Err(NameFailure::NoData);
                    }
                }
                self.routes
                    .learned_from_cluster(name, &message::addresses(&answer));
                Ok(answer)
            }
            Err(NameFailure::NotFound) if only.is_none() => {
                // names under the pod's search domains are cluster-only, except under the root domain, which is the
                // name as given
                let answer = match candidates.iter().any(|candidate| candidate.is_as_given()) {
                    true => self.exchange_locally(query, traced).await,
                    false => None,
                };
                answer
                    .filter(|answer| message::has_answers(answer))
                    .ok_or(NameFailure::NotFound)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The question for one candidate; none if the name is too long or the domain is invalid.
fn question(query: &Query<'_>, candidate: Candidate<'_>) -> Option<Vec<u8>> {
    match candidate {
        Candidate::AsGivenFirst | Candidate::AsGivenLast => query.about(query.own_name()),
        Candidate::Under(domain) => query.about(&query.name_under(&message::domain(domain)?)),
    }
}

/// The outcome of one candidate in the search; `answer` is none if there was no question.
fn candidate_outcome(answer: Option<&[u8]>) -> CandidateOutcome {
    let Some(answer) = answer else {
        return CandidateOutcome::EndsDomains(NameFailure::NoRecovery);
    };
    match message::code(answer) {
        Code::NoError if message::has_answers(answer) => CandidateOutcome::Positive,
        Code::NoError => CandidateOutcome::NoData,
        Code::NxDomain => CandidateOutcome::NotFound,
        Code::ServFail => CandidateOutcome::ServerFailed,
        // libc would ask another server, and there is none
        Code::FormErr | Code::Other => CandidateOutcome::EndsDomains(NameFailure::TryAgain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_dns::resolv_conf::ResolvConf;

    fn question(name: &str) -> Vec<u8> {
        let name = message::domain(name).unwrap();
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 1, 0, 1]].concat()
    }

    fn names(name: &str, ndots: usize, search: Search) -> Vec<String> {
        let conf = ResolvConf {
            search: vec!["a.test".into(), "b".into()],
            ndots,
            ..ResolvConf::default()
        };
        let question = question(name);
        let query = Query::parse(&question).unwrap();
        let dots = name.matches('.').count();
        let questions = search_list::candidates(&conf, dots, search)
            .into_iter()
            .map(|candidate| super::question(&query, candidate).unwrap());
        questions
            .map(|question| Query::parse(&question).unwrap().name())
            .collect()
    }

    const USUAL: Search = Search {
        default_names: true,
        domains: true,
        no_top_level: false,
    };

    #[test]
    fn search_options_select_the_candidate_names() {
        assert_eq!(names("web", 5, USUAL), ["web.a.test", "web.b", "web"]);
        assert_eq!(names("web.x", 1, USUAL), ["web.x", "web.x.a.test", "web.x.b"]);
        assert_eq!(names("web", 0, USUAL), ["web", "web.a.test", "web.b"]);
        let search = Search {
            domains: false,
            ..USUAL
        };
        assert_eq!(names("web", 5, search), ["web.a.test", "web"]);
        assert_eq!(names("web.x", 5, search), ["web.x"]);
        let search = Search {
            no_top_level: true,
            ..USUAL
        };
        assert_eq!(names("web", 5, search), ["web.a.test", "web.b"]);
        assert_eq!(names("web.x", 5, search), ["web.x.a.test", "web.x.b", "web.x"]);
        let search = Search {
            default_names: false,
            ..search
        };
        assert_eq!(names("web", 5, search), ["web"]);
    }

    #[test]
    fn candidate_longer_than_a_dns_name_is_skipped() {
        let long = ["a"; 126].join(".");
        let question = question(&long);
        let query = Query::parse(&question).unwrap();
        assert_eq!(
            query.about(&query.name_under(&message::domain("b.c").unwrap())),
            None
        );
    }
}
