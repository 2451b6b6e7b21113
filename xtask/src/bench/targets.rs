//! The targets, and whether the results meet them.

use super::figures::{Figure, Part, Results, Setup};

/// A target with the measured value.
pub(crate) struct Verdict {
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    /// `None` when it was not measured.
    pub(crate) reached: Option<String>,
    pub(crate) met: bool,
}

/// How the compared number is computed.
enum Measure {
    /// The value over that of another setup.
    Ratio(Setup, Setup),
    /// The value over that of another figure of the same setup.
    OverFigure(Setup, Figure),
    /// The value itself.
    Value(Setup),
    /// The value minus that of another setup.
    Added(Setup, Setup),
    /// What one setup adds over what another one adds.
    AddedRatio(Setup, Setup),
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Strictly less.
    Below(f64),
}

struct Target {
    what: &'static str,
    part: Part,
    figure: Figure,
    measure: Measure,
    bound: Bound,
}

const fn target(what: &'static str, part: Part, figure: Figure, measure: Measure, bound: Bound) -> Target {
    Target {
        what,
        part,
        figure,
        measure,
        bound,
    }
}

use Bound::{AtLeast, AtMost, Below};
use Measure::{Added, AddedRatio, OverFigure, Ratio, Value};
use Part::{Cluster, Direct, Exec, Names};
use Setup::{BarePod, Kinject, KinjectPortForward, KinjectProxy, KubectlPortForward, Torsocks};

const PROXY: Measure = Ratio(KinjectProxy, KubectlPortForward);
const PORT_FORWARD: Measure = Ratio(KinjectPortForward, KubectlPortForward);
const TORSOCKS: Measure = Ratio(Kinject, Torsocks);

