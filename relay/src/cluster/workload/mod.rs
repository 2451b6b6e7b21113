//! The workload in whose place a session's programs run.
//!
//! The agent's pod is made from the workload's own template, so that the kubelet computes what the container's
//! environment and files are, and the agent only reads them.
//!
//! - [`find`]: the workload in the cluster; [`template`]: its pod template; [`near`]: names that a user may have meant.
//! - [`container`]: which of its containers.
//! - [`rights`]: the rights that this takes; [`account`]: those of the workload's service account.
//! - [`replicas`]: its own pods; [`image`]: the image for the agent, by what they run.
//! - [`pod`]: what of the template is in the agent's pod: [`variables`] with their [`resources`], [`volumes`], labels
//!   and annotations as [`downward`] API, [`security`], [`scheduling`].
//! - [`claims`]: the node that the pod's volumes require.
//! - [`mounts`]: what its mounts are for programs; [`hosts`]: its hosts file.
//! - [`exec`]: the environment of a running container's first process.

mod account;
mod claims;
mod container;
mod downward;
mod exec;
pub(super) mod find;
mod hosts;
mod image;
mod mounts;
pub(super) mod near;
pub(super) mod pod;
mod replicas;
mod resources;
pub(super) mod rights;
mod scheduling;
mod security;
mod template;
mod variables;
mod volumes;

use super::access::Access;
use super::carried::host_image::{self, HostImage};
use super::pod_startup::RunningPod;
use super::review::Right;
use super::source::Container;
use crate::files::Mounts;
use crate::log;
use crate::names::pod_hosts::HostsLine;
use crate::report::Failure;
use account::RightsReview;
use image::WorkloadImage;
use k8s_openapi::api::core::v1::PodSpec;
use kinject_protocol::session::{KubernetesTarget, Report};
use kinject_protocol::workload::{WorkloadKind, WorkloadName, WorkloadRequest};
use pod::{User, WorkloadPart, WorkloadPod};
use scheduling::Nodes;
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;

/// The workload that a session's programs stand in for.
pub(crate) struct TargetWorkload {
    request: WorkloadRequest,
    session: String,
    needed: Vec<Vec<Right>>,
    /// What the cluster said of it when the session began. Later agents of the session are made of the same, since the
    /// environment and the paths of programs that run do not change.
    found: OnceCell<FoundWorkload>,
    user: Cell<User>,
    /// The node that the next agent's volumes require.
    node: RefCell<Option<String>>,
    /// What the user was told of how agents differ from the workload.
    told: RefCell<Vec<Report>>,
}

struct FoundWorkload {
    pod: Rc<WorkloadPod>,
    /// The image of the container; none if admission puts one there.
    image: Option<WorkloadImage>,
    /// Nodes on which its pods run.
    nodes: Vec<String>,
    /// What its service account may do; none without its files, where a session has no token of it.
    account_rights: Option<RightsReview>,
    /// The environment of the running container's first process, if that is the one to use.
    exec_environment: Option<exec::Environment>,
}

/// What programs find in the place of a workload, by the pod of its agent.
pub(crate) struct WorkloadView {
    /// The workload.
    pub(crate) workload: WorkloadName,
    /// The container.
    pub(crate) container: String,
    /// The service account.
    pub(crate) service_account: String,
    /// The host name that programs see.
    pub(crate) hostname: String,
    /// The host name of the agent's pod.
    pub(crate) pod_hostname: String,
    /// The mounts; none with `--files none`.
    pub(crate) mounts: Option<Mounts>,
    /// The environment, if it is not the agent's own.
    pub(crate) environment: Option<Vec<(OsString, OsString)>>,
}

