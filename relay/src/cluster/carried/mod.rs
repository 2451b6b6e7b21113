//! An agent without an image of its own: the session uploads it in ConfigMaps, and its pod runs it in an image that the
//! cluster has already. No program of that image is run.
//!
//! - [`config_maps`]: the agent's files, cut into ConfigMaps.
//! - [`upload`]: uploads the ConfigMaps, or shares those of other sessions; [`requests`]: the requests for one of them;
//!   [`refusal`]: what the API server's refusals mean.
//! - [`presence`]: keeps the ConfigMaps in the cluster until the pod runs, and verifies them then.
//! - [`host_image`]: chooses the image that the agent runs in.
//! - [`pod`]: the pod of a carried agent.
//!
//! # The order of the requests
//!
//! The Job owns the ConfigMaps and the Secret, so that the garbage collector removes them with it. So they are created
//! after the Job, whose UID they name. A kubelet that misses one of them retries only after half a second or more, and
//! a pod that mounts one which is never created waits for ever. So the relay creates the Job *held*: with `parallelism:
//! 0` it starts no pod, until a patch releases it when everything is uploaded. A deadline ends the Job if its pod does
//! not run, because the relay was killed or the image cannot be pulled, and what was uploaded goes with the Job. When
//! the pod runs, another patch lifts the deadline. (A *suspended* Job would stay: the time of its deadline does not
//! pass.)

pub(super) mod config_maps;
#[cfg(test)]
mod fixture;
pub(super) mod host_image;
pub(super) mod pod;
pub(super) mod presence;
pub(super) mod refusal;
pub(super) mod requests;
pub(super) mod upload;

use super::access::Access;
use crate::log;
use crate::report::Failure;
use config_maps::AgentFiles;
use host_image::{HostImage, UnpullableImages, WorkloadImages};
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_bundle::{Architecture, CarriedAgent};
use pod::CarriedPod;
use requests::{Existing, VerifiedMaps};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use upload::UploadPlan;

/// The agents that a session can carry, one for each architecture, and what it has learned about the cluster.
pub(super) struct CarriedAgents {
    /// The folder of the relay's executable.
    programs: PathBuf,
    /// The architectures in the order in which to try them, and the SHA-256 of each agent when the session began.
    agents: Vec<(Architecture, [u8; 32])>,
    /// The position in `agents` of the agent that ran last. Each start tries it first.
    ran: Cell<usize>,
    /// How many architectures failed in this start.
    failed: Cell<usize>,
    /// The failure of the first of these.
    first_failure: RefCell<Option<Failure>>,
    /// The image of `--host-image`.
    requested_image: Option<String>,
    /// The images for the workload's agents, if the session has a target.
    workload_images: RefCell<Option<WorkloadImages>>,
    /// The images of running pods that a node could not pull.
    unpullable: UnpullableImages,
    /// Whether the ConfigMaps get random names, because those that sessions share cannot be used.
    use_private_maps: Cell<bool>,
    /// The ConfigMaps whose content this session has compared.
    verified: Rc<VerifiedMaps>,
    /// The pod that was planned last.
    pod: RefCell<Option<Rc<CarriedPod>>>,
}

impl CarriedAgents {
    /// Finds the agents that belong to the executables in the folder `programs`; none if that build carries no agents.
    pub(super) fn find(programs: PathBuf, requested_image: Option<String>) -> Result<Option<Self>, Failure> {
        let agents = agents_of(&programs)?;
        let mut agents: Vec<_> = agents
            .iter()
            .map(|agent| (agent.architecture, agent.sha256))
            .collect();
        // most clusters have the architecture of the user's own machine
        agents.sort_by_key(|(architecture, _)| Some(*architecture) != Architecture::of_this_machine());
        Ok((!agents.is_empty()).then(|| Self {
            programs,
            agents,
            ran: Cell::new(0),
            failed: Cell::new(0),
            first_failure: RefCell::default(),
            requested_image,
            workload_images: RefCell::default(),
            unpullable: UnpullableImages::default(),
            use_private_maps: Cell::new(false),
            verified: Rc::default(),
            pod: RefCell::new(None),
        }))
    }

    /// Prefers the images of a workload, the best first, and its architecture if the workload requires one. Later
    /// starts keep to them.
    pub(super) fn prefer_workload(&self, images: Vec<HostImage>, architecture: Option<&str>) {
        *self.workload_images.borrow_mut() = WorkloadImages::new(images);
        let position = self
            .agents
            .iter()
            .position(|(known, _)| Some(known.kubernetes_name()) == architecture);
        if let Some(position) = position {
            self.ran.set(position);
        }
    }

    /// Begins the start of an agent, with the architecture that ran last.
    pub(super) fn begin_start(&self) {
        self.failed.set(0);
        self.first_failure.take();
    }