#[rustfmt::skip]
const TARGETS: [Target; 34] = [
    target("connect + 1-byte echo", Direct, Figure::Connect, TORSOCKS, AtLeast(1.5)),
    target("1-byte round trip", Direct, Figure::RoundTrip, Ratio(Kinject, Setup::Direct), AtMost(2.4)),
    target("1-byte round trip", Direct, Figure::RoundTrip, TORSOCKS, Below(1.0)),
    target("download", Direct, Figure::Download, TORSOCKS, AtLeast(2.0)),
    target("upload", Direct, Figure::Upload, TORSOCKS, AtLeast(2.0)),
    target("64 streams at once", Direct, Figure::Streams, OverFigure(Kinject, Figure::Download), AtLeast(1.0)),
    target("a stalled reader costs the others", Direct, Figure::StalledCost, Value(Kinject), Below(5.0)),
    target("datagram there and back", Direct, Figure::DatagramEcho, Ratio(Kinject, Setup::Direct), AtMost(2.5)),
    target("60,000 datagrams/s one way, lost", Direct, Figure::DatagramsLost, Value(Kinject), AtMost(0.0)),
    target("2,000 connections open, errors", Direct, Figure::IdleErrors, Value(Kinject), AtMost(0.0)),
    target("relay, resident", Direct, Figure::RelayMemory, Value(Kinject), AtMost(15.0)),
    target("relay, each idle connection", Direct, Figure::IdleMemory, Value(Kinject), AtMost(64.0)),
    target("exec of /bin/true, added", Exec, Figure::Exec, AddedRatio(Kinject, Torsocks), AtMost(0.5)),
    target("exec of /bin/true, added", Exec, Figure::Exec, Added(Kinject, Setup::Direct), AtMost(110.0)),
    target("connect to loopback, added", Exec, Figure::LoopbackConnect, Added(Kinject, Setup::Direct), AtMost(1.0)),
    target("connect to a Unix socket, added", Exec, Figure::UnixConnect, Added(Kinject, Setup::Direct), AtMost(1.0)),
    target("lookup of a new name, added", Names, Figure::FreshLookup, Added(Kinject, Setup::Direct), AtMost(200.0)),
    target("lookup of a known name", Names, Figure::Lookup, Value(Kinject), AtMost(60.0)),
    target("getsockopt of another option, added", Exec, Figure::GetSockOpt, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("getpeername on loopback, added", Exec, Figure::GetPeerName, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("sendto on loopback, added", Exec, Figure::SendTo, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("sendto with a heap's address, added", Exec, Figure::SendToHeap, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("recvfrom, added", Exec, Figure::ReceiveFrom, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("open of another file, added", Exec, Figure::Open, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("stat of another file, added", Exec, Figure::Status, Added(Kinject, Setup::Direct), AtMost(100.0)),
    target("proxy: 1-byte round trip", Cluster, Figure::RoundTrip, PROXY, AtMost(0.4)),
    target("proxy: download", Cluster, Figure::Download, PROXY, AtLeast(2.0)),
    target("proxy: upload", Cluster, Figure::Upload, PROXY, AtLeast(2.0)),
    target("proxy: connect + 1-byte echo", Cluster, Figure::Connect, PROXY, AtLeast(4.0)),
    target("port-forward: 1-byte round trip", Cluster, Figure::RoundTrip, PORT_FORWARD, AtMost(0.75)),
    target("port-forward: download", Cluster, Figure::Download, PORT_FORWARD, AtLeast(1.0)),
    target("port-forward: upload", Cluster, Figure::Upload, PORT_FORWARD, AtLeast(0.7)),
    target("proxy: session up", Cluster, Figure::Start, Added(KinjectProxy, BarePod), AtMost(0.5)),
    target("port-forward: session up", Cluster, Figure::Start, Added(KinjectPortForward, BarePod), AtMost(0.5)),
];

/// All targets of these parts.
pub(crate) fn verdicts(results: &Results, parts: &[Part]) -> Vec<Verdict> {
    let wanted = TARGETS.iter().filter(|target| parts.contains(&target.part));
    wanted.map(|target| target.verdict(results)).collect()
}

impl Target {
    fn verdict(&self, results: &Results) -> Verdict {
        let (sign, bound) = match self.bound {
            AtLeast(bound) => ("≥", bound),
            AtMost(bound) => ("≤", bound),
            Below(bound) => ("<", bound),
        };
        let reached = self.reached(results);
        Verdict {
            what: self.what,
            wanted: format!("{sign} {}", self.describe(bound)),
            reached: reached.map(|value| self.describe(value)),
            met: reached.is_some_and(|value| match self.bound {
                AtLeast(bound) => value >= bound,
                AtMost(bound) => value <= bound,
                Below(bound) => value < bound,
            }),
        }
    }

    fn reached(&self, results: &Results) -> Option<f64> {
        let median = |setup| results.median(self.part, self.figure, setup);
        Some(match self.measure {
            Ratio(setup, base) => results.ratio(self.part, self.figure, setup, base)?,
            OverFigure(setup, figure) => median(setup)? / results.median(self.part, figure, setup)?,
            Value(setup) => median(setup)?,
            Added(setup, base) => median(setup)? - median(base)?,
            AddedRatio(setup, base) => {
                let bare = median(Setup::Direct)?;
                (median(setup)? - bare) / (median(base)? - bare)
            }
        })
    }

    fn describe(&self, value: f64) -> String {
        match self.measure {
            Ratio(_, base) => format!("{value:.2} × {}", base.name()),
            OverFigure(..) => format!("{value:.2} × one stream"),
            AddedRatio(_, base) => format!("{value:.2} × what {} adds", base.name()),
            Value(_) | Added(..) => self.figure.format(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_met_missed_or_not_measured() {
        let mut results = Results::for_test();
        results.add(Direct, Figure::Connect, Kinject, 3000.0);
        results.add(Direct, Figure::Connect, Torsocks, 1500.0);
        results.add(Direct, Figure::StalledCost, Kinject, 5.0);
        let verdicts = verdicts(&results, &[Direct]);
        let connect = &verdicts[0];
        assert!(connect.met);
        assert_eq!(connect.reached.as_deref(), Some("2.00 × torsocks + ssh -D"));
        assert_eq!(connect.wanted, "≥ 1.50 × torsocks + ssh -D");
        let stalled = verdicts
            .iter()
            .find(|verdict| verdict.what.contains("stalled"))
            .unwrap();
        assert!(!stalled.met && stalled.reached.is_some());
        assert!(verdicts[1].reached.is_none());
        assert!(verdicts.iter().all(|verdict| !verdict.what.contains("proxy")));
    }

    #[test]
    fn added_cost_is_compared_with_that_of_another_setup() {
        let mut results = Results::for_test();
        for (setup, value) in [(Setup::Direct, 700.0), (Torsocks, 900.0), (Kinject, 780.0)] {
            results.add(Exec, Figure::Exec, setup, value);
        }
        let exec = verdicts(&results, &[Exec]).remove(0);
        assert_eq!(
            exec.reached.as_deref(),
            Some("0.40 × what torsocks + ssh -D adds")
        );
        assert!(exec.met);
    }
}
