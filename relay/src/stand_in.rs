//! What a session's programs find in the place of a workload: gathered when the session starts, and told to the
//! launcher, which puts it into their environment.

use crate::cluster::agent::ClusterAgent;
use crate::cluster::workload::WorkloadView;
use crate::files::Files;
use crate::log;
use crate::report::Failure;
use crate::uplink::{Ended, Uplink};
use kinject_protocol::session::Event;
use kinject_protocol::workload::{Workload, WorkloadRequest};
use kinject_tunnel::RequestError;
use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Time limit for the request for the environment.
const ENVIRONMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP status by which an agent says that it does not know a request.
const NOT_FOUND: u16 = 404;

/// A workload, and the files of its container.
pub(crate) struct StandIn {
    /// What the launcher is told.
    pub(crate) workload: Workload,
    /// The files; none with `--files none`.
    pub(crate) files: Option<Rc<Files>>,
}

/// Gathers it through the tunnel, which has to be driven meanwhile.
pub(crate) async fn gather(
    agent: &ClusterAgent,
    request: &WorkloadRequest,
    uplink: &Rc<Uplink>,
    folder: &Path,
    events: &mpsc::Sender<Event>,
) -> Result<StandIn, Failure> {
    let up = uplink.up().await.map_err(|Ended| lost("the session has ended"))?;
    let view = agent.workload_view(&up.names.conf.search);
    let view = view.ok_or_else(|| lost("its pod is not known"))?;
    let WorkloadView {
        workload,
        container,
        service_account,
        hostname,
        pod_hostname,
        mounts,
        environment,
    } = view;
    let environment = async {
        match environment {
            Some(environment) => Ok::<_, Failure>(environment),
            None => {
                let mut environment = environment_of_agent(uplink).await?;
                rename_host(&mut environment, &pod_hostname, &hostname);
                Ok(environment)
            }
        }
    };
    let files = async {
        match mounts {
            Some(mounts) => {
                let (remote, local) = (&request.remote_paths, &request.local_paths);
                let (files, paths) = Files::start(uplink, events, folder, mounts, remote, local).await?;
                Ok((Some(files), Some(paths)))
            }
            None => Ok::<_, Failure>((None, None)),
        }
    };
    let (environment, files) = tokio::join!(environment, files);
    let (environment, (files, paths)) = (environment?, files?);
    log::info!(
        "in the place of {workload}, container {container}: {} variables, service account {service_account}",
        environment.len()
    );
    Ok(StandIn {
        workload: Workload {
            workload,
            container,
            service_account,
            account_rights: agent.account_rights(),
            hostname,
            environment,
            paths,
        },
        files,
    })
}

/// Gives HOSTNAME, which the container's runtime sets to the pod's host name, the name that programs see; a value of
/// the template's own stays.
fn rename_host(environment: &mut [(OsString, OsString)], from: &str, to: &str) {
    let variables = environment
        .iter_mut()
        .filter(|(name, value)| name == "HOSTNAME" && value == from);
    variables.for_each(|(_, value)| *value = to.into());
}

/// The agent's own environment. The pod gives it no variable that the workload's container has not.
async fn environment_of_agent(uplink: &Uplink) -> Result<Vec<(OsString, OsString)>, Failure> {
    let up = uplink.up().await.map_err(|Ended| lost("the session has ended"))?;
    match timeout(ENVIRONMENT_TIMEOUT, up.tunnel.environment()).await {
        Ok(Ok(environment)) => Ok(environment),
        Ok(Err(RequestError::Failed {
            status: NOT_FOUND, ..
        })) => Err(Failure::lasting(
            "the agent is of a version that does not tell its environment",
            concat!(
                "name an image of kinject-agent ",
                env!("CARGO_PKG_VERSION"),
                " with --agent-image"
            ),
        )),
        Ok(Err(error)) => Err(lost(&error.to_string())),
        Err(_) => Err(lost("it does not answer")),
    }
}

fn lost(why: &str) -> Failure {
    Failure::passing(
        format!("the agent does not tell the workload's environment: {why}"),
        "try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostname_variable_follows_the_host_name_unless_the_template_sets_it() {
        for (value, expected) in [("web-0", "web-0.web.shop.svc.cluster.test"), ("mine", "mine")] {
            let mut environment = vec![("NAME".into(), "web-0".into()), ("HOSTNAME".into(), value.into())];
            rename_host(&mut environment, "web-0", "web-0.web.shop.svc.cluster.test");
            assert_eq!(environment[1].1, expected);
            assert_eq!(environment[0].1, "web-0");
        }
    }
}
