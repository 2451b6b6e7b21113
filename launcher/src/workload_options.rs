//! The options about the workload in whose place a session's programs run.

use crate::exit::Failure;
use crate::workload_environment::{EnvironmentFile, EnvironmentRules, Format, NamePattern, Variables};
use clap::{Args, ValueEnum};
use kinject_protocol::workload::{WorkloadKind, WorkloadName, WorkloadRequest};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which workload's place programs take, and what of it they find.
#[derive(Args, Debug, Default)]
pub(crate) struct WorkloadOptions {
    /// The workload whose environment, files and service account the program finds, as kubectl names it: deploy/web,
    /// sts/db, ds/NAME, job/NAME, cronjob/NAME, rollout/NAME, rs/NAME, pod/web-0; a bare NAME is a deployment.
    #[arg(short, long, value_name = "TYPE/NAME", conflicts_with_all = ["deployment", "agent"])]
    target: Option<String>,
    /// The workload's container; if not given, the one that kubectl takes by default, or the first that is no known
    /// side-car.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// A deployment and its container: another form of --target and --container.
    #[arg(long, value_name = "NAME[:CONTAINER]", conflicts_with = "agent")]
    deployment: Option<String>,
    /// What the program finds of the workload's environment.
    #[arg(long, value_enum, value_name = "WHAT")]
    env: Option<EnvironmentSource>,
    /// Take variables of the workload that stay this machine's otherwise, such as JAVA_HOME or 'LC_*'; may be given
    /// several times.
    #[arg(long, value_name = "GLOB")]
    env_include: Vec<OsString>,
    /// Leave variables of the workload out, such as 'HTTP*_PROXY'; may be given several times.
    #[arg(long, value_name = "GLOB")]
    env_exclude: Vec<OsString>,
    /// Set a variable; NAME alone takes this machine's value. May be given several times, and needs no workload.
    #[arg(short = 'e', value_name = "NAME=VALUE")]
    set: Vec<OsString>,
    /// Do not set a variable; may be given several times, and needs no workload.
    #[arg(long, value_name = "NAME")]
    unset: Vec<OsString>,
    /// Write the workload's variables to a .env file while the session runs.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The same as JSON.
    #[arg(long, value_name = "FILE")]
    env_json: Option<PathBuf>,
    /// Read the variables from the running container's first process, with a right to exec into it: what an entry point
    /// has exported is there as well.
    #[arg(long)]
    exec_env: bool,
    /// What the program finds of the container's files.
    #[arg(long, value_enum, value_name = "WHAT")]
    files: Option<FileSource>,
    /// Read other paths from the container, too: an absolute path or glob, with what lies below; may be given several
    /// times.
    #[arg(long = "remote-path", value_name = "GLOB")]
    remote_paths: Vec<OsString>,
    /// Read paths from this machine, whatever is mounted there in the container; may be given several times.
    #[arg(long = "local-path", value_name = "GLOB")]
    local_paths: Vec<OsString>,
    /// Let programs and libraries of the container's files be started here.
    #[arg(long)]
    remote_exec: bool,
    /// The host name that the program sees: the pod's, or in `kinject shell` this machine's, if not given.
    #[arg(long, value_enum, value_name = "WHOSE")]
    hostname: Option<Hostname>,
}

/// `--env`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EnvironmentSource {
    /// This machine's environment alone.
    None,
    /// The workload's, over this machine's.
    Workload,
}

/// `--files`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileSource {
    /// This machine's files alone.
    None,
    /// The container's mounts stand at their paths.
    Mounts,
}

/// `--hostname`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hostname {
    /// That of the agent's pod.
    Pod,
    /// This machine's.
    Local,
}

