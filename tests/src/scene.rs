//! A place with a session to it and with the truth: the same program bare, where the agent stands.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use kinject_sandbox::Sandbox;

use crate::cluster::BarePod;
use crate::place::{Kind, Place};
use crate::process;
use crate::programs::Program;
use crate::running::{self, Outcome};
use crate::session::Session;

/// A place, a session to it, and the bare truth.
#[derive(Debug)]
pub struct Scene {
    // in the order of their end
    session: Session,
    pod: Option<Pod>,
    place: Place,
}

#[derive(Debug)]
struct Pod {
    name: String,
    bare: BarePod,
}

impl Scene {
    /// A scene of one's own; `None` where this machine has no such place.
    pub fn new(kind: Kind) -> Option<Self> {
        Self::with_flags(kind, &[])
    }

    /// A scene of one's own whose `kinject run` has these flags.
    pub fn with_flags(kind: Kind, flags: &[&str]) -> Option<Self> {
        let place = Place::open(kind)?;
        let session = Session::start(&place, flags);
        let pod = match &place {
            Place::Sandbox(_) => None,
            Place::Cluster(cluster) => {
                let agent = format!("app.kubernetes.io/instance={}", session.name());
                let bare = cluster.pod_of("default", &agent).and_then(|name| {
                    let bare = cluster.bare_pod("default", &name)?;
                    Ok(Pod { name, bare })
                });
                Some(bare.unwrap_or_else(|error| panic!("the agent's pod is not there: {error:#}")))
            }
        };
        Some(Self { session, pod, place })
    }

    /// Runs a case in the scene that all cases of this test program share; without the place it is noted as not run.
    pub fn shared(kind: Kind, case: impl FnOnce(&Self)) {
        static SCENES: [OnceLock<Option<Scene>>; 2] = [OnceLock::new(), OnceLock::new()];
        let scene = match kind {
            Kind::Sandbox => &SCENES[0],
            Kind::Cluster => &SCENES[1],
        };
        if let Some(scene) = scene.get_or_init(|| Self::new(kind)) {
            case(scene);
        }
    }

    /// Runs a case in a scene of its own; without the place it is noted as not run.
    pub fn alone(kind: Kind, case: impl FnOnce(Self)) {
        if let Some(scene) = Self::new(kind) {
            case(scene);
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The sandbox, if this is one.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        match &self.place {
            Place::Sandbox(sandbox) => Some(sandbox),
            Place::Cluster(_) => None,
        }
    }

    /// The agent's pod in the cluster.
    pub fn pod(&self) -> Option<&str> {
        self.pod.as_ref().map(|pod| pod.name.as_str())
    }

    /// The agent's process: the one of that name in the network where programs run bare.
    pub fn agent(&self) -> u32 {
        let mut asked = self.bare(&Program::new("/usr/bin/readlink").arg("/proc/self/ns/net"));
        let network = running::run(&mut asked).succeeded().stdout.trim().to_owned();
        let found = process::all().into_iter().find(|pid| {
            process::name(*pid).as_deref() == Some("kinject-agent")
                && process::network(*pid).as_deref() == Some(network.as_str())
        });
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
        let mut command = match (&self.place, &self.pod) {
            (Place::Sandbox(sandbox), _) => sandbox.enter(&program.path),
            (Place::Cluster(_), Some(pod)) => pod
                .bare
                .command(program.path.to_str().expect("programs have plain names")),
            (Place::Cluster(_), None) => unreachable!("a session to a cluster has a pod"),
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

    /// The contract without a word on the status itself.
    #[track_caller]
    pub fn same_however_it_ends(&self, program: Program) -> Outcome {
        self.same_within(program, running::PATIENCE)
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
/// They share a session, unless a function takes its scene `alone`.
#[macro_export]
macro_rules! on_both_places {
    (@run $kind:expr, shared, $case:ident) => { $crate::scene::Scene::shared($kind, $case) };
    (@run $kind:expr, alone, $case:ident) => { $crate::scene::Scene::alone($kind, $case) };
    (@type shared) => { &$crate::scene::Scene };
    (@type alone) => { $crate::scene::Scene };
    ($($(#[doc = $doc:literal])* fn $name:ident($scene:ident: $how:ident) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "not every case needs what its file imports")]
            use super::*;

            fn case($scene: $crate::on_both_places!(@type $how)) $body

            #[test]
            fn in_the_sandbox() {
                $crate::on_both_places!(@run $crate::place::Kind::Sandbox, $how, case);
            }

            #[test]
            fn on_the_cluster() {
                $crate::on_both_places!(@run $crate::place::Kind::Cluster, $how, case);
            }
        }
    )*};
}
