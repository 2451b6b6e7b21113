//! The candidates of a name by the pod's search list, and which of their answers is used (`__res_context_search` in
//! glibc).
//!
//! getaddrinfo(3) and related functions search for a host's name, and res_search(3) for the name in a message. Both ask
//! for all candidates at once and select the answer in glibc's order, so that a search costs one round trip. The relay
//! searches; the agent is asked for each candidate.

use kinject_dns::resolv_conf::ResolvConf;
use kinject_protocol::NameFailure;
use kinject_protocol::control::Search;

/// One candidate of a search, in the order in which libc tries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate<'a> {
    /// The name as given, tried before the domains because it has enough dots (`ndots`), or alone because of a final
    /// dot.
    AsGivenFirst,
    /// The name under this domain.
    Under(&'a str),
    /// The name as given, tried after the domains, or without any.
    AsGivenLast,
}

/// The options of the functions for hosts.
const FOR_HOSTS: Search = Search {
    default_names: true,
    domains: true,
    no_top_level: false,
};

impl Candidate<'_> {
    /// The name to ask for, without a final dot.
    pub(super) fn name(self, given: &str) -> String {
        match self {
            Self::AsGivenFirst | Self::AsGivenLast => given.strip_suffix('.').unwrap_or(given).to_owned(),
            Self::Under(domain) => format!("{given}.{domain}"),
        }
    }

    /// Whether it is the name as given; under the root domain it is, too.
    pub(super) fn is_as_given(self) -> bool {
        matches!(self, Self::AsGivenFirst | Self::AsGivenLast | Self::Under(""))
    }
}

/// The candidates for a host's name. A name with a final dot is not searched.
pub(super) fn host_candidates<'a>(conf: &'a ResolvConf, name: &str) -> Vec<Candidate<'a>> {
    match name.ends_with('.') {
        true => vec![Candidate::AsGivenFirst],
        false => candidates(conf, name.matches('.').count(), FOR_HOSTS),
    }
}

/// The candidates for a name with so many dots and no final dot.
pub(super) fn candidates(conf: &ResolvConf, dots: usize, search: Search) -> Vec<Candidate<'_>> {
    let is_searched = if dots == 0 {
        search.default_names
    } else {
        search.domains
    };
    let max_domains = match (is_searched, search.domains) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => usize::MAX,
    };
    let domains = conf.search.iter().take(max_domains);
    let mut candidates: Vec<_> = domains.map(|domain| Candidate::Under(domain)).collect();
    if dots >= conf.ndots {
        candidates.insert(0, Candidate::AsGivenFirst);
    } else if dots > 0 || candidates.is_empty() || !search.no_top_level {
        candidates.push(Candidate::AsGivenLast);
    }
    candidates
}

/// What the answer for one candidate means for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CandidateOutcome {
    /// It has records: the search returns it, unless an earlier candidate has some.
    Positive,
    /// The name exists, records of this type do not.
    NoData,
    /// The name does not exist.
    NotFound,
    /// The server failed: another candidate may still be answered.
    ServerFailed,
    /// No later domain is tried; the name as given is.
    EndsDomains(NameFailure),
    /// No later candidate is tried.
    EndsSearch(NameFailure),
}

impl CandidateOutcome {
    fn failure(self) -> NameFailure {
        match self {
            Self::Positive | Self::NotFound => NameFailure::NotFound,
            Self::NoData => NameFailure::NoData,
            // libc would ask another server, and there is none
            Self::ServerFailed => NameFailure::TryAgain,
            Self::EndsDomains(failure) | Self::EndsSearch(failure) => failure,
        }
    }
}

