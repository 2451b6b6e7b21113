//! The workload on the real cluster, and a session in its place.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kinject_tests::cluster::{Cluster, Namespace, wait_for};
use kinject_tests::packages::succeed;
use kinject_tests::programs::Program;
use kinject_tests::{apart, carried, proofs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::objects::{APP, KeyPair, MACHINE, SCRATCH, VALUES, config_maps, objects};

/// How long pods and sessions may take to be up.
const STARTED: Duration = Duration::from_secs(90);

/// The folder in the emptyDir that a program works in.
pub(crate) const WORK: &str = "work";

/// What programs of this machine need, beside the workspace: programs, libraries, and their own settings.
const TOOLS: &[&str] = &[
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
    "/etc/group",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/nginx/mime.types",
    "/etc/passwd",
    "/etc/ssl",
];

/// A workload and a session, which end with this value.
pub(crate) struct Stage {
    // fields are dropped in this order
    session: Session,
    namespace: Namespace,
    cluster: Cluster,
    pod: String,
    _data: TempDir,
}

/// `kinject run`, and the environment of its program.
struct Session {
    launcher: Child,
    environment: BTreeMap<String, String>,
}

impl Stage {
    /// Makes all of it.
    pub(crate) fn set() -> Result<Self> {
        let Some(cluster) = Cluster::running()? else {
            bail!("no cluster is up: run `cargo xtask cluster up`");
        };
        let Some(kinject) = carried::kinject() else {
            bail!("no agent is packed: run `cargo xtask agent`");
        };
        // containers of it have this machine's folders
        let namespace = cluster.namespace("programs", "privileged")?;
        let data = data()?;
        let mut all = objects(namespace.name(), &key_pair(data.path())?, data.path(), &tools()?);
        all.extend(config_maps(VALUES[0]));
        apply(&cluster, namespace.name(), all)?;
        let pod = wait_for("the workload's pod", STARTED, || {
            Ok(cluster.pod_of(namespace.name(), &format!("app={APP}")).ok())
        })?;
        let session = Session::start(kinject, &cluster, namespace.name())?;
        Ok(Self {
            session,
            namespace,
            cluster,
            pod,
            _data: data,
        })
    }

    /// A program in the container that has this machine's programs.
    pub(crate) fn bare(&self, program: &Program, variables: &[(String, String)]) -> Command {
        self.bare_in(&work(), program, variables)
    }

    fn bare_in(&self, folder: &str, program: &Program, variables: &[(String, String)]) -> Command {
        let mut kubectl = self.cluster.kubectl_command();
        kubectl.args(["--namespace", self.namespace.name(), "exec", &self.pod]);
        kubectl.args(["--container", MACHINE, "--", "/usr/bin/env", "--chdir", folder]);
        kubectl.args(
            self.variables(variables)
                .map(|(name, value)| format!("{name}={value}")),
        );
        kubectl.arg(&program.path).args(&program.arguments);
        kubectl
    }

    /// A program in the session, as a child of the session's first program would be.
    pub(crate) fn injected(&self, program: &Program, variables: &[(String, String)]) -> Command {
        self.injected_in(&work(), program, variables)
    }

    fn injected_in(&self, folder: &str, program: &Program, variables: &[(String, String)]) -> Command {
        // the folder to work in exists for programs of the session alone
        let mut command = Command::new("/usr/bin/env");
        command.args(["--chdir", folder]);
        command.arg(&program.path).args(&program.arguments);
        command.env_clear().envs(&self.session.environment);
        command.envs(self.variables(variables));
        command
    }

    /// A program on this machine, without kinject.
    pub(crate) fn local(&self, program: &Program, variables: &[(String, String)]) -> Command {
        let mut command = program.command();
        // the folder to work in is the session's
        command
            .current_dir("/tmp")
            .envs(self.variables(variables))
            .env("TMPDIR", "/tmp");
        command
    }

    /// The variables that are the same both ways: all that a program may look at and a container has otherwise.
    fn variables<'a>(
        &self,
        more: &'a [(String, String)],
    ) -> impl Iterator<Item = (String, String)> + use<'a> {
        let path = std::env::var("PATH").unwrap_or_default();
        let own = [
            ("PATH", path),
            ("WORK", work()),
            ("HOME", work()),
            ("TMPDIR", work()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.into_iter().chain(more.iter().cloned())
    }

    /// Changes the ConfigMaps; both kubelets' volumes follow at once, since their pods change.
    pub(crate) fn change(&self, value: &str) -> Result<()> {
        apply(&self.cluster, self.namespace.name(), config_maps(value))?;
        let namespace = ["--namespace", self.namespace.name()];
        let touched = format!("touched={value}");
        let annotate = ["annotate", "--overwrite", "pods", "--all", &touched];
        self.cluster.kubectl(&[&namespace[..], &annotate].concat())?;
        Ok(())
    }

    /// Puts back the first values, and waits until both sides have them and an empty folder to work in.
    pub(crate) fn reset(&self) -> Result<()> {
        self.change(VALUES[0])?;
        let line = format!(
            "rm -rf '{0}' && mkdir '{0}' && \
             grep -q {1} /etc/config/greeting && grep -q {1} /etc/nginx/conf.d/site.conf",
            work(),
            VALUES[0]
        );
        let reset = Program::new("/bin/sh").args(["-c", &line]);
        for mut command in [self.bare_in("/", &reset, &[]), self.injected_in("/", &reset, &[])] {
            wait_for("the first values", STARTED, || {
                let output = command.stdin(Stdio::null()).output()?;
                Ok(output.status.success().then_some(()))
            })?;
        }
        Ok(())
    }
}

fn work() -> String {
    format!("{SCRATCH}/{WORK}")
}

fn apply(cluster: &Cluster, namespace: &str, objects: Vec<Value>) -> Result<()> {
    let objects = objects.into_iter().map(|mut object| {
        object["metadata"]["namespace"] = json!(namespace);
        object
    });
    let objects: Vec<_> = objects.collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())?;
    Ok(())
}

