//! The figures that are measured, and their results.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::interrupt::Interrupt;
use super::machine;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// Between two network namespaces, to an agent without Kubernetes
    Direct,
    /// Overhead for programs that use no network, or only this machine's
    Exec,
    /// In the sandbox
    Names,
    /// On the cluster of `cargo xtask cluster`
    Cluster,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Exec, Self::Names, Self::Cluster];

    /// Its headline.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct transport, between two network namespaces",
            Self::Exec => "what stays on the machine",
            Self::Names => "names, in the sandbox",
            Self::Cluster => "a real cluster",
        }
    }

    /// The base setup, to which ratios are printed.
    pub(crate) fn bases(self) -> &'static [Setup] {
        match self {
            Self::Direct => &[Setup::Direct, Setup::Torsocks],
            Self::Exec => &[Setup::Direct, Setup::Torsocks],
            Self::Names => &[Setup::Direct],
            Self::Cluster => &[Setup::Direct, Setup::KubectlPortForward],
        }
    }
}

/// A setup: what carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setup {
    /// No proxy: over the virtual link, inside of the cluster, or with nothing preloaded.
    Direct,
    Torsocks,
    KubectlPortForward,
    Kinject,
    KinjectProxy,
    KinjectPortForward,
    /// A pod like a session's, without a session.
    BarePod,
}

impl Setup {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Torsocks => "torsocks + ssh -D",
            Self::KubectlPortForward => "kubectl port-forward",
            Self::Kinject => "kinject",
            Self::KinjectProxy => "kinject, proxy",
            Self::KinjectPortForward => "kinject, port-forward",
            Self::BarePod => "the pod alone",
        }
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    Connect,
    RoundTrip,
    Download,
    Upload,
    Streams,
    StalledCost,
    DatagramEcho,
    DatagramsLost,
    IdleErrors,
    RelayMemory,
    StreamsMemory,
    IdleMemory,
    Exec,
    LoopbackConnect,
    UnixConnect,
    FreshLookup,
    Lookup,
    GetSockOpt,
    GetPeerName,
    SendTo,
    SendToHeap,
    ReceiveFrom,
    Open,
    Status,
    Start,
}

impl Figure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect + 1-byte echo",
            Self::RoundTrip => "1-byte round trip",
            Self::Download => "download, one stream",
            Self::Upload => "upload, one stream",
            Self::Streams => "download, 64 streams",
            Self::StalledCost => "cost of a stalled reader",
            Self::DatagramEcho => "datagram there and back",
            Self::DatagramsLost => "60,000 datagrams/s, lost",
            Self::IdleErrors => "2,000 connections, errors",
            Self::RelayMemory => "relay, resident",
            Self::StreamsMemory => "relay, after 64 fast streams",
            Self::IdleMemory => "relay, each idle connection",
            Self::Exec => "exec of /bin/true",
            Self::LoopbackConnect => "connect to loopback",
            Self::UnixConnect => "connect to a Unix socket",
            Self::FreshLookup => "lookup of a new name",
            Self::Lookup => "lookup of a known name",
            Self::GetSockOpt => "getsockopt of another option",
            Self::GetPeerName => "getpeername, loopback",
            Self::SendTo => "sendto, loopback",
            Self::SendToHeap => "sendto that is refused at once, the address on the heap",
            Self::ReceiveFrom => "recvfrom, nothing there",
            Self::Open => "open and close of a file",
            Self::Status => "stat of a file",
            Self::Start => "until the program runs",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Connect => "/s",
            Self::RoundTrip
            | Self::DatagramEcho
            | Self::Exec
            | Self::LoopbackConnect
            | Self::UnixConnect
            | Self::FreshLookup
            | Self::Lookup => "µs",
            Self::GetSockOpt
            | Self::GetPeerName
            | Self::SendTo
            | Self::SendToHeap
            | Self::ReceiveFrom
            | Self::Open
            | Self::Status => "ns",
            Self::Download | Self::Upload | Self::Streams => "MB/s",
            Self::StalledCost => "%",
            Self::IdleErrors | Self::DatagramsLost => "",
            Self::RelayMemory | Self::StreamsMemory => "MB",
            Self::IdleMemory => "KiB",
            Self::Start => "s",
        }
    }

    /// A value with its unit.
    pub(crate) fn format(self, value: f64) -> String {
        let digits = match value.abs() {
            _ if self.unit().is_empty() => 0,
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        match self.unit() {
            "" => format!("{value:.digits$}"),
            unit if unit.starts_with(['/', '%']) => format!("{value:.digits$}{unit}"),
            unit => format!("{value:.digits$} {unit}"),
        }
    }
}

/// Everything that was measured.
pub(crate) struct Results {
    interrupt: Interrupt,
    /// How long to wait for an idle machine before a round.
    patience: Duration,
    /// How idle the machine was before each round.
    idle: Vec<f64>,
    series: BTreeMap<(Part, Figure, Setup), Vec<f64>>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
    /// Measurements that failed.
    pub(crate) failed: Vec<String>,
}

