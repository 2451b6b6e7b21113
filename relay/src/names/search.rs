//! res_search(3) with the pod's search list.
//!
//! All candidates are asked at once and judged in glibc's order. Only if none of them exists in the cluster are this
//! machine's own name servers asked, for the name as it was given.

use super::message::{self, Code, Query};
use super::resolv_conf::ResolvConf;
use super::resolver::Resolver;
use crate::trace::Traced;
use crate::words;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{DnsTransport, Reply, Search};
use kinject_protocol::rules;

/// A name to ask for, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    name: Vec<u8>,
    /// Before the search list.
    is_first_as_given: bool,
}

impl Resolver {
    /// The answer that res_search(3) gives, or its `h_errno`.
    pub(crate) async fn search(&self, way: DnsTransport, message: &[u8], search: Search) -> Reply {
        match (self.try_search(message, search).await, way) {
            (Ok(answer), DnsTransport::Stream) => Reply::Answer(answer),
            (Ok(answer), DnsTransport::Datagram) => Reply::Answer(message::cut(message, answer)),
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

    /// Searches in the cluster, and here for what it does not know.
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
        let candidates = candidates(query, &up.names.conf, search);
        let questions: Vec<Option<Vec<u8>>> = candidates
            .iter()
            .map(|candidate| query.about(&candidate.name))
            .collect();
        let asked = questions.iter().map(|question| async {
            let query = Query::parse(question.as_deref()?).ok()?;
            Some(self.cluster.exchange(&query).await)
        });
        let mut answers = futures::future::join_all(asked).await;
        let verdicts = answers.iter().map(|answer| Verdict::of(answer.as_deref()));
        match judge(&candidates, verdicts) {
            Ok(index) => {
                let mut answer = answers.swap_remove(index).ok_or(NameFailure::NoRecovery)?;
                if only.is_none() {
                    answer = self.policy.without_leading_here(query, name, answer, traced);
                    if !message::has_answers(&answer) {
                        return Err(NameFailure::NoData);
                    }
                }
                self.routes
                    .learned_from_cluster(name, &message::addresses(&answer));
                Ok(answer)
            }
            Err(NameFailure::NotFound) if only.is_none() => {
                // what the pod's search list makes of the name is the cluster's alone
                let as_given = candidates
                    .iter()
                    .any(|candidate| candidate.name == query.own_name());
                let answer = match as_given {
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

/// What one candidate's answer means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Positive,
    NoData,
    NotFound,
    /// Another name may still be answered.
    ServerFailed,
    /// No other domain is tried.
    Final,
    /// The name with this domain is none.
    Impossible,
}

impl Verdict {
    fn of(answer: Option<&[u8]>) -> Self {
        let Some(answer) = answer else {
            return Self::Impossible;
        };
        match message::code(answer) {
            Code::NoError if message::has_answers(answer) => Self::Positive,
            Code::NoError => Self::NoData,
            Code::NxDomain => Self::NotFound,
            Code::ServFail => Self::ServerFailed,
            Code::FormErr | Code::Other => Self::Final,
        }
    }

    fn failure(self) -> NameFailure {
        match self {
            Self::Positive | Self::NotFound => NameFailure::NotFound,
            Self::NoData => NameFailure::NoData,
            // libc waits for another server, and there is none
            Self::ServerFailed | Self::Final => NameFailure::TryAgain,
            Self::Impossible => NameFailure::NoRecovery,
        }
    }
}

/// The names to ask for, in their order.
fn candidates(query: &Query<'_>, conf: &ResolvConf, search: Search) -> Vec<Candidate> {
    let dots = query.labels().count().saturating_sub(1);
    let as_given = |is_first_as_given| Candidate {
        name: query.own_name().to_vec(),
        is_first_as_given,
    };
    let is_searched = if dots == 0 {
        search.default_names
    } else {
        search.domains
    };
    let most = match (is_searched, search.domains) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => usize::MAX,
    };
    let mut domains = conf
        .search
        .iter()
        .take(most)
        .map(|domain| Candidate {
            // what is no domain makes no name
            name: message::domain(domain).map_or_else(Vec::new, |domain| query.name_under(&domain)),
            is_first_as_given: false,
        })
        .collect::<Vec<_>>();
    if dots >= conf.ndots {
        domains.insert(0, as_given(true));
    } else if dots > 0 || domains.is_empty() || !search.no_top_level {
        domains.push(as_given(false));
    }
    domains
}

/// Which candidate is the answer, or why none is (`__res_context_search` in glibc).
fn judge(candidates: &[Candidate], verdicts: impl Iterator<Item = Verdict>) -> Result<usize, NameFailure> {
    let mut as_given_first = None;
    let (mut no_data, mut server_failed, mut is_over) = (false, false, false);
    let mut last = NameFailure::NotFound;
    for (index, (candidate, verdict)) in candidates.iter().zip(verdicts).enumerate() {
        let is_last_as_given = index + 1 == candidates.len() && index > 0;
        if is_over && !is_last_as_given {
            continue;
        }
        if verdict == Verdict::Positive {
            return Ok(index);
        }
        last = verdict.failure();
        if candidate.is_first_as_given {
            as_given_first = Some(last);
            continue;
        }
        match verdict {
            Verdict::NoData => no_data = true,
            Verdict::ServerFailed => server_failed = true,
            Verdict::Final | Verdict::Impossible => is_over = true,
            Verdict::NotFound | Verdict::Positive => {}
        }
    }
    Err(match as_given_first {
        Some(failure) => failure,
        None if no_data => NameFailure::NoData,
        None if server_failed => NameFailure::TryAgain,
        None => last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str) -> Vec<u8> {
        let name = message::domain(name).unwrap();
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 1, 0, 1]].concat()
    }

    fn names(name: &str, ndots: usize, search: Search) -> Vec<String> {
        let conf = ResolvConf {
            search: vec!["a.test".into(), "b".into()],
            ndots,
            servers: vec![],
        };
        let question = question(name);
        let query = Query::parse(&question).unwrap();
        candidates(&query, &conf, search)
            .into_iter()
            .map(|candidate| {
                Query::parse(&query.about(&candidate.name).unwrap())
                    .unwrap()
                    .name()
            })
            .collect()
    }

    const USUAL: Search = Search {
        default_names: true,
        domains: true,
        no_top_level: false,
    };

    #[test]
    fn the_options_say_which_names_are_asked() {
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

    fn judged(first_as_given: bool, verdicts: &[Verdict]) -> Result<usize, NameFailure> {
        let candidates: Vec<_> = (0..verdicts.len())
            .map(|index| Candidate {
                name: vec![0],
                is_first_as_given: first_as_given && index == 0,
            })
            .collect();
        judge(&candidates, verdicts.iter().copied())
    }

    #[test]
    fn the_verdict_is_glibcs() {
        use Verdict::{Final, NoData, NotFound, Positive, ServerFailed};
        assert_eq!(judged(false, &[NotFound, Positive, Positive]), Ok(1));
        assert_eq!(judged(false, &[NoData, NotFound]), Err(NameFailure::NoData));
        assert_eq!(
            judged(false, &[ServerFailed, NotFound]),
            Err(NameFailure::TryAgain)
        );
        assert_eq!(judged(false, &[NotFound, NotFound]), Err(NameFailure::NotFound));
        assert_eq!(judged(true, &[NotFound, NoData]), Err(NameFailure::NotFound));
        // a server that refuses ends the search, but for the name as it was given
        assert_eq!(
            judged(false, &[Final, Positive, NotFound]),
            Err(NameFailure::NotFound)
        );
        assert_eq!(judged(false, &[Final, NotFound, Positive]), Ok(2));
    }

    #[test]
    fn a_name_that_the_search_list_makes_too_long_is_passed_over() {
        let long = ["a"; 126].join(".");
        let question = question(&long);
        let query = Query::parse(&question).unwrap();
        assert_eq!(
            query.about(&query.name_under(&message::domain("b.c").unwrap())),
            None
        );
    }
}