impl WorkloadOptions {
    /// What to ask the relay for; none if no workload is named. Refuses options that need one then.
    pub(crate) fn request(&self) -> Result<Option<WorkloadRequest>, Failure> {
        let Some((workload, container)) = self.workload()? else {
            return match self.first_that_needs_workload() {
                Some(option) => Err(Failure::own(
                    format!("{option} needs a workload"),
                    "name it with --target, as in `--target deploy/web`",
                )),
                None => Ok(None),
            };
        };
        let paths = |option: &str, globs: &[OsString]| {
            let checked = globs.iter().map(|glob| path_glob(option, glob).cloned());
            checked.collect::<Result<Vec<_>, _>>()
        };
        Ok(Some(WorkloadRequest {
            workload,
            container,
            files: self.files != Some(FileSource::None),
            remote_paths: paths("--remote-path", &self.remote_paths)?,
            local_paths: paths("--local-path", &self.local_paths)?,
            exec_environment: self.exec_env,
        }))
    }

    /// Whose host name programs see.
    pub(crate) fn hostname(&self, default: Hostname) -> Hostname {
        self.hostname.unwrap_or(default)
    }

    /// Whether programs of the container may be started.
    pub(crate) fn remote_exec(&self) -> bool {
        self.remote_exec
    }

    /// What programs find in their environment; `-e NAME` takes the value from `machine`.
    pub(crate) fn rules(&self, hostname: Hostname, machine: &Variables) -> Result<EnvironmentRules, Failure> {
        let include = self
            .env_include
            .iter()
            .map(|glob| NamePattern::parse_included("--env-include", glob));
        let exclude = self
            .env_exclude
            .iter()
            .map(|glob| NamePattern::parse("--env-exclude", glob));
        let set = self.set.iter().map(|text| assignment(text, machine));
        let unset = self.unset.iter().map(|name| match is_settable(name) {
            true => Ok(name.clone()),
            false => Err(no_name("--unset", name)),
        });
        Ok(EnvironmentRules {
            without_workload: self.env == Some(EnvironmentSource::None),
            include: include.collect::<Result<_, _>>()?,
            exclude: exclude.collect::<Result<_, _>>()?,
            keeps_hostname: hostname == Hostname::Local,
            unset: unset.collect::<Result<BTreeSet<_>, _>>()?,
            set: set.collect::<Result<Variables, _>>()?,
        })
    }

    /// The files that the workload's variables are written to, with their options.
    pub(crate) fn environment_files(&self) -> impl Iterator<Item = (&'static str, &Path, Format)> {
        [
            ("--env-file", self.env_file.as_deref(), Format::Dotenv),
            ("--env-json", self.env_json.as_deref(), Format::Json),
        ]
        .into_iter()
        .filter_map(|(option, file, format)| Some((option, file?, format)))
    }

    /// Refuses files that cannot be written before anything is made for them.
    pub(crate) fn check_files(&self) -> Result<(), Failure> {
        if self.env_file.is_some() && self.env_file == self.env_json {
            return Err(Failure::own(
                "--env-file and --env-json name the same file",
                "give each a file of its own",
            ));
        }
        self.environment_files()
            .try_for_each(|(option, file, format)| EnvironmentFile::check(option, file, format))
    }

    /// The workload and its container, by either form.
    fn workload(&self) -> Result<Option<(WorkloadName, Option<String>)>, Failure> {
        if self.container.as_deref() == Some("") {
            return Err(Failure::own(
                "--container has no name",
                "name a container of the workload, or leave the option out",
            ));
        }
        if let Some(target) = &self.target {
            let workload =
                target
                    .parse()
                    .map_err(|error: kinject_protocol::workload::WorkloadNameError| {
                        Failure::own(
                            format!("--target {}: {}", shown(target), error.reason()),
                            error.advice(),
                        )
                    })?;
            return Ok(Some((workload, self.container.clone())));
        }
        let Some(deployment) = &self.deployment else {
            return Ok(None);
        };
        let (name, container) = match deployment.split_once(':') {
            Some((name, container)) => (name, Some(container)),
            None => (deployment.as_str(), None),
        };
        let workload = WorkloadName {
            kind: WorkloadKind::Deployment,
            name: name.to_owned(),
        };
        if name.parse::<WorkloadName>() != Ok(workload.clone()) || container == Some("") {
            return Err(Failure::own(
                format!("--deployment {}: no name of a deployment", shown(deployment)),
                "write NAME or NAME:CONTAINER; other types of workloads are for --target",
            ));
        }
        if container.is_some() && self.container.is_some() {
            return Err(Failure::own(
                format!("--deployment {} names a container already", shown(deployment)),
                "leave --container out",
            ));
        }
        let container = container.map(str::to_owned).or_else(|| self.container.clone());
        Ok(Some((workload, container)))
    }