impl Results {
    pub(crate) fn new(patience: Duration, interrupt: Interrupt) -> Self {
        Self {
            interrupt,
            patience,
            idle: Vec::new(),
            series: BTreeMap::new(),
            skipped: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Begins a round, on an idle machine if possible.
    pub(crate) fn round(&mut self, part: Part, round: usize, rounds: usize) -> Result<()> {
        let idle = machine::wait_until_idle(self.patience, &self.interrupt)?;
        eprintln!(
            "{}: round {round} of {rounds}, machine {:.0} % idle",
            part.title(),
            idle * 100.0
        );
        self.idle.push(idle);
        Ok(())
    }

    /// Waits for an idle machine within a round.
    pub(crate) fn rest(&self) -> Result<()> {
        machine::wait_until_idle(self.patience, &self.interrupt).map(drop)
    }

    /// How idle the machine was before the busiest round.
    pub(crate) fn least_idle(&self) -> Option<f64> {
        self.idle.iter().copied().reduce(f64::min)
    }

    /// Fails after an interrupt.
    pub(crate) fn check_interrupt(&self) -> Result<()> {
        self.interrupt.check()
    }

    pub(crate) fn add(&mut self, part: Part, figure: Figure, setup: Setup, value: f64) {
        eprintln!(
            "  {:28} {:22} {}",
            figure.name(),
            setup.name(),
            figure.format(value)
        );
        self.series.entry((part, figure, setup)).or_default().push(value);
    }

    /// Takes one measurement once the machine is idle again (an ended port-forward may still be draining), and notes a
    /// failure.
    pub(crate) fn measure(
        &mut self,
        (part, figure, setup): (Part, Figure, Setup),
        measurement: impl FnOnce() -> Result<f64>,
    ) -> Result<()> {
        self.rest()?;
        match measurement() {
            Ok(value) => self.add(part, figure, setup, value),
            Err(error) => {
                self.check_interrupt()?;
                self.fail(format!("{}, {}: {error:#}", figure.name(), setup.name()));
            }
        }
        Ok(())
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, failure: String) {
        eprintln!("  failed: {failure}");
        self.failed.push(failure);
    }

    /// Notes what is missing.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        eprintln!("{what}: not measured: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    /// The median of the rounds.
    pub(crate) fn median(&self, part: Part, figure: Figure, setup: Setup) -> Option<f64> {
        median(self.series.get(&(part, figure, setup))?)
    }

    /// The median of the rounds' ratios: a disturbance in a round affects both of its values.
    pub(crate) fn ratio(&self, part: Part, figure: Figure, setup: Setup, base: Setup) -> Option<f64> {
        let values = self.series.get(&(part, figure, setup))?;
        let bases = self.series.get(&(part, figure, base))?;
        if values.len() != bases.len() {
            return Some(median(values)? / median(bases)?);
        }
        let ratios: Vec<f64> = values
            .iter()
            .zip(bases)
            .map(|(value, base)| value / base)
            .collect();
        median(&ratios)
    }

    /// Figures and setups of a part that have values, in order.
    pub(crate) fn of(&self, part: Part) -> impl Iterator<Item = (Figure, Setup)> {
        self.series
            .keys()
            .filter(move |(of, _, _)| *of == part)
            .map(|(_, figure, setup)| (*figure, *setup))
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(Duration::ZERO, Interrupt::default())
    }

    pub(crate) fn to_json(&self) -> Value {
        let series: Vec<Value> = self
            .series
            .iter()
            .map(|((part, figure, setup), rounds)| {
                json!({
                    "part": format!("{part:?}").to_lowercase(),
                    "figure": figure.name(),
                    "unit": figure.unit(),
                    "way": setup.name(),
                    "median": median(rounds),
                    "rounds": rounds,
                })
            })
            .collect();
        json!({
            "series": series,
            "idle": self.idle,
            "skipped": self.skipped,
            "failed": self.failed,
        })
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        1 => upper,
        _ => f64::midpoint(sorted[sorted.len() / 2 - 1], upper),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_computed_per_round() {
        let mut results = Results::for_test();
        for (value, base) in [(10.0, 5.0), (2.0, 1.0), (300.0, 100.0)] {
            results.add(Part::Direct, Figure::Connect, Setup::Kinject, value);
            results.add(Part::Direct, Figure::Connect, Setup::Torsocks, base);
        }
        let ratio = results.ratio(Part::Direct, Figure::Connect, Setup::Kinject, Setup::Torsocks);
        assert_eq!(ratio, Some(2.0));
        assert_eq!(
            results.median(Part::Direct, Figure::Connect, Setup::Kinject),
            Some(10.0)
        );
        assert_eq!(results.median(Part::Exec, Figure::Connect, Setup::Kinject), None);
    }

    #[test]
    fn values_are_printed_with_unit_and_few_digits() {
        assert_eq!(Figure::Connect.format(6645.3), "6645/s");
        assert_eq!(Figure::RoundTrip.format(62.123), "62.1 µs");
        assert_eq!(Figure::StalledCost.format(-1.25), "-1.25%");
        assert_eq!(Figure::IdleErrors.format(0.0), "0");
    }
}