/// Selects the candidate whose answer the search returns, or the failure if there is none.
pub(super) fn select_answer(
    candidates: &[Candidate<'_>],
    outcomes: impl Iterator<Item = CandidateOutcome>,
) -> Result<usize, NameFailure> {
    let mut failure_as_given_first = None;
    let (mut no_data, mut server_failed, mut domains_ended) = (false, false, false);
    let mut last_failure = NameFailure::NotFound;
    for (index, (candidate, outcome)) in candidates.iter().zip(outcomes).enumerate() {
        if domains_ended && matches!(candidate, Candidate::Under(_)) {
            continue;
        }
        if outcome == CandidateOutcome::Positive {
            return Ok(index);
        }
        last_failure = outcome.failure();
        if let CandidateOutcome::EndsSearch(failure) = outcome {
            return Err(failure);
        }
        if *candidate == Candidate::AsGivenFirst {
            failure_as_given_first = Some(last_failure);
            continue;
        }
        match outcome {
            CandidateOutcome::NoData => no_data = true,
            CandidateOutcome::ServerFailed => server_failed = true,
            CandidateOutcome::EndsDomains(_) => domains_ended = true,
            CandidateOutcome::NotFound | CandidateOutcome::Positive | CandidateOutcome::EndsSearch(_) => {}
        }
    }
    Err(match failure_as_given_first {
        Some(failure) => failure,
        None if no_data => NameFailure::NoData,
        None if server_failed => NameFailure::TryAgain,
        None => last_failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "search default.svc.cluster.local svc.cluster.local cluster.local\n\
        nameserver 10.96.0.10\noptions ndots:5\n";

    fn names(conf: &ResolvConf, name: &str) -> Vec<String> {
        let candidates = host_candidates(conf, name);
        candidates
            .into_iter()
            .map(|candidate| candidate.name(name))
            .collect()
    }

    #[test]
    fn name_with_few_dots_is_searched_before_it_is_tried_as_given() {
        let conf = ResolvConf::parse(POD);
        let expected = [
            "web.default.svc.cluster.local",
            "web.svc.cluster.local",
            "web.cluster.local",
            "web",
        ];
        assert_eq!(names(&conf, "web"), expected);
    }

    #[test]
    fn name_with_enough_dots_is_tried_as_given_first() {
        let conf = ResolvConf {
            ndots: 1,
            ..ResolvConf::parse(POD)
        };
        assert_eq!(names(&conf, "a.b")[0], "a.b");
        assert_eq!(names(&conf, "a.b").len(), 4);
    }

    #[test]
    fn name_with_a_final_dot_is_not_searched() {
        assert_eq!(names(&ResolvConf::parse(POD), "web."), ["web"]);
    }

    /// Selects among domains with these outcomes, of which the name as given has the first one.
    fn as_given_first(outcomes: &[CandidateOutcome]) -> Result<usize, NameFailure> {
        let mut candidates = vec![Candidate::Under("test"); outcomes.len()];
        candidates[0] = Candidate::AsGivenFirst;
        select_answer(&candidates, outcomes.iter().copied())
    }

    /// Selects among domains with these outcomes, of which the name as given has the last one.
    fn as_given_last(outcomes: &[CandidateOutcome]) -> Result<usize, NameFailure> {
        let mut candidates = vec![Candidate::Under("test"); outcomes.len()];
        candidates[outcomes.len() - 1] = Candidate::AsGivenLast;
        select_answer(&candidates, outcomes.iter().copied())
    }

    #[test]
    fn selected_candidate_or_failure_is_glibcs() {
        use CandidateOutcome::{EndsDomains, EndsSearch, NoData, NotFound, Positive, ServerFailed};
        assert_eq!(as_given_last(&[NotFound, Positive, Positive]), Ok(1));
        assert_eq!(as_given_last(&[NoData, NotFound]), Err(NameFailure::NoData));
        assert_eq!(
            as_given_last(&[ServerFailed, NotFound]),
            Err(NameFailure::TryAgain)
        );
        assert_eq!(as_given_last(&[NotFound, NotFound]), Err(NameFailure::NotFound));
        assert_eq!(as_given_first(&[NotFound, NoData]), Err(NameFailure::NotFound));
        // a server that refuses ends the domains, and the name as given is still tried
        let refused = EndsDomains(NameFailure::TryAgain);
        assert_eq!(
            as_given_last(&[refused, Positive, NotFound]),
            Err(NameFailure::NotFound)
        );
        assert_eq!(as_given_last(&[refused, NotFound, Positive]), Ok(2));
        // without the name as given at the end, no later candidate is tried
        assert_eq!(
            as_given_first(&[NotFound, refused, Positive]),
            Err(NameFailure::NotFound)
        );
        // for a host, a refusal ends the search
        let refused = EndsSearch(NameFailure::NoRecovery);
        assert_eq!(
            as_given_last(&[NoData, refused, Positive]),
            Err(NameFailure::NoRecovery)
        );
        assert_eq!(as_given_first(&[refused, Positive]), Err(NameFailure::NoRecovery));
        assert_eq!(as_given_last(&[Positive, refused]), Ok(0));
    }
}