/// The paths that the programs need, of which some are not on every machine.
fn tools() -> Result<Vec<PathBuf>> {
    let mut tools: Vec<PathBuf> = TOOLS
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    tools.push(workspace);
    tools.push(proofs::folder().canonicalize()?);
    let interpreter = kinject_tests::programs::interpreter();
    let folder = interpreter
        .ancestors()
        .nth(2)
        .context("python3 stands in a folder")?;
    if !folder.starts_with("/usr") {
        tools.push(folder.to_owned());
    }
    tools.sort();
    let all = tools.clone();
    tools.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    Ok(tools)
}

/// A folder for a volume that is no ConfigMap: pages, a repository, links.
fn data() -> Result<TempDir> {
    let data = TempDir::new_in(proofs::folder())?;
    let path = data.path();
    fs::create_dir(path.join("www"))?;
    fs::write(path.join("www/index.html"), "<p>hello</p>\n")?;
    let mut large = fs::File::create(path.join("large.txt"))?;
    for line in 0..200_000 {
        writeln!(large, "line {line}")?;
    }
    symlink("large.txt", path.join("link"))?;
    symlink("nowhere", path.join("broken"))?;
    let repository = path.join("repository");
    fs::create_dir_all(repository.join("folder"))?;
    fs::write(repository.join("folder/file"), "text\n".repeat(100))?;
    fs::write(repository.join("readme"), "read me\n")?;
    let script = "git init -q -b main && git add . && git commit -qm first && echo more >> readme && \
                  git commit -qam second && git gc -q";
    let mut git = Command::new("sh");
    git.args(["-c", script]).current_dir(&repository);
    for (name, value) in [
        ("NAME", "a"),
        ("EMAIL", "a@example.com"),
        ("DATE", "2026-01-01T00:00:00Z"),
    ] {
        git.env(format!("GIT_AUTHOR_{name}"), value)
            .env(format!("GIT_COMMITTER_{name}"), value);
    }
    succeed(&mut git)?;
    Ok(data)
}

/// A certificate for this machine's own name, which is its own authority.
fn key_pair(folder: &Path) -> Result<KeyPair> {
    let (key, certificate) = (folder.join("key"), folder.join("certificate"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]);
    openssl.args([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]);
    openssl
        .args(["-days", "30", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    succeed(&mut openssl)?;
    let pair = KeyPair {
        key: fs::read_to_string(&key)?,
        certificate: fs::read_to_string(&certificate)?,
    };
    fs::remove_file(key)?;
    fs::remove_file(certificate)?;
    Ok(pair)
}

impl Session {
    fn start(kinject: &Path, cluster: &Cluster, namespace: &str) -> Result<Self> {
        let file = TempDir::new_in(proofs::folder())?;
        let file = file.path().join("environment");
        let mut command = apart::command(kinject);
        // a container has none of this machine's other variables
        command.env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.args(["run", "--kubeconfig"]).arg(cluster.kubeconfig());
        command.args([
            "--namespace",
            namespace,
            "--target",
            &format!("deployment/{APP}"),
            "--container",
            APP,
        ]);
        command.args(["--remote-path", "/opt/of-the-image"]);
        // written completely, then renamed
        command
            .args([
                "--",
                "sh",
                "-c",
                "env -0 > \"$0.new\" && mv \"$0.new\" \"$0\" && exec cat",
            ])
            .arg(&file);
        let mut launcher = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let text = wait_for("the session", STARTED, || {
            if let Some(status) = launcher.try_wait()? {
                bail!("the session ended with {status}");
            }
            Ok(fs::read_to_string(&file).ok())
        })?;
        let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
        let environment = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            launcher,
            environment,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // the end of its input ends the program, and with it the session
        drop(self.launcher.stdin.take());
        if let Err(error) = self.launcher.wait() {
            eprintln!("cannot wait for the session: {error}");
        }
    }
}
