//! An agent without an image of its own: the session carries it into the cluster in ConfigMaps, and it runs in an image
//! that is there already, of which nothing else is run.
//!
//! - [`config_maps`]: the agent's files, cut into ConfigMaps; [`store`]: these in the cluster, shared by sessions.
//! - [`host_image`]: the image that the agent runs in.
//! - [`pod`]: what the pod of such an agent looks like.
//!
//! The order of things. ConfigMaps and Secret belong to the Job, so that they go when it goes, and so they are made
//! after it. A kubelet that finds one missing waits for half a second and more before it looks again, and a pod that
//! waits for one that never comes stays for ever. So the Job is made *held*: it starts no pod (`parallelism: 0`) until
//! a patch releases it, when all is there. A deadline ends the Job unless its pod runs, as after the relay's death or
//! without the image, and the Job takes with it what was sent; when the pod runs, another patch lifts the deadline. (A
//! *suspended* Job would stay: the time of its deadline does not pass.)

pub(super) mod config_maps;
pub(super) mod host_image;
pub(super) mod pod;
pub(super) mod store;

use super::access::Access;
use crate::log;
use crate::report::Failure;
use config_maps::AgentFiles;
use host_image::PassedOver;
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_bundle::{Architecture, CarriedAgent};
use pod::CarriedPod;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use store::{Found, KnownMaps, Placement};

/// The agents that a session can carry, and how it does.
pub(super) struct CarriedAgents {
    /// The folder of the relay's executable.
    programs: PathBuf,
    /// For these machines, with the SHA-256 of each agent when the session began; most clusters have those of the
    /// first.
    agents: Vec<(Architecture, [u8; 32])>,
    /// The one that ran last, with which each attempt begins.
    ran: Cell<usize>,
    /// How many others were tried in this attempt.
    others_tried: Cell<usize>,
    /// Why there was no agent of the first of these.
    first_failure: RefCell<Option<Failure>>,
    /// The image of `--host-image`.
    asked_image: Option<String>,
    /// The images of running pods that a node could not get.
    passed_over: PassedOver,
    /// Whether the ConfigMaps get names that no other session has: those that sessions share cannot be used.
    own_copy: Cell<bool>,
    /// The ConfigMaps that this session has compared already.
    known: Rc<KnownMaps>,
    /// The pod that was planned last.
    pod: RefCell<Option<Rc<CarriedPod>>>,
}

impl CarriedAgents {
    /// The agents that belong to the executables in `programs`; none if there are none.
    pub(super) fn find(programs: PathBuf, asked_image: Option<String>) -> Result<Option<Self>, Failure> {
        let agents = agents_of(&programs)?;
        let mut agents: Vec<_> = agents
            .iter()
            .map(|agent| (agent.architecture, agent.sha256))
            .collect();
        // most clusters are made of machines like the user's own
        agents.sort_by_key(|(architecture, _)| Some(*architecture) != Architecture::of_this_machine());
        Ok((!agents.is_empty()).then(|| Self {
            programs,
            agents,
            ran: Cell::new(0),
            others_tried: Cell::new(0),
            first_failure: RefCell::default(),
            asked_image,
            passed_over: PassedOver::default(),
            own_copy: Cell::new(false),
            known: Rc::default(),
            pod: RefCell::new(None),
        }))
    }

    /// Begins to make an agent, for the architecture that ran last.
    pub(super) fn begin(&self) {
        self.others_tried.set(0);
        self.first_failure.take();
    }

    /// The agent of the architecture that is tried runs.
    pub(super) fn ran(&self) {
        self.ran.set(self.tried());
    }

    fn tried(&self) -> usize {
        (self.ran.get() + self.others_tried.get()) % self.agents.len()
    }

    /// Plans an agent's pod, and finds out which of its ConfigMaps the cluster has. Nothing is made.
    pub(super) async fn plan(&self, access: &Access) -> Result<Placement, Failure> {
        let files = Rc::new(self.files()?);
        let host = async {
            match &self.asked_image {
                Some(image) => host_image::HostImage::asked(image),
                None => host_image::choose(access, &self.passed_over).await,
            }
        };
        let found = async {
            match self.own_copy.get() {
                true => Ok(vec![Found::Missing; files.maps.len()]),
                false => store::find(access, &files, &self.known).await,
            }
        };
        let (host, found) = tokio::join!(host, found);
        let found = found?;
        log::info!("the agent runs in the image {}: {}", host.image, host.reason);
        let pod = CarriedPod::new(&files, host);
        *self.pod.borrow_mut() = Some(Rc::new(pod));
        Ok(Placement {
            files,
            found,
            known: Rc::clone(&self.known),
        })
    }

    /// What a session would make, as far as that is known without a cluster.
    pub(super) fn preview(&self) -> Result<(CarriedPod, Vec<ConfigMap>), Failure> {
        let files = self.files()?;
        let host = match &self.asked_image {
            Some(image) => host_image::HostImage::asked(image),
            None => host_image::HostImage::fallback(),
        };
        Ok((CarriedPod::new(&files, host), files.maps))
    }

    /// The pod that was planned last.
    pub(super) fn pod(&self) -> Option<Rc<CarriedPod>> {
        self.pod.borrow().clone()
    }

