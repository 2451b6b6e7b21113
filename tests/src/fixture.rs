//! A testbed with a session, and with the reference to compare with: the same program bare in the agent's network.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use kinject_sandbox::Sandbox;

use crate::cluster::{BarePod, Cluster};
use crate::programs::Program;
use crate::running::{self, Outcome};
use crate::session::Session;
use crate::testbed::{Kind, Testbed};
use crate::{carried, process};

/// A testbed, a session in it, and bare runs in the agent's network.
#[derive(Debug)]
pub struct Fixture {
    // fields are dropped in this order
    session: Session,
    pod: Option<Pod>,
    testbed: Testbed,
}

#[derive(Debug)]
struct Pod {
    name: String,
    bare: BarePod,
}

impl Fixture {
    /// A fixture of the test's own; `None` where this machine has no such testbed.
    pub fn new(kind: Kind) -> Option<Self> {
        Self::with_flags(kind, &[])
    }

    /// A fixture of the test's own whose `kinject run` has these flags.
    pub fn with_flags(kind: Kind, flags: &[&str]) -> Option<Self> {
        let testbed = Testbed::open(kind)?;
        let session = Session::start(&testbed, flags);
        let pod = match &testbed {
            Testbed::Sandbox(_) => None,
            Testbed::Cluster(cluster) => {
                let agent = format!("app.kubernetes.io/instance={}", session.name());
                let bare = cluster.pod_of("default", &agent).and_then(|name| {
                    if carried::is_default() {
                        check_carried(cluster, &name)?;
                    }
                    let bare = cluster.bare_pod("default", &name)?;
                    Ok(Pod { name, bare })
                });
                Some(bare.unwrap_or_else(|error| panic!("the agent's pod is not there: {error:#}")))
            }
        };
        Some(Self {
            session,
            pod,
            testbed,
        })
    }

    /// Runs a case in the fixture that all cases of this executable share; without the testbed it is noted as not run.
    pub fn shared(kind: Kind, case: impl FnOnce(&Self)) {
        static FIXTURES: [OnceLock<Option<Fixture>>; 2] = [OnceLock::new(), OnceLock::new()];
        let fixture = match kind {
            Kind::Sandbox => &FIXTURES[0],
            Kind::Cluster => &FIXTURES[1],
        };
        if let Some(fixture) = fixture.get_or_init(|| Self::new(kind)) {
            case(fixture);
        }
    }

    /// Runs a case in a fixture of its own; without the testbed it is noted as not run.
    pub fn alone(kind: Kind, case: impl FnOnce(Self)) {
        if let Some(fixture) = Self::new(kind) {
            case(fixture);
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The testbed.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// The sandbox, if the testbed is one.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        match &self.testbed {
            Testbed::Sandbox(sandbox) => Some(sandbox),
            Testbed::Cluster(_) => None,
        }
    }

    /// The agent's pod in the cluster.
    pub fn pod(&self) -> Option<&str> {
        self.pod.as_ref().map(|pod| pod.name.as_str())
    }

    /// The agent's process: the one of that program in the network where programs run bare.
    pub fn agent(&self) -> u32 {
        let mut readlink = self.bare(&Program::new("/usr/bin/readlink").arg("/proc/self/ns/net"));
        let network = running::run(&mut readlink).succeeded().stdout.trim().to_owned();
        let found = process::all()
            .into_iter()
            .find(|pid| is_agent(*pid) && process::network(*pid).as_deref() == Some(network.as_str()));
        found.unwrap_or_else(|| panic!("no agent runs in {network}"))
    }

    /// A program in the session.
    pub fn injected(&self, program: &Program) -> Command {
        let mut command = self.session.command(&program.path);
        command.args(&program.arguments);
        command
    }

