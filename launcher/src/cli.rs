//! The command line.

use crate::agent_command::AgentCommand;
use crate::agent_image::AgentImageOptions;
use crate::forward_options::ForwardOptions;
use crate::rules::RuleOptions;
use crate::workload_environment::Format;
use crate::workload_options::WorkloadOptions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kinject_protocol::session::{KubernetesTarget, LogLevel, Target, TlsChoice, TransportChoice};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  # Run a local program as if it stood in the current context's namespace
  kinject run -- python app.py

  # Ask a service by its short name
  kinject run -- curl http://web/

  # Open a shell inside another namespace
  kinject shell --namespace staging

  # In that shell, run one command over this machine's own network
  kinject outside -- git pull

  # Reach the office's network from here, and see which way each connection goes
  kinject trace --local 10.20.0.0/16 --local '*.office.example' -- curl http://wiki.office.example/

  # Run a program with the environment, files and service account of a deployment
  kinject run --target deploy/web -- python app.py

  # Print the environment of a stateful set's container, for an IDE
  kinject env --target sts/db --container app --output dotenv

  # Reach a service and a deployment's pod at ports of this machine, for as long as the command runs
  kinject forward db 5432 deploy/web 8080:http

  # Use an agent that runs elsewhere, without any Kubernetes
  kinject run --agent tcp:10.1.2.3:7800 --agent-key secret.key -- curl http://web/
";

/// Run local programs as if they stood inside a Kubernetes cluster.
///
/// Names resolve as in the cluster and connections leave from the cluster, without root, VPN or daemon, and without a
/// change to the program.
#[derive(Debug, Parser)]
#[command(
    name = "kinject",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_override_self = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one of these")]
pub(crate) enum Command {
    #[command(flatten)]
    Session(SessionCommand),
    /// In a session, run a program outside of it, with its children; elsewhere, just run it.
    Outside {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Work with the agent that sessions bring to a cluster.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Print the version.
    Version {
        /// Print versions, hashes and sizes of all parts of kinject in this format.
        #[arg(short, long, value_enum, value_name = "FORMAT")]
        output: Option<VersionFormat>,
    },
    /// Print the script by which a shell completes kinject's commands and options.
    ///
    /// In ~/.bashrc: `source <(kinject completion bash)`. The packages of kinject install it.
    Completion {
        /// The shell.
        shell: CompletionShell,
    },
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    ManualPages {
        /// The folder.
        folder: PathBuf,
    },
}

/// The shells that can complete kinject's command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// How the version is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VersionFormat {
    /// An object with the parts of kinject.
    Json,
}

/// What to run in a session of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Run a program in a session of its own.
    ///
    /// The program's standard streams, terminal, signals and exit status are its own. kinject's own failures exit 125;
    /// a program that cannot be run 126, one that is not found 127. If a signal ended the program, kinject dies of it,
    /// too.
    Run {
        #[command(flatten)]
        session: SessionOptions,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run a program, and print a line for each connection and lookup: call, target, rule, way, result, time.
    Trace {
        #[command(flatten)]
        session: SessionOptions,
        /// Write the lines to a file instead of standard error.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Open your own shell in a session; it ends with the shell.
    Shell {
        #[command(flatten)]
        session: SessionOptions,
    },
    /// Reach services, pods and hosts of the cluster at ports of this machine, until Ctrl-C.
    ///
    /// A line on standard output says where each forward listens. Forwards go on when pods restart and when the
    /// connection to the cluster breaks. Who is not this user or root on this machine gets no connection.
    Forward(ForwardOptions),
    /// Print the environment of a workload's container, as a program in its place finds it.
    ///
    /// Variables that stay this machine's (PATH, HOME and the like) are not printed, unless --env-include names them.
    /// The status is 1 if the format could not hold a variable, which standard error names.
    Env {
        #[command(flatten)]
        session: SessionOptions,
        /// The format.
        #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Dotenv)]
        output: Format,
    },
}

/// The options of sessions with a program.
#[derive(Args, Debug)]
pub(crate) struct SessionOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten, next_help_heading = "In the place of a workload")]
    pub(crate) workload: WorkloadOptions,
    #[command(flatten, next_help_heading = None::<&'static str>)]
    pub(crate) rules: RuleOptions,
    /// What to do with programs that kinject cannot intercept: static ones, Go's, setuid ones.
    #[arg(long, value_enum, default_value_t = OnStatic::Warn)]
    pub(crate) on_static: OnStatic,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Which cluster, which agent.