    /// Records that the agent of the current architecture runs.
    pub(super) fn record_success(&self) {
        self.ran.set(self.current());
        self.failed.set(0);
    }

    /// The position of the agent to try.
    fn current(&self) -> usize {
        (self.ran.get() + self.failed.get()) % self.agents.len()
    }

    /// Plans an agent's pod, and compares its ConfigMaps with those that the cluster has. It creates nothing.
    pub(super) async fn plan(&self, access: &Access) -> Result<UploadPlan, Failure> {
        let files = Rc::new(self.files()?);
        let host = async {
            let of_workload = self
                .workload_images
                .borrow()
                .as_ref()
                .map(WorkloadImages::current);
            match (&self.requested_image, of_workload) {
                (Some(image), _) => HostImage::requested(image),
                (None, Some(image)) => image,
                (None, None) => host_image::choose(access, &self.unpullable).await,
            }
        };
        let existing = async {
            match self.use_private_maps.get() {
                true => Ok(vec![Existing::Missing; files.maps.len()]),
                false => upload::compare_all(access, &files, &self.verified).await,
            }
        };
        let (host, existing) = tokio::join!(host, existing);
        let existing = existing?;
        log::info!("the agent runs in the image {}: {}", host.image, host.reason);
        let pod = CarriedPod::new(&files, host);
        *self.pod.borrow_mut() = Some(Rc::new(pod));
        Ok(UploadPlan {
            files,
            existing,
            verified: Rc::clone(&self.verified),
        })
    }

    /// The pod and the ConfigMaps that a session would create, as far as they are known without a cluster.
    pub(super) fn preview(&self) -> Result<(CarriedPod, Vec<ConfigMap>), Failure> {
        let files = self.files()?;
        let host = match &self.requested_image {
            Some(image) => HostImage::requested(image),
            None => HostImage::fallback(),
        };
        Ok((CarriedPod::new(&files, host), files.maps))
    }

    /// The pod that was planned last.
    pub(super) fn pod(&self) -> Option<Rc<CarriedPod>> {
        self.pod.borrow().clone()
    }

    /// Goes on to the next architecture, and returns `failure` for the log. After the last one, it fails with the
    /// failure of the first.
    pub(super) fn try_next_architecture(&self, failure: Failure) -> Result<Failure, Failure> {
        let first = self
            .first_failure
            .borrow_mut()
            .get_or_insert_with(|| failure.clone())
            .clone();
        let failed = self.failed.get() + 1;
        if failed < self.agents.len() {
            self.failed.set(failed);
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

    /// Goes on to another image after a node could not pull the one of the planned pod; false if the user named that
    /// image or no other is left.
    pub(super) fn try_next_image(&self) -> bool {
        if self.requested_image.is_some() {
            return false;
        }
        match (&*self.workload_images.borrow(), &*self.pod.borrow()) {
            (Some(images), _) => images.try_next(),
            (None, Some(pod)) => self.unpullable.add(&pod.host.image),
            (None, None) => false,
        }
    }

    /// Goes on to ConfigMaps of random names; false if the session uses such names already.
    pub(super) fn try_private_maps(&self) -> bool {
        !self.use_private_maps.replace(true)
    }

    /// Reads the files of the current architecture. The relay does not keep them in memory.
    fn files(&self) -> Result<AgentFiles, Failure> {
        let (wanted, sha256) = self.agents[self.current()];
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
        match self.use_private_maps.get() {
            true => AgentFiles::private(&agent).map_err(|error| {
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

    /// Carried agents for both architectures, and the folder of their files.
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
    fn agent_replaced_since_the_session_began_is_refused() {
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
    fn each_architecture_is_tried_once_and_the_first_failure_is_reported() {
        let (_programs, agents) = agents();
        let first = agents.files().unwrap().architecture;
        agents.begin_start();
        assert!(agents.try_next_architecture(failure("of the first")).is_ok());
        assert_ne!(agents.files().unwrap().architecture, first);
        let last = agents
            .try_next_architecture(failure("of the second"))
            .unwrap_err();
        assert_eq!(last.message, "of the first");
        let hint = last.hint.unwrap();
        assert!(
            hint.contains("amd64") && hint.contains("arm64") && hint.ends_with("name another"),
            "{hint}"
        );
        agents.begin_start();
        assert_eq!(agents.files().unwrap().architecture, first, "neither of them ran");
    }

    #[test]
    fn next_start_begins_with_the_architecture_that_ran_last() {
        let (_programs, agents) = agents();
        agents.begin_start();
        assert!(agents.try_next_architecture(failure("no")).is_ok());
        let second = agents.files().unwrap().architecture;
        agents.record_success();
        agents.begin_start();
        assert_eq!(agents.files().unwrap().architecture, second);
        assert!(
            agents.try_next_architecture(failure("no")).is_ok(),
            "the first is tried again"
        );
        assert_ne!(agents.files().unwrap().architecture, second);
    }
}
