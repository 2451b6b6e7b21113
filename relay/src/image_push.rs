//! `kinject agent image push`: the carried agents as an image in a registry, by the OCI distribution protocol.
//!
//! The credentials are those of `docker login`, from its configuration or the helper that it names ([`docker`]). They
//! go to the registry, and to the token server that it names, only with TLS ([`authorization`]).

mod authorization;
mod challenge;
mod docker;
mod failure;
mod image;
mod registry;

use crate::description;
use anyhow::{Context, bail};
use docker::credentials;
use failure::{report_panic, say};
use futures::FutureExt;
use image::AgentImage;
use kinject_bundle::CarriedAgent;
use kinject_protocol::description::RelayAnswer;
use kinject_protocol::session::Report;
use oci_client::Reference;
use registry::Registry;
use std::ffi::OsStr;
use std::io;
use std::panic::AssertUnwindSafe;

/// What to do about a name that is not complete.
const WRITE_NAME: &str = concat!(
    "write REGISTRY/NAME:TAG, for example registry.example.com/kinject-agent:",
    env!("CARGO_PKG_VERSION")
);

/// Pushes the image of the agents that this relay has, and tells the launcher the result.
pub(crate) fn answer(name: &OsStr, plain_http: bool) -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("TLS is provided for already");
    }
    let agents = description::carried_agents()?;
    let name = name.to_str().context("the image's name is not UTF-8")?;
    let pushed = crate::runtime()?.block_on(push(name, &agents, plain_http));
    description::answer(&match pushed {
        Ok(image) => RelayAnswer::Done(image),
        Err(report) => RelayAnswer::Failed(report),
    })
}

/// Pushes an image of the agents under a name, and gives the name with the image's digest.
pub(crate) async fn push(name: &str, agents: &[CarriedAgent], plain_http: bool) -> Result<String, Report> {
    let reference = parse(name)?;
    if agents.is_empty() {
        return Err(say(
            "this kinject carries no agent",
            "use a released kinject, or run `cargo xtask agent`",
        ));
    }
    let credentials = credentials(reference.registry())?;
    let images = agents
        .iter()
        .map(|agent| AgentImage::new(&reference, agent))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| say(format!("cannot make the image: {error}"), "install kinject again"))?;
    let largest = images.iter().map(AgentImage::size).max();
    let registry =
        Registry::connect(reference.clone(), plain_http, largest.unwrap_or(0), credentials).await?;
    // the client panics at some answers: at an address that is none, and at a token that no header can hold
    match AssertUnwindSafe(registry.push(&images)).catch_unwind().await {
        Ok(pushed) => pushed,
        Err(panic) => Err(report_panic(&reference, &*panic)),
    }
}

/// The name of an image in a registry, with a tag. A shorter one would mean Docker Hub and the tag `latest`, as for
/// docker. A push has to name both.
fn parse(name: &str) -> Result<Reference, Report> {
    let reference: Reference = name
        .parse()
        .map_err(|error| say(format!("{name} is no name of an image: {error}"), WRITE_NAME))?;
    if reference.digest().is_some() {
        return Err(say(
            format!("{name} names an image by its digest, which the registry computes"),
            WRITE_NAME,
        ));
    }
    if !names_registry(name) {
        return Err(say(format!("{name} names no registry"), WRITE_NAME));
    }
    if !has_tag(name) {
        return Err(say(format!("{name} has no tag"), WRITE_NAME));
    }
    Ok(reference)
}

/// Whether the first part of a name is a host, by docker's rule.
fn names_registry(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(host, _)| host == "localhost" || host.contains(['.', ':']))
}

fn has_tag(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(name: &str) -> String {
        let report = push(name, &[], false).await.unwrap_err();
        assert_eq!(report.hint.as_deref(), Some(WRITE_NAME), "{report:?}");
        report.message
    }

    #[tokio::test]
    async fn name_that_is_no_image_reference_is_refused_before_anything_is_sent() {
        for name in [
            "",
            "registry.example/UPPER:tag",
            "registry.example/name:",
            "registry.example/a@sha256:0",
        ] {
            let message = refusal(name).await;
            assert!(message.contains("is no name of an image"), "{name}: {message}");
        }
    }

    #[tokio::test]
    async fn name_without_a_registry_or_a_tag_is_refused() {
        for name in ["kinject-agent", "kinject-agent:1", "team/kinject-agent:1"] {
            assert_eq!(refusal(name).await, format!("{name} names no registry"));
        }
        for name in [
            "registry.example/kinject-agent",
            "registry.example:5000/team/kinject-agent",
            "localhost/kinject-agent",
        ] {
            assert_eq!(refusal(name).await, format!("{name} has no tag"));
        }
        for name in [
            "registry.example/kinject-agent:1",
            "localhost:5000/team/kinject-agent:1",
            "localhost/kinject-agent:1",
            "docker.io/team/kinject-agent:1",
        ] {
            assert_eq!(parse(name).unwrap().tag(), Some("1"), "{name}");
        }
    }
}