#[derive(Args, Debug)]
pub(crate) struct ConnectionOptions {
    /// Namespace to run in; the context's own if not given.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The kubeconfig's context to use; the current one if not given.
    #[arg(long)]
    context: Option<String>,
    /// The kubeconfig file; KUBECONFIG and ~/.kube/config as with kubectl if not given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The user to impersonate.
    #[arg(long = "as", value_name = "USER")]
    impersonate_user: Option<String>,
    /// A group to impersonate; may be given several times.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate_user")]
    impersonate_groups: Vec<String>,
    #[command(flatten)]
    image: AgentImageOptions,
    /// The way to the agent's pod.
    #[arg(long, value_enum, default_value_t = Transport::Auto)]
    transport: Transport,
    /// Where the session speaks TLS with its agent.
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// An agent that runs already, unix:PATH or tcp:HOST:PORT; no Kubernetes is used then.
    #[arg(
        long,
        value_name = "ENDPOINT",
        requires = "agent_key",
        conflicts_with_all = ["namespace", "context", "kubeconfig", "impersonate_user", "host_image"]
    )]
    agent: Option<OsString>,
    /// The file with the secret that this agent was started with: at least 32 bytes, readable by its owner alone.
    #[arg(long, value_name = "FILE", requires = "agent")]
    agent_key: Option<PathBuf>,
}

/// How much to say.
#[derive(Args, Debug)]
pub(crate) struct OutputOptions {
    /// Log the session; twice: every call.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How much to log on standard error; `trace` is a line for each connection and lookup.
    #[arg(long, value_enum, value_name = "LEVEL", env = "KINJECT_LOG", default_value_t = Log::Warn)]
    log: Log,
    /// Print errors only.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    /// The API server's pod proxy where it works, otherwise port-forward.
    Auto,
    /// Only the API server's pod proxy.
    Proxy,
    /// Only port-forward.
    PortForward,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tls {
    /// Where a network would see its bytes in clear: through the pod proxy and over TCP.
    Auto,
    /// Everywhere, also through port-forward and over Unix sockets.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Log {
    /// What went wrong.
    Warn,
    /// What happens to the session.
    Info,
    /// What happens to each call.
    Debug,
    /// What is decided for each call.
    Trace,
}

/// What to do with programs into which the library is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStatic {
    /// Run them outside of the session and name them on standard error.
    Warn,
    /// Do not start them.
    Fail,
    /// Run them outside of the session.
    Ignore,
}

impl SessionCommand {
    /// The files that options name, with the options.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path)> {
        let (session, output) = match self {
            Self::Run { session, .. } | Self::Shell { session } | Self::Env { session, .. } => {
                (session, None)
            }
            Self::Trace { session, output, .. } => (session, output.as_deref()),
            Self::Forward(options) => return options.files(),
        };
        let output = output.map(|file| ("--output", file));
        let connection = session.connection.files().chain(output);
        let rules = session.rules.files().map(|file| ("--rules", file));
        let environments = session.workload.environment_files();
        let environments = environments.map(|(option, file, _)| (option, file));
        connection.chain(rules).chain(environments).collect()
    }
}

impl ConnectionOptions {
    /// The files that options name, with the options.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let socket = self
            .agent
            .as_deref()
            .and_then(|agent| agent.as_bytes().strip_prefix(b"unix:"))
            .map(OsStr::from_bytes);
        let others = [
            ("--kubeconfig", self.kubeconfig.as_deref()),
            ("--agent", socket.map(Path::new)),
            ("--agent-key", self.agent_key.as_deref()),
        ];
        others
            .into_iter()
            .filter_map(|(option, file)| Some((option, file?)))
    }
}