    /// Takes the next architecture, if there is another. Without one, the failure of the first is told.
    pub(super) fn try_next_architecture(&self, failure: Failure) -> Result<Failure, Failure> {
        let first = self
            .first_failure
            .borrow_mut()
            .get_or_insert_with(|| failure.clone())
            .clone();
        let next = self.others_tried.get() + 1;
        if next < self.agents.len() {
            self.others_tried.set(next);
            return Ok(failure);
        }
        let names: Vec<_> = self
            .agents
            .iter()
            .map(|(architecture, _)| architecture.kubernetes_name())
            .collect();
        let hint = first.hint.unwrap_or_default();
        let hint = format!("this kinject carries agents for {}: {hint}", names.join(" and "));
        Err(Failure::lasting(first.message, &hint))
    }

    /// Takes another image, if the relay has chosen the one that the node cannot get and there is another.
    pub(super) fn try_next_image(&self) -> bool {
        let pod = self.pod.borrow();
        match (&self.asked_image, &*pod) {
            (None, Some(pod)) => self.passed_over.add(&pod.host.image),
            _ => false,
        }
    }

    /// Takes ConfigMaps of names that nobody else has, unless that is so already.
    pub(super) fn take_own_copy(&self) -> bool {
        !self.own_copy.replace(true)
    }

    /// Reads the files, which are not kept in memory.
    fn files(&self) -> Result<AgentFiles, Failure> {
        let (wanted, sha256) = self.agents[self.tried()];
        let mut agents = agents_of(&self.programs)?.into_iter();
        let agent = agents.find(|agent| agent.architecture == wanted).ok_or_else(|| {
            Failure::lasting(
                "the agent that this kinject carries has gone since the session began",
                "install kinject again, or name an image that holds the agent with --agent-image",
            )
        })?;
        if agent.sha256 != sha256 {
            return Err(Failure::lasting(
                "kinject was replaced since the session began: it carries another agent",
                "start another session: end this program and run the command again",
            ));
        }
        match self.own_copy.get() {
            true => AgentFiles::own_copy(&agent).map_err(|error| {
                Failure::lasting(
                    format!("cannot make a name for a ConfigMap: {error}"),
                    "check that getrandom(2) is allowed here (seccomp, an old kernel)",
                )
            }),
            false => Ok(AgentFiles::shared(&agent)),
        }
    }
}

fn agents_of(programs: &std::path::Path) -> Result<Vec<CarriedAgent>, Failure> {
    kinject_bundle::carried_agents(programs).map_err(|error| {
        Failure::lasting(
            format!("the agent that this kinject carries cannot be used: {error}"),
            "install kinject again, or name an image that holds the agent with --agent-image",
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn pack(programs: &Path, architecture: Architecture, digit: &str) {
        let folder = programs.join("agents").join(architecture.kubernetes_name());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("loader"), "loader").unwrap();
        fs::write(folder.join("agent.xz"), "packed").unwrap();
        fs::write(folder.join("agent.sha256"), digit.repeat(64)).unwrap();
    }

    /// Agents for both architectures, in a folder of their own.
    pub(crate) fn agents() -> (tempfile::TempDir, CarriedAgents) {
        let programs = tempfile::tempdir().unwrap();
        for architecture in Architecture::ALL {
            pack(programs.path(), architecture, "a");
        }
        let agents = CarriedAgents::find(programs.path().to_owned(), None).unwrap();
        (programs, agents.unwrap())
    }

    fn failure(message: &str) -> Failure {
        Failure::lasting(message, "name another")
    }

    #[test]
    fn agent_that_was_replaced_since_the_session_began_is_not_carried() {
        let (programs, agents) = agents();
        let ours = agents.files().unwrap().architecture;
        pack(programs.path(), ours, "b");
        let refused = agents.files().err().unwrap();
        assert!(
            refused
                .message
                .starts_with("kinject was replaced since the session began"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn each_architecture_is_tried_once_and_the_failure_of_the_first_is_told() {
        let (_programs, agents) = agents();
        let first = agents.files().unwrap().architecture;
        agents.begin();
        assert!(agents.try_next_architecture(failure("of the first")).is_ok());
        assert_ne!(agents.files().unwrap().architecture, first);
        let told = agents
            .try_next_architecture(failure("of the second"))
            .unwrap_err();
        assert_eq!(told.message, "of the first");
        let hint = told.hint.unwrap();
        assert!(
            hint.contains("amd64") && hint.contains("arm64") && hint.ends_with("name another"),
            "{hint}"
        );
        agents.begin();
        assert_eq!(agents.files().unwrap().architecture, first, "none of them ran");
    }

    #[test]
    fn next_attempt_begins_with_the_architecture_that_ran_last() {
        let (_programs, agents) = agents();
        agents.begin();
        assert!(agents.try_next_architecture(failure("no")).is_ok());
        let second = agents.files().unwrap().architecture;
        agents.ran();
        agents.begin();
        assert_eq!(agents.files().unwrap().architecture, second);
        assert!(
            agents.try_next_architecture(failure("no")).is_ok(),
            "the first is tried again"
        );
        assert_ne!(agents.files().unwrap().architecture, second);
    }
}
