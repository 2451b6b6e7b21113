//! The one walk along the pod's search list: which names a name stands for, and which of their answers counts
//! (`__res_context_search` in glibc).
//!
//! getaddrinfo(3) and its kin walk it for a host's name and res_search(3) for the name in a message. Both have all names
//! asked at once and judged in glibc's order, so that a walk costs one round trip. The agent walks none: the relay asks it
//! for each name.

use kinject_dns::resolv_conf::ResolvConf;
use kinject_protocol::NameFailure;
use kinject_protocol::control::Search;

/// What becomes of a name at one step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// It stands alone, as the program gave it.
    AsGiven,
    /// This domain stands behind it.
    Under(&'a str),
}

/// How the functions for hosts search.
const FOR_HOSTS: Search = Search {
    default_names: true,
    domains: true,
    no_top_level: false,
};

impl Step<'_> {
    /// The name to ask for, without a final dot.
    pub(super) fn name(self, given: &str) -> String {
        match self {
            Self::AsGiven => given.strip_suffix('.').unwrap_or(given).to_owned(),
            Self::Under(domain) => format!("{given}.{domain}"),
        }
    }
}

/// The walk for a host's name. A name with a final dot stands alone.
pub(super) fn steps_for_host<'a>(conf: &'a ResolvConf, name: &str) -> Vec<Step<'a>> {
    match name.ends_with('.') {
        true => vec![Step::AsGiven],
        false => steps(conf, name.matches('.').count(), FOR_HOSTS),
    }
}

/// The walk for a name with so many dots and none at its end.
pub(super) fn steps(conf: &ResolvConf, dots: usize, search: Search) -> Vec<Step<'_>> {
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
    let domains = conf.search.iter().take(most);
    let mut steps: Vec<_> = domains.map(|domain| Step::Under(domain)).collect();
    if dots >= conf.ndots {
        steps.insert(0, Step::AsGiven);
    } else if dots > 0 || steps.is_empty() || !search.no_top_level {
        steps.push(Step::AsGiven);
    }
    steps
}

/// What the answer of one step means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the answer, unless an earlier step has one.
    Positive,
    /// The name exists, such records do not.
    NoData,
    /// The name does not exist.
    NotFound,
    /// The server failed: another name may still be answered.
    ServerFailed,
    /// No other domain counts; the name as it was given does.
    EndsDomains(NameFailure),
    /// No later step counts.
    EndsWalk(NameFailure),
}

impl Verdict {
    fn failure(self) -> NameFailure {
        match self {
            Self::Positive | Self::NotFound => NameFailure::NotFound,
            Self::NoData => NameFailure::NoData,
            // libc waits for another server, and there is none
            Self::ServerFailed => NameFailure::TryAgain,
            Self::EndsDomains(failure) | Self::EndsWalk(failure) => failure,
        }
    }
}

/// Which step's answer is the walk's, or why none is.
pub(super) fn judge(
    steps: &[Step<'_>],
    verdicts: impl Iterator<Item = Verdict>,
) -> Result<usize, NameFailure> {
    let mut as_given_first = None;
    let (mut no_data, mut server_failed, mut is_over) = (false, false, false);
    let mut last = NameFailure::NotFound;
    for (index, (step, verdict)) in steps.iter().zip(verdicts).enumerate() {
        let is_last_as_given = index + 1 == steps.len() && index > 0;
        if is_over && !is_last_as_given {
            continue;
        }
        if verdict == Verdict::Positive {
            return Ok(index);
        }
        last = verdict.failure();
        if let Verdict::EndsWalk(failure) = verdict {
            return Err(failure);
        }
        if *step == Step::AsGiven && index == 0 {
            as_given_first = Some(last);
            continue;
        }
        match verdict {
            Verdict::NoData => no_data = true,
            Verdict::ServerFailed => server_failed = true,
            Verdict::EndsDomains(_) => is_over = true,
            Verdict::NotFound | Verdict::Positive | Verdict::EndsWalk(_) => {}
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

    const POD: &str = "search default.svc.cluster.local svc.cluster.local cluster.local\n\
        nameserver 10.96.0.10\noptions ndots:5\n";

    fn names(conf: &ResolvConf, name: &str) -> Vec<String> {
        let steps = steps_for_host(conf, name);
        steps.into_iter().map(|step| step.name(name)).collect()
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

    fn judged(first_as_given: bool, verdicts: &[Verdict]) -> Result<usize, NameFailure> {
        let step = |index| match first_as_given && index == 0 {
            true => Step::AsGiven,
            false => Step::Under("test"),
        };
        let steps: Vec<_> = (0..verdicts.len()).map(step).collect();
        judge(&steps, verdicts.iter().copied())
    }

    #[test]
    fn selected_candidate_or_failure_is_glibcs() {
        use Verdict::{EndsDomains, EndsWalk, NoData, NotFound, Positive, ServerFailed};
        assert_eq!(judged(false, &[NotFound, Positive, Positive]), Ok(1));
        assert_eq!(judged(false, &[NoData, NotFound]), Err(NameFailure::NoData));
        assert_eq!(
            judged(false, &[ServerFailed, NotFound]),
            Err(NameFailure::TryAgain)
        );
        assert_eq!(judged(false, &[NotFound, NotFound]), Err(NameFailure::NotFound));
        assert_eq!(judged(true, &[NotFound, NoData]), Err(NameFailure::NotFound));
        // a server that refuses ends the search, but for the name as it was given
        let refused = EndsDomains(NameFailure::TryAgain);
        assert_eq!(
            judged(false, &[refused, Positive, NotFound]),
            Err(NameFailure::NotFound)
        );
        assert_eq!(judged(false, &[refused, NotFound, Positive]), Ok(2));
        // for a host, everything ends with it
        let refused = EndsWalk(NameFailure::NoRecovery);
        assert_eq!(
            judged(false, &[NoData, refused, Positive]),
            Err(NameFailure::NoRecovery)
        );
        assert_eq!(judged(true, &[refused, Positive]), Err(NameFailure::NoRecovery));
        assert_eq!(judged(false, &[Positive, refused]), Ok(0));
    }
}
