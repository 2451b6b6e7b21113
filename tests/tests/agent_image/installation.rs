//! kinject with agents that a test makes up.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kinject_tests::binaries;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;

/// The variables that name a proxy, or hosts that have none.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// kinject with agents of both architectures beside it, which are what a test wants them to be.
pub(crate) struct Installation {
    pub(crate) folder: TempDir,
    pub(crate) kinject: PathBuf,
}

impl Installation {
    pub(crate) fn new(architectures: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(binaries::folder()).unwrap();
        for program in ["kinject", "kinject-relay"] {
            fs::hard_link(binaries::path(program), folder.path().join(program)).unwrap();
        }
        for architecture in architectures {
            let agent = folder.path().join("agents").join(architecture);
            fs::create_dir_all(&agent).unwrap();
            let content = content(architecture);
            fs::write(agent.join("loader"), "not needed here").unwrap();
            fs::write(agent.join("agent.xz"), packed(&content)).unwrap();
            fs::write(
                agent.join("agent.sha256"),
                format!("{}  agent\n", sha256(&content)),
            )
            .unwrap();
        }
        let kinject = folder.path().join("kinject");
        Self { folder, kinject }
    }

    pub(crate) fn image(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kinject);
        command
            .args(["agent", "image"])
            .args(arguments)
            // no credentials of whoever runs the tests
            .env("DOCKER_CONFIG", self.folder.path().join("docker"));
        for variable in PROXIES {
            command.env_remove(variable);
        }
        command
    }

    /// What `docker login` leaves.
    pub(crate) fn docker_config(&self, config: &str) {
        let folder = self.folder.path().join("docker");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config).unwrap();
    }
}

pub(crate) fn content(architecture: &str) -> Vec<u8> {
    format!("an agent for {architecture}\n")
        .repeat(10_000)
        .into_bytes()
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut xz = Command::new("xz")
        .args(["--stdout", "--check=crc32"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = xz.stdin.take().unwrap();
    let content = content.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&content));
    let output = xz.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