    fn first_that_needs_workload(&self) -> Option<&'static str> {
        [
            ("--container", self.container.is_some()),
            ("--env", self.env.is_some()),
            ("--env-include", !self.env_include.is_empty()),
            ("--env-exclude", !self.env_exclude.is_empty()),
            ("--env-file", self.env_file.is_some()),
            ("--env-json", self.env_json.is_some()),
            ("--exec-env", self.exec_env),
            ("--files", self.files.is_some()),
            ("--remote-path", !self.remote_paths.is_empty()),
            ("--local-path", !self.local_paths.is_empty()),
            ("--remote-exec", self.remote_exec),
            ("--hostname", self.hostname.is_some()),
        ]
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option))
    }
}

/// The value of `-e`.
fn assignment(text: &OsStr, machine: &Variables) -> Result<(OsString, OsString), Failure> {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b'=');
    let name = OsStr::from_bytes(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
    if !is_settable(name) {
        return Err(no_name("-e", name));
    }
    let value = match end.and_then(|end| bytes.get(end + 1..)) {
        Some(value) => OsStr::from_bytes(value).to_owned(),
        None => machine.get(name).cloned().ok_or_else(|| {
            let name = shown_bytes(name);
            Failure::own(
                format!("-e {name}: {name} is not set on this machine"),
                &format!("write `-e {name}=VALUE`, or `--unset {name}` for no value"),
            )
        })?,
    };
    Ok((name.to_owned(), value))
}

fn is_settable(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && !bytes.contains(&b'=') && !bytes.starts_with(b"KINJECT_")
}

fn no_name(option: &str, name: &OsStr) -> Failure {
    if name.as_bytes().starts_with(b"KINJECT_") {
        return Failure::own(
            format!(
                "{option} {}: variables KINJECT_* are kinject's own",
                shown_bytes(name)
            ),
            "leave it out",
        );
    }
    Failure::own(
        format!("{option} {}: no name of a variable", shown_bytes(name)),
        "write `-e NAME=VALUE` or `--unset NAME`",
    )
}

/// A path or glob of paths, as the session's table of paths can hold it.
fn path_glob<'a>(option: &str, glob: &'a OsString) -> Result<&'a OsString, Failure> {
    let bytes = glob.as_bytes();
    let refused = |why: &str, hint: &str| {
        Err(Failure::own(
            format!("{option} {}: {why}", shown_bytes(glob)),
            hint,
        ))
    };
    let mut components = bytes
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty());
    if !bytes.starts_with(b"/") {
        return refused(
            "not an absolute path",
            "begin it with a slash, as in '/app/*.yaml' or /etc/ssl/certs",
        );
    }
    if bytes.contains(&b':') {
        return refused(
            "a colon cannot stand in a path of a session",
            "write `?` in its place, which stands for any byte",
        );
    }
    if components
        .clone()
        .any(|component| matches!(component, b"." | b".."))
    {
        return refused(
            "`.` and `..` are no part of a path's name",
            "write the path without them",
        );
    }
    if components.all(|component| component.iter().all(|byte| *byte == b'*')) {
        return refused("all paths match", "name the folders that are meant");
    }
    Ok(glob)
}

fn shown(text: &str) -> String {
    kinject_escape::line(text)
}

fn shown_bytes(text: &OsStr) -> String {
    kinject_escape::bytes(text.as_bytes())
}

#[cfg(test)]
mod tests;