    /// The same program without kinject, in the network of the agent's pod.
    pub fn bare(&self, program: &Program) -> Command {
        let mut command = match (&self.testbed, &self.pod) {
            (Testbed::Sandbox(sandbox), _) => sandbox.enter(&program.path),
            (Testbed::Cluster(_), Some(pod)) => pod
                .bare
                .command(program.path.to_str().expect("programs have plain names")),
            (Testbed::Cluster(_), None) => unreachable!("a session to a cluster has a pod"),
        };
        command.args(&program.arguments);
        command
    }

    /// The contract: injected, the program prints what it prints bare, and ends with the same status, which must be 0
    /// because a test program reports failures by printing them.
    #[track_caller]
    pub fn same(&self, program: Program) -> Outcome {
        let outcome = self.same_however_it_ends(program);
        assert_eq!(outcome.code(), 0, "the same bare and injected, but: {outcome}");
        outcome
    }

    /// The contract for any exit status.
    #[track_caller]
    pub fn same_however_it_ends(&self, program: Program) -> Outcome {
        self.same_within(program, running::TIMEOUT)
    }

    /// The contract for a program that takes long.
    #[track_caller]
    pub fn same_within(&self, program: Program, limit: Duration) -> Outcome {
        let bare = running::run_within(&mut self.bare(&program), limit);
        let injected = running::run_within(&mut self.injected(&program), limit);
        assert!(
            bare.stdout == injected.stdout && bare.status == injected.status,
            "`{}` is not the same, {} bare, {} injected:\n{}{}{}",
            injected.command,
            bare.status,
            injected.status,
            difference(&bare.stdout, &injected.stdout),
            bare.stderr,
            injected.stderr,
        );
        injected
    }
}

/// Whether a process executes the agent, from a file or, as carried agents do, from memory.
fn is_agent(pid: u32) -> bool {
    let executed = process::executable(pid);
    executed.is_some_and(|file| file.trim_end_matches(" (deleted)").ends_with("kinject-agent"))
}

/// Fails unless the pod's agent was carried.
fn check_carried(cluster: &Cluster, pod: &str) -> anyhow::Result<()> {
    let pod = cluster.kubectl_json(&["--namespace", "default", "get", "pod", pod])?;
    let agent = &pod["metadata"]["annotations"]["kinject/agent-sha256"];
    anyhow::ensure!(agent.is_string(), "its agent was not carried: {pod}");
    Ok(())
}

/// The lines that are not in both, in the manner of diff(1).
fn difference(bare: &str, injected: &str) -> String {
    let (bare, injected): (Vec<_>, Vec<_>) = (bare.lines().collect(), injected.lines().collect());
    if bare.len() == injected.len() {
        let pairs = bare
            .iter()
            .zip(&injected)
            .filter(|(bare, injected)| bare != injected);
        return pairs
            .map(|(bare, injected)| format!("- {bare}\n+ {injected}\n"))
            .collect();
    }
    let bare = bare.iter().map(|line| format!("- {line}\n"));
    bare.chain(injected.iter().map(|line| format!("+ {line}\n")))
        .collect()
}

/// Makes each function two tests: one in the sandbox, one on the real cluster.
///
/// They share a session, unless a function takes its fixture `alone`.
#[macro_export]
macro_rules! on_both_testbeds {
    (@run $kind:expr, shared, $case:ident) => { $crate::fixture::Fixture::shared($kind, $case) };
    (@run $kind:expr, alone, $case:ident) => { $crate::fixture::Fixture::alone($kind, $case) };
    (@type shared) => { &$crate::fixture::Fixture };
    (@type alone) => { $crate::fixture::Fixture };
    ($($(#[doc = $doc:literal])* fn $name:ident($fixture:ident: $how:ident) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "not every case needs what its file imports")]
            use super::*;

            fn case($fixture: $crate::on_both_testbeds!(@type $how)) $body

            #[test]
            fn in_the_sandbox() {
                $crate::on_both_testbeds!(@run $crate::testbed::Kind::Sandbox, $how, case);
            }

            #[test]
            fn on_the_cluster() {
                $crate::on_both_testbeds!(@run $crate::testbed::Kind::Cluster, $how, case);
            }
        }
    )*};
}