impl TargetWorkload {
    /// The workload that the user names, if any. Nothing is asked yet.
    pub(super) fn of(target: &KubernetesTarget, session: &str, is_carried: bool) -> Option<Self> {
        let request = target.workload.clone()?;
        Some(Self {
            needed: rights::needed(target, &request, is_carried),
            request,
            session: session.to_owned(),
            found: OnceCell::new(),
            user: Cell::default(),
            node: RefCell::default(),
            told: RefCell::default(),
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &WorkloadName {
        &self.request.workload
    }

    /// Whether it is found already.
    pub(super) fn is_found(&self) -> bool {
        self.found.get().is_some()
    }

    /// Finds it, and what an agent's pod has of it, and checks the user's rights. Nothing is made. The report is for
    /// the user.
    pub(super) async fn find(&self, access: &Access) -> Result<Option<Report>, Failure> {
        let name = self.name();
        let (rights, found) = tokio::join!(
            rights::check(access, &self.needed),
            find::find(access, name, "-t ")
        );
        rights?;
        let found = found?;
        if host_image::is_windows(&found.template.spec) {
            return Err(Failure::lasting(
                format!("{name} runs on Windows, where there is no agent"),
                "name a workload that runs on Linux with --target",
            ));
        }
        let choice = container::choose(name, &found.template, self.request.container.as_deref())?;
        let chosen = &choice.container.name;
        log::info!("in the place of {name}, container {chosen}: {}", choice.reason);
        let account = account_name(&found.template.spec);
        let account_rights = self.request.files.then(|| RightsReview::begin(access, account));
        let pods = found.pods.as_ref();
        let (by_exec, replicas) = tokio::join!(
            self.environment_by_exec(access, pods, chosen),
            replicas::find(access, pods, &choice.container),
        );
        let (environment, report) = by_exec?;
        let image = WorkloadImage::of(&choice.container, &replicas);
        let pod = WorkloadPod::of(name, found.template, choice.container, self.request.files);
        for left_out in pod.left_out() {
            log::info!("the agent's pod has not {left_out}");
        }
        let found = FoundWorkload {
            pod: Rc::new(pod),
            image,
            nodes: replicas.nodes,
            account_rights,
            exec_environment: environment,
        };
        // nobody else finds it meanwhile
        let _known = self.found.set(found).is_err();
        Ok(report)
    }

    /// What the service account may do, in words, as far as the cluster has answered and it is worth saying.
    pub(super) fn account_rights(&self) -> Option<String> {
        let review = self.found.get()?.account_rights.as_ref()?;
        review.in_words()
    }

    /// The environment of the running container, where that is to be used: a pod runs, and is asked for by its name.
    async fn environment_by_exec(
        &self,
        access: &Access,
        pods: Option<&find::PodsOf>,
        container: &str,
    ) -> Result<(Option<exec::Environment>, Option<Report>), Failure> {
        let is_pod = self.name().kind == WorkloadKind::Pod;
        if !is_pod && !self.request.exec_environment {
            return Ok((None, None));
        }
        match exec::environment(access, pods, container).await {
            Ok(environment) => Ok((Some(environment), None)),
            Err(why) => {
                let message = format!(
                    "cannot read the environment of container {container} of {} through exec: {why}",
                    self.name()
                );
                let failure = Failure::lasting(
                    message,
                    match self.request.exec_environment {
                        true => {
                            "leave out --exec-env: variables are then those of the template and the image"
                        }
                        false => {
                            "variables are those of its spec and its image: what its entry point exports is missing"
                        }
                    },
                );
                match self.request.exec_environment {
                    true => Err(failure),
                    false => Ok((None, Some(failure.into()))),
                }
            }
        }
    }

    /// Finds out where the next agent's pod has to run: a volume may be mounted on one node.
    pub(super) async fn place(&self, access: &Access) -> Result<(), Failure> {
        let Some(found) = self.found.get() else {
            return Ok(());
        };
        let node = claims::node(access, &self.session, self.name(), &found.pod.claims()).await?;
        *self.node.borrow_mut() = node;
        Ok(())
    }

    /// What of it is in an agent's pod; none before it is found.
    pub(super) fn part(&self) -> Option<WorkloadPart> {
        let found = self.found.get()?;
        let required = self.node.borrow().clone();
        let preferred = match required {
            Some(_) => Vec::new(),
            None => found.nodes.clone(),
        };
        Some(WorkloadPart {
            pod: Rc::clone(&found.pod),
            user: self.user.get(),
            nodes: Nodes { required, preferred },
        })
    }

    /// The images for its agents, the best first.
    pub(super) fn images(&self) -> Vec<HostImage> {
        let Some(FoundWorkload {
            pod,
            image: Some(image),
            ..
        }) = self.found.get()
        else {
            return Vec::new();
        };
        image.choices(&pod.pull_secrets())
    }

    /// Has later agents run as the agent's own user; false if they do already.
    pub(super) fn try_own_user(&self) -> bool {
        self.user.replace(User::Agent) != User::Agent
    }

    /// Has later agents run with less: without capabilities, then as the agent's own user; false if they do already.
    pub(super) fn try_fewer_rights(&self) -> bool {
        let next = match self.user.get() {
            User::Workload => User::WorkloadWithoutCapabilities,
            User::WorkloadWithoutCapabilities | User::Agent => User::Agent,
        };
        self.user.replace(next) != User::Agent
    }

    /// How an agent runs otherwise than the workload, as far as the user was not told yet. `image_id` is the ID of its
    /// image, as its node reports it.
    pub(super) fn new_differences(&self, agent: &Container, image_id: &str) -> Vec<Report> {
        let mut told = self.told.borrow_mut();
        let new: Vec<_> = self
            .differences(agent, image_id)
            .into_iter()
            .filter(|report| !told.contains(report))
            .collect();
        told.extend(new.iter().cloned());
        new
    }

    fn differences(&self, agent: &Container, image_id: &str) -> Vec<Report> {
        let Some(found) = self.found.get() else {
            return Vec::new();
        };
        let name = self.name();
        let mut reports = Vec::new();
        if let Some(image) = &found.image {
            reports.extend(image.difference(name, agent.image(), agent.is_always_pulled(), image_id));
        }
        if self.user.get() == User::WorkloadWithoutCapabilities {
            reports.push(Failure::lasting(
                format!("a policy of the namespace does not take an agent of {name} that has the capability DAC_OVERRIDE"),
                "files that root reads only by this capability cannot be read",
            ));
        }
        if self.user.get() == User::Agent {
            reports.push(Failure::lasting(
                format!(
                    "the namespace does not take a pod with the user of {name}: the agent runs as its own"
                ),
                "files that only the workload's user may read cannot be read",
            ));
        }
        reports.into_iter().map(Report::from).collect()
    }

    /// What programs find, by the pod that runs, which has this search list.
    pub(super) fn view(&self, access: &Access, pod: &RunningPod, search: &[String]) -> Option<WorkloadView> {
        let found = self.found.get()?;
        let spec = &pod.spec;
        let is_full = found.pod.has_full_host_name();
        let mounts = self
            .request
            .files
            .then(|| mounts::of_pod(spec, &found.pod.own_mounts()));
        Some(WorkloadView {
            workload: self.name().clone(),
            container: found.pod.container().to_owned(),
            service_account: account_name(spec),
            hostname: hosts::kernel_name(spec, &pod.name, &access.namespace, search, is_full),
            pod_hostname: hosts::host_name(spec, &pod.name),
            mounts,
            environment: found.exec_environment.clone(),
        })
    }

    /// The pod's hosts file, with that search list.
    pub(super) fn hosts(&self, access: &Access, pod: &RunningPod, search: &[String]) -> Vec<HostsLine> {
        hosts::lines(&pod.spec, &pod.name, &access.namespace, search, &pod.addresses)
    }
}

/// The service account of a pod.
fn account_name(spec: &PodSpec) -> String {
    let named = spec
        .service_account_name
        .as_ref()
        .or(spec.service_account.as_ref());
    match named {
        Some(name) if !name.is_empty() => name.clone(),
        _ => account::DEFAULT.to_owned(),
    }
}

#[cfg(test)]
mod tests;
