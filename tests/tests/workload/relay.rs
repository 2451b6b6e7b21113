//! A session of the relay alone, by the protocol that the launcher speaks with it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinject_protocol::session::{
    Event, KubernetesTarget, LogLevel, Order, Report, SessionConfig, Target, TransportChoice, from_line,
    to_line,
};
use kinject_protocol::workload::{Workload, WorkloadRequest};
use kinject_tests::binaries;
use tempfile::TempDir;

/// How long the relay may take for an event.
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay whose session is up.
pub(crate) struct RelaySession {
    relay: Child,
    launcher: UnixStream,
    events: BufReader<UnixStream>,
    /// What it found of the workload.
    pub(crate) workload: Workload,
    /// What it told the user on the way.
    pub(crate) notices: Vec<Report>,
    folder: TempDir,
}

/// A session that did not come up.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) report: Report,
}

impl Refused {
    /// All of its words.
    pub(crate) fn words(&self) -> String {
        format!(
            "{}\nhint: {}",
            self.report.message,
            self.report.hint.as_deref().unwrap_or_default()
        )
    }
}

/// A request for a workload, with its files.
pub(crate) fn request(workload: &str) -> WorkloadRequest {
    WorkloadRequest {
        workload: workload.parse().unwrap(),
        container: None,
        files: true,
        remote_paths: Vec::new(),
        local_paths: Vec::new(),
        exec_environment: false,
    }
}

/// Where and as whom a session is started.
pub(crate) struct Start<'a> {
    /// The kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The namespace.
    pub(crate) namespace: &'a str,
    /// The folder of the relay.
    pub(crate) programs: PathBuf,
    /// An image that holds the agent.
    pub(crate) agent_image: Option<String>,
    /// An image for a carried agent.
    pub(crate) host_image: Option<String>,
}

impl RelaySession {
    /// Starts a session.
    pub(crate) fn start(start: &Start<'_>, request: WorkloadRequest) -> Result<Self, Refused> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
        let name = format!("{:08x}", u32::from_ne_bytes(random));
        let session_folder = folder.path().join(&name);
        fs::create_dir(&session_folder).unwrap();
        fs::set_permissions(&session_folder, fs::Permissions::from_mode(0o700)).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut relay = Command::new(start.programs.join("kinject-relay"))
            .stdin(OwnedFd::from(theirs))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let config = SessionConfig {
            session: name,
            folder: session_folder,
            library: binaries::path("libkinject_preload.so"),
            target: Target::Kubernetes(KubernetesTarget {
                kubeconfig: Some(start.kubeconfig.clone()),
                namespace: Some(start.namespace.to_owned()),
                agent_image: start.agent_image.clone(),
                host_image: start.host_image.clone(),
                workload: Some(request),
                transport: TransportChoice::Auto,
                ..KubernetesTarget::default()
            }),
            log: LogLevel::Info,
            rules: Vec::new(),
            trace: None,
            forward: None,
        };
        let mut launcher = ours;
        launcher.set_read_timeout(Some(PATIENCE)).unwrap();
        launcher
            .write_all(to_line(&Order::Start(Box::new(config))).as_bytes())
            .unwrap();
        let mut events = BufReader::new(launcher.try_clone().unwrap());
        let mut notices = Vec::new();
        loop {
            match next(&mut events) {
                Some(Event::Ready(ready)) => {
                    return Ok(Self {
                        relay,
                        launcher,
                        events,
                        workload: ready.workload.expect("a workload was asked for"),
                        notices,
                        folder,
                    });
                }
                Some(Event::Failed(report)) => {
                    finish(&mut relay, &mut launcher, &mut events);
                    return Err(Refused { report });
                }
                Some(Event::Notice(report)) => notices.push(report),
                Some(_) => {}
                None => panic!(
                    "the relay ended: {}",
                    fs::read_to_string(folder.path().join("log")).unwrap()
                ),
            }
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A variable of the workload.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.workload.environment.iter();
        variables
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// Where a path of the container stands on this machine.
    pub(crate) fn shadow(&self, path: &str) -> PathBuf {
        let paths = self.workload.paths.as_ref().expect("files were asked for");
        let root = paths.to_str().unwrap().split(':').next().unwrap();
        Path::new(root).join(path.trim_start_matches('/'))
    }

    /// The names and values of its variables.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.workload.environment
    }
}

impl Drop for RelaySession {
    fn drop(&mut self) {
        finish(&mut self.relay, &mut self.launcher, &mut self.events);
        let left = fs::read_dir(self.folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        if !std::thread::panicking() {
            assert_eq!(left, ["log"], "the session's folder is removed");
        }
    }
}

/// Ends a session, and waits for the relay.
fn finish(relay: &mut Child, launcher: &mut UnixStream, events: &mut BufReader<UnixStream>) {
    // a relay whose session did not come up may be gone already
    let _gone = launcher.write_all(to_line(&Order::Finish).as_bytes()).is_err();
    while let Some(event) = next(events) {
        if let Event::Notice(report) = event {
            eprintln!("{}", report.message);
        }
    }
    relay.wait().unwrap();
}

/// The next event; none at the relay's end, also if it left something unread.
fn next(events: &mut BufReader<UnixStream>) -> Option<Event> {
    let mut line = String::new();
    match events.read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(from_line(&line).unwrap()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("cannot read from the relay: {error}"),
    }
}
