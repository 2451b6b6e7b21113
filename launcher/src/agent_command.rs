//! `kinject agent`: what kinject carries into clusters, as an image for those who want one of their own.

use crate::agent_image::AgentImageOptions;
use crate::exit::{Failure, Status};
use crate::{folder, installation, output, relay};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kinject_bundle::{Architecture, CarriedAgent};
use kinject_image::Image;
use kinject_protocol::session::KubernetesTarget;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

const PROGRAM: &str = "kinject-agent";

/// What to do with the agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make an image of the agent, without a container engine.
    ///
    /// A session uses it with --agent-image.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print the objects that a session makes in its namespace, as YAML for review.
    ///
    /// No cluster is asked. A session runs a carried agent in the image of a pod of the namespace, if there is one.
    Manifest {
        #[command(flatten)]
        image: AgentImageOptions,
        /// Write the bytes of the carried agent, too.
        #[arg(long)]
        data: bool,
    },
}

/// Where the image goes.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Write the image to a file, in the form that `docker load` and `ctr images import` take.
    Save {
        /// The file; - is standard output.
        file: PathBuf,
        /// The nodes' architecture; this machine's if not given.
        #[arg(long, value_parser = architecture())]
        architecture: Option<Architecture>,
    },
    /// Push the image to a registry, with the credentials of `docker login`.
    Push {
        /// The image's name there: REGISTRY/NAME:TAG.
        #[arg(value_name = "REGISTRY/NAME:TAG")]
        name: String,
        /// Speak to the registry without TLS, and to its token server if that has none.
        #[arg(long)]
        plain_http: bool,
    },
}

/// Reads an architecture's name, of which help and completions list all.
fn architecture() -> impl TypedValueParser<Value = Architecture> {
    PossibleValuesParser::new(Architecture::ALL.map(Architecture::kubernetes_name))
        .try_map(|name| name.parse::<Architecture>())
}

/// Runs the command.
pub(crate) fn run(command: &AgentCommand) -> Result<Status, Failure> {
    match command {
        AgentCommand::Image(ImageCommand::Save { file, architecture }) => save(file, *architecture),
        AgentCommand::Image(ImageCommand::Push { name, plain_http }) => {
            let pushed = relay::push_image(name, *plain_http)?;
            output::print(format!("{pushed}\n").as_bytes())
        }
        AgentCommand::Manifest { image, data } => {
            let target = KubernetesTarget {
                agent_image: image.agent_image.clone(),
                host_image: image.host_image.clone(),
                ..KubernetesTarget::default()
            };
            output::print(relay::manifest(&target, *data)?.as_bytes())
        }
    }
}

fn save(file: &Path, architecture: Option<Architecture>) -> Result<Status, Failure> {
    let agents = kinject_bundle::carried_agents(&installation::folder()?)
        .map_err(|error| Failure::own(error.to_string(), "install kinject again"))?;
    let agent = select(&agents, architecture)?;
    let executable = agent.unpack().map_err(|error| {
        Failure::own(
            format!("cannot unpack the agent: {error}"),
            "install kinject again",
        )
    })?;
    let name = format!("{PROGRAM}:{}", env!("CARGO_PKG_VERSION"));
    let archive = Image::of_program(&name, PROGRAM, executable)
        .to_archive(agent.architecture.kubernetes_name())
        .map_err(|error| Failure::own(format!("cannot make the image: {error}"), "install kinject again"))?;
    if file != Path::new("-") {
        return write(file, &archive.bytes);
    }
    if std::io::stdout().is_terminal() {
        return Err(Failure::own(
            "standard output is a terminal, and an image is no text",
            "name a file, or write `kinject agent image save - | docker load`",
        ));
    }
    output::print(&archive.bytes)
}

/// The agent for these nodes, or for nodes like this machine.
fn select(agents: &[CarriedAgent], architecture: Option<Architecture>) -> Result<&CarriedAgent, Failure> {
    let wanted = architecture.or_else(Architecture::of_this_machine);
    let agent = agents.iter().find(|agent| Some(agent.architecture) == wanted);
    agent.ok_or_else(|| {
        let carried: Vec<&str> = agents
            .iter()
            .map(|agent| agent.architecture.kubernetes_name())
            .collect();
        let name = wanted.map_or(std::env::consts::ARCH, Architecture::kubernetes_name);
        match carried.as_slice() {
            [] => Failure::own(
                "this kinject carries no agent",
                "use a released kinject, or run `cargo xtask agent`",
            ),
            carried => Failure::own(
                format!("this kinject carries no agent for {name}"),
                &format!("choose one with --architecture: {}", carried.join(", ")),
            ),
        }
    })
}

/// Writes all of it, or leaves what was there before: a file gets its name when it is complete.
fn write(file: &Path, content: &[u8]) -> Result<Status, Failure> {
    let written = match std::fs::metadata(file) {
        // a link's target is written, and the link stays
        Ok(found) if found.is_file() => file
            .canonicalize()
            .and_then(|target| replace(&target, Some(found.permissions()), content)),
        // a device or a pipe is written to, not replaced
        Ok(_) => File::options()
            .write(true)
            .open(file)
            .and_then(|mut device| device.write_all(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => replace(file, None, content),
        Err(error) => Err(error),
    };
    written.map_err(|error| {
        Failure::own(
            format!("cannot write {}: {error}", kinject_escape::path(file)),
            "name a file in a folder that can be written to, on a disk that is not full",
        )
    })?;
    Ok(Status::Exited(0))
}

/// Writes to a temporary name beside the file, and renames.
fn replace(file: &Path, permissions: Option<Permissions>, content: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().ok_or(ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".{}", folder::random_name()?));
    let unfinished = file.with_file_name(name);
    let mut image = File::create_new(&unfinished)?;
    let written = image
        .write_all(content)
        .and_then(|()| match permissions {
            Some(permissions) => image.set_permissions(permissions),
            None => Ok(()),
        })
        .and_then(|()| std::fs::rename(&unfinished, file));
    if written.is_err() {
        let _gone = std::fs::remove_file(&unfinished).is_err();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(architecture: Architecture) -> CarriedAgent {
        CarriedAgent {
            architecture,
            loader: b"".into(),
            packed: b"".into(),
            sha256: [0; 32],
        }
    }

    #[test]
    fn missing_architecture_is_an_error_that_names_the_carried_ones() {
        use Architecture::{Amd64, Arm64};
        let both = [agent(Amd64), agent(Arm64)];
        assert_eq!(select(&both, Some(Arm64)).unwrap().architecture, Arm64);
        let failure = select(&both[..1], Some(Arm64)).unwrap_err();
        assert_eq!(failure.error, "this kinject carries no agent for arm64");
        assert_eq!(
            failure.hint.as_deref(),
            Some("choose one with --architecture: amd64")
        );
        let failure = select(&[], None).unwrap_err();
        assert_eq!(failure.error, "this kinject carries no agent");
    }
}
