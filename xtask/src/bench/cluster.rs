//! On a real cluster: kinject's two transports beside `kubectl port-forward` and connections inside the cluster, and
//! the start of a session beside the start of its pod.

use std::path::Path;

use anyhow::{Context, Result};

use super::Effort;
use super::api::Api;
use super::figures::{Figure, Part, Results, Setup};
use super::helper::tied;
use super::load::LoadGenerator;
use super::pods::{BareJob, Inside, Namespace};
use super::port_forward::PortForward;
use super::programs::{Programs, installed, text};
use super::session::Session;
use crate::cluster::Borrowed;

const PART: Part = Part::Cluster;
/// The sample service of many ports, inside the cluster.
const ECHO: &str = "10.96.10.3";
const ECHO_NAME: &str = "service/echo";
const ECHO_PORT: u16 = 7000;
const SINK_PORT: u16 = 7001;
const SOURCE_PORT: u16 = 7002;
/// The agent that is measured, beside the one that the cluster's owner may have there.
const IMAGE: &str = "kinject-agent:bench";

/// kinject's two transports, as its command line names them.
const TRANSPORTS: [(Setup, &str); 2] = [
    (Setup::KinjectProxy, "proxy"),
    (Setup::KinjectPortForward, "port-forward"),
];

/// Runs the part.
pub(crate) fn run(programs: &Programs, effort: &Effort, results: &mut Results) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        results.skip(PART.title(), "the cluster and its pods' networks need root");
        return Ok(());
    }
    if !Borrowed::is_up()? && !installed("go") {
        results.skip(PART.title(), "no cluster is up, and Kubernetes is built with Go");
        return Ok(());
    }
    let image = programs.agent_image(IMAGE)?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let cluster = Borrowed::new()?;
    let image = cluster.load(&image)?;
    let api = Api::start(&cluster, folder.path())?;
    let namespace = Namespace::new(&cluster, &api)?;
    let environment = Environment {
        programs,
        cluster: &cluster,
        namespace: &namespace,
        image: image.name(),
        folder: folder.path(),
    };
    let job = environment.transfers(effort, results)?;
    environment.starts(&job, effort, results)
}

/// What all measurements of the part need.
struct Environment<'a> {
    programs: &'a Programs,
    cluster: &'a Borrowed,
    namespace: &'a Namespace<'a>,
    image: &'a str,
    folder: &'a Path,
}

impl<'a> Environment<'a> {
    fn session(&self, transport: &str) -> Result<Session> {
        let kubeconfig = self.cluster.kubeconfig();
        let options = [
            ["--kubeconfig", text(&kubeconfig)?],
            ["--namespace", self.namespace.name()],
            ["--agent-image", self.image],
            ["--transport", transport],
        ];
        Session::start(self.programs, self.folder, tied, options.as_flattened())
            .with_context(|| format!("starting a session by {transport}"))
    }

    /// Measures the loads over each transport in turn; returns a copy of a session's Job, to compare with.
    fn transfers(&self, effort: &Effort, results: &mut Results) -> Result<BareJob<'a>> {
        let inside = self.namespace.inside()?;
        let mut sessions = Vec::new();
        for (setup, transport) in TRANSPORTS {
            results.check_interrupt()?;
            sessions.push((setup, self.session(transport)?));
        }
        let job = self.namespace.bare_job()?;
        for round in 1..=effort.rounds {
            results.round(PART, round, effort.rounds)?;
            for load in &LOADS {
                results.measure((PART, load.figure, Setup::Direct), || {
                    load.run(&self.inside(&inside), &format!("{ECHO}:{}", load.port), effort)
                })?;
                results.measure((PART, load.figure, Setup::KubectlPortForward), || {
                    self.through_kubectl(load, effort)
                })?;
                for (setup, session) in &sessions {
                    let generator =
                        LoadGenerator::preloaded(&self.programs.load(), tied, session.variables().clone());
                    results.measure((PART, load.figure, *setup), || {
                        load.run(&generator, &format!("{ECHO}:{}", load.port), effort)
                    })?;
                }
            }
        }
        for (_, session) in sessions {
            session.finish()?;
        }
        Ok(job)
    }

    fn inside<'b>(&self, inside: &'b Inside) -> LoadGenerator<'b> {
        LoadGenerator::bare(&self.programs.load(), |program| inside.command(program))
    }

    /// A kubectl for each load: it can exit when a program aborts a connection.
    fn through_kubectl(&self, load: &Load, effort: &Effort) -> Result<f64> {
        let forward = PortForward::start(self.cluster, ECHO_NAME, &[load.port], self.folder)?;
        let generator = LoadGenerator::bare(&self.programs.load(), tied);
        load.run(&generator, &forward.address(load.port)?, effort)
            .with_context(|| format!("kubectl said: {}", forward.last_words()))
    }

    /// Measures how long it takes until a session's program runs, and until its pod alone runs.
    fn starts(&self, job: &BareJob, effort: &Effort, results: &mut Results) -> Result<()> {
        for round in 1..=effort.sessions {
            eprintln!("{}: start {round} of {}", PART.title(), effort.sessions);
            self.alone(results)?;
            results.measure((PART, Figure::Start, Setup::BarePod), || {
                Ok(job.time()?.as_secs_f64())
            })?;
            for (setup, transport) in TRANSPORTS {
                self.alone(results)?;
                results.measure((PART, Figure::Start, setup), || {
                    let session = self.session(transport)?;
                    let taken = session.started_in().as_secs_f64();
                    session.finish()?;
                    Ok(taken)
                })?;
            }
        }
        Ok(())
    }

    /// Waits until the objects of the previous start are removed.
    fn alone(&self, results: &Results) -> Result<()> {
        self.namespace.wait_until_jobs_are_gone()?;
        results.rest()
    }
}

/// One load, and the key of its result.
struct Load {
    figure: Figure,
    name: &'static str,
    port: u16,
    key: &'static str,
}

/// Uploads go to a service that answers nothing: a setup that cannot half-close would lose the answer.
const LOADS: [Load; 4] = [
    Load {
        figure: Figure::Connect,
        name: "connect",
        port: ECHO_PORT,
        key: "per_second",
    },
    Load {
        figure: Figure::RoundTrip,
        name: "round-trip",
        port: ECHO_PORT,
        key: "median_us",
    },
    Load {
        figure: Figure::Download,
        name: "download",
        port: SOURCE_PORT,
        key: "mb_per_second",
    },
    Load {
        figure: Figure::Upload,
        name: "send",
        port: SINK_PORT,
        key: "mb_per_second",
    },
];

impl Load {
    fn run(&self, generator: &LoadGenerator, address: &str, effort: &Effort) -> Result<f64> {
        let seconds = effort.seconds.to_string();
        generator.number(&[self.name, address, "--seconds", &seconds], self.key)
    }
}