impl OutputOptions {
    /// Whether to say more than usual.
    pub(crate) fn verbose(&self) -> bool {
        self.log_level() > LogLevel::Warn
    }

    /// How much the relay logs: the most that a flag or the environment asks for.
    pub(crate) fn log_level(&self) -> LogLevel {
        let by_flag = match self.verbose {
            0 => LogLevel::Warn,
            1 => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        by_flag.max(match self.log {
            Log::Warn | Log::Trace => LogLevel::Warn,
            Log::Info => LogLevel::Info,
            Log::Debug => LogLevel::Debug,
        })
    }

    /// Whether a line for each decision is wanted.
    pub(crate) fn is_traced(&self) -> bool {
        self.log == Log::Trace
    }
}

impl ConnectionOptions {
    /// Whether the agent was started by hand, so that there is no Kubernetes.
    pub(crate) fn is_direct(&self) -> bool {
        self.agent.is_some()
    }

    /// Where the agent is. Paths become absolute: the relay works elsewhere.
    pub(crate) fn target(&self) -> std::io::Result<Target> {
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let tls = match self.tls {
            Tls::Auto => TlsChoice::Auto,
            Tls::Always => TlsChoice::Always,
        };
        if let (Some(endpoint), Some(key)) = (&self.agent, &self.agent_key) {
            let endpoint = match endpoint.as_bytes().strip_prefix(b"unix:") {
                Some(path) => {
                    let mut endpoint = OsString::from("unix:");
                    endpoint.push(std::path::absolute(OsStr::from_bytes(path))?);
                    endpoint
                }
                None => endpoint.clone(),
            };
            return Ok(Target::Direct {
                endpoint,
                key: absolute(key)?,
                tls,
            });
        }
        Ok(Target::Kubernetes(KubernetesTarget {
            kubeconfig: self.kubeconfig.as_ref().map(absolute).transpose()?,
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            impersonate_user: self.impersonate_user.clone(),
            impersonate_groups: self.impersonate_groups.clone(),
            agent_image: self.image.agent_image.clone(),
            host_image: self.image.host_image.clone(),
            workload: None,
            transport: match self.transport {
                Transport::Auto => TransportChoice::Auto,
                Transport::Proxy => TransportChoice::Proxy,
                Transport::PortForward => TransportChoice::PortForward,
            },
            tls,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_definition_passes_its_debug_assertions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_after_the_program_are_passed_to_the_program() {
        let cli = Cli::try_parse_from(["kinject", "run", "-n", "web", "curl", "-v", "--namespace"]).unwrap();
        let Command::Session(SessionCommand::Run { session, command }) = cli.command else {
            panic!("run is run")
        };
        assert_eq!(command, ["curl", "-v", "--namespace"]);
        assert_eq!(session.connection.namespace.as_deref(), Some("web"));
        assert!(!session.output.verbose());
    }

    #[test]
    fn repeated_flag_uses_the_last_value() {
        let cli = Cli::try_parse_from(["kinject", "run", "-n", "one", "--namespace", "two", "true"]).unwrap();
        let Command::Session(SessionCommand::Run { session, .. }) = cli.command else {
            panic!("run is run")
        };
        assert_eq!(session.connection.namespace.as_deref(), Some("two"));
    }

    #[test]
    fn unknown_flag_is_an_error_and_not_a_program() {
        assert!(Cli::try_parse_from(["kinject", "run", "--no-such-flag", "curl"]).is_err());
        assert!(Cli::try_parse_from(["kinject", "run", "--", "--no-such-flag"]).is_ok());
    }

    #[test]
    fn agent_flag_requires_agent_key_and_excludes_cluster_flags() {
        assert!(Cli::try_parse_from(["kinject", "shell", "--agent", "unix:/a"]).is_err());
        let both = [
            "kinject",
            "shell",
            "--agent",
            "unix:/a",
            "--agent-key",
            "k",
            "--context",
            "c",
        ];
        assert!(Cli::try_parse_from(both).is_err());
        assert!(Cli::try_parse_from(["kinject", "run"]).is_err());
    }
}
