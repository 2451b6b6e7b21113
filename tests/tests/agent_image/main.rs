//! `kinject agent image`: the carried agent as an image, written to a file and pushed to a real registry.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod answers;
mod credentials;
mod interruption;
mod stand_in;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinject_test_support::program;
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::eventually;
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries, skip};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tempfile::TempDir;

/// How long a registry may take to listen.
const START: Duration = Duration::from_secs(20);

/// `user` with the password `secret`, as htpasswd(1) writes it with bcrypt.
const ACCOUNTS: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

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
struct Installation {
    folder: TempDir,
    kinject: PathBuf,
}

impl Installation {
    fn new(architectures: &[&str]) -> Self {
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

    fn image(&self, arguments: &[&str]) -> Command {
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
    fn docker_config(&self, config: &str) {
        let folder = self.folder.path().join("docker");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config).unwrap();
    }
}

fn content(architecture: &str) -> Vec<u8> {
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

/// A registry on this machine's loopback.
struct Registry {
    process: Child,
    /// HOST:PORT.
    name: String,
    _folder: TempDir,
}

impl Registry {
    /// None where Debian's registry is not installed.
    fn start(needs_login: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let accounts = folder.path().join("accounts");
        fs::write(&accounts, ACCOUNTS).unwrap();
        let auth = match needs_login {
            true => format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                accounts.display()
            ),
            false => String::new(),
        };
        Self::start_with(folder, &auth)
    }

    /// One with more in its configuration, which ends with the section `http`.
    fn start_with(folder: TempDir, more: &str) -> Option<Self> {
        if run(Command::new("sh").args(["-c", "command -v docker-registry"])).code() != 0 {
            skip::not_run("pushing images", "docker-registry is not installed");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
                 http:\n  addr: 127.0.0.1:{port}\n{more}",
                storage.display()
            ),
        )
        .unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("a registry that listens", START, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self {
            process,
            name: format!("127.0.0.1:{port}"),
            _folder: folder,
        })
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let outcome = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--header"])
            .arg(
                "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
            )
            .arg(format!("http://{}/v2/{path}", self.name))
            .output()
            .unwrap();
        assert!(
            outcome.status.success(),
            "{path}: {}",
            String::from_utf8_lossy(&outcome.stderr)
        );
        outcome.stdout
    }

    fn manifest(&self, reference: &str) -> Value {
        serde_json::from_slice(&self.get(&format!("agents/kinject/manifests/{reference}"))).unwrap()
    }

    /// The agent in the layer of an image, and for which architecture the image says it is.
    fn agent(&self, manifest: &Value) -> (String, Vec<u8>) {
        let blob = |descriptor: &Value| {
            self.get(&format!(
                "agents/kinject/blobs/{}",
                descriptor["digest"].as_str().unwrap()
            ))
        };
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = unpack(&["--gzip"], &blob(&manifest["layers"][0]));
        (
            config["architecture"].as_str().unwrap().to_owned(),
            layer["kinject-agent"].clone(),
        )
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.process.kill().is_err();
        let _reaped = self.process.wait().is_ok();
    }
}

/// A server's own certificate, which no authority has signed, with its key.
struct CertificateFiles {
    key: PathBuf,
    certificate: PathBuf,
}

impl CertificateFiles {
    /// How the configuration of a registry names it.
    fn section(&self) -> String {
        format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            self.certificate.display(),
            self.key.display()
        )
    }
}

/// Makes a certificate for an address.
fn certificate(folder: &Path, address: &str) -> CertificateFiles {
    let files = CertificateFiles {
        key: folder.join("key.pem"),
        certificate: folder.join("certificate.pem"),
    };
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", &format!("subjectAltName=IP:{address}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&files.key)
        .arg("-out")
        .arg(&files.certificate))
    .succeeded();
    files
}

/// The files in a tar.
fn unpack(options: &[&str], archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    fs::write(&file, archive).unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    run(Command::new("tar")
        .arg("--extract")
        .args(options)
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .arg(&files))
    .succeeded();
    let entries = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// The digest in what kinject prints of a pushed image.
fn pushed(outcome: &Outcome, registry: &Registry) -> String {
    let printed = outcome.succeeded().stdout.trim_end();
    let digest = printed.strip_prefix(&format!("{}/agents/kinject@", registry.name));
    digest.unwrap_or_else(|| panic!("{outcome}")).to_owned()
}

#[test]
fn saved_image_holds_the_unpacked_agent() {
    let installation = Installation::new(&["amd64", "arm64"]);
    let file = installation.folder.path().join("agent.tar");
    for architecture in ["amd64", "arm64"] {
        let arguments = ["save", file.to_str().unwrap(), "--architecture", architecture];
        run(&mut installation.image(&arguments)).succeeded().prints("");
        let archive = fs::read(&file).unwrap();
        let files = unpack(&[], &archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let tag = format!("kinject-agent:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(manifest[0]["RepoTags"][0], tag);
        let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["architecture"], architecture);
        let layer = unpack(&[], &files[manifest[0]["Layers"][0].as_str().unwrap()]);
        assert_eq!(layer["kinject-agent"], content(architecture));

        let to_pipe = installation
            .image(&["save", "-", "--architecture", architecture])
            .output()
            .unwrap();
        assert_eq!(to_pipe.stdout, archive);
    }
}

#[test]
fn image_that_cannot_be_written_leaves_no_file_and_names_it() {
    let installation = Installation::new(&["amd64", "arm64"]);
    run(&mut installation.image(&["save", "/no/such/folder/agent.tar"]))
        .exited(125)
        .complains("kinject: error: cannot write /no/such/folder/agent.tar: No such file or directory")
        .complains("\n\nhint: ");
    run(&mut installation.image(&["save", "/dev/full"]))
        .exited(125)
        .complains("cannot write /dev/full: No space left on device");
    assert!(PathBuf::from("/dev/full").exists());
}

#[test]
fn image_that_cannot_be_written_leaves_the_earlier_one() {
    let installation = Installation::new(&["amd64"]);
    let folder = installation.folder.path().join("images");
    let file = folder.join("agent.tar");
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "an earlier image").unwrap();
    // a file of more blocks than one cannot be written, as on a full disk
    let limit = r#"trap "" XFSZ && ulimit -f 1 && exec "$0" "$@""#;
    let save = installation.image(&["save", file.to_str().unwrap(), "--architecture", "amd64"]);
    run(Command::new("sh")
        .args(["-c", limit])
        .arg(save.get_program())
        .args(save.get_args()))
    .exited(125)
    .complains(&format!("cannot write {}: File too large", file.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "an earlier image");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// The relay that answers `kinject version` is not a program of the session that kinject is started in.
#[test]
fn relay_that_is_asked_from_inside_a_session_runs_outside_of_it() {
    let installation = Installation::new(&["amd64"]);
    let relay = installation.folder.path().join("kinject-relay");
    let (text, seen) = (
        installation.folder.path().join("relay"),
        installation.folder.path().join("seen"),
    );
    fs::remove_file(&relay).unwrap();
    let script = format!(
        "#!/bin/sh\nenv >'{}'\nexec '{}' \"$@\"\n",
        seen.display(),
        binaries::path("kinject-relay").display()
    );
    fs::write(&text, script).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    program::copy(&text, &relay);
    let mut command = apart::kinject();
    command
        .arg("run")
        .args(shared_sandbox().flags())
        .args(["--", "sh", "-c", "env >&2; exec \"$@\"", "sh"])
        .arg(&installation.kinject)
        .args(["version", "--output", "json"]);
    let outcome = run(&mut command);
    outcome
        .succeeded()
        .shows("\"agents\"")
        .complains("\nKINJECT_SOCKET=/")
        .complains("libkinject_preload.so");
    let seen = fs::read_to_string(seen).unwrap();
    assert!(
        seen.lines().all(|line| !line.starts_with("LD_PRELOAD=")),
        "{seen}"
    );
    assert!(seen.lines().any(|line| line == "KINJECT_SOCKET="), "{seen}");
}

#[test]
fn kinject_without_agents_has_no_image_to_save_or_push() {
    let installation = Installation::new(&[]);
    for arguments in [&["save", "-"][..], &["push", "127.0.0.1:1/agents/kinject:1"]] {
        run(&mut installation.image(arguments))
            .exited(125)
            .complains("kinject: error: this kinject carries no agent\n\nhint: use a released kinject");
    }
}

#[test]
fn agent_that_is_not_the_one_of_its_hash_is_not_saved() {
    let installation = Installation::new(&["amd64", "arm64"]);
    let packed = installation.folder.path().join("agents/arm64/agent.xz");
    fs::copy(installation.folder.path().join("agents/amd64/agent.xz"), packed).unwrap();
    run(&mut installation.image(&["save", "-", "--architecture", "arm64"]))
        .exited(125)
        .complains("cannot unpack the agent: the unpacked agent has another SHA-256 than it should");
}

#[test]
fn pushed_image_of_one_architecture_is_in_the_registry_with_its_digest() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let installation = Installation::new(&["arm64"]);
    let name = format!("{}/agents/kinject:1.2", registry.name);
    let digest = pushed(&run(&mut installation.image(&["push", &name])), &registry);
    let manifest = registry.manifest("1.2");
    assert_eq!(manifest, registry.manifest(&digest));
    assert_eq!(registry.agent(&manifest), ("arm64".to_owned(), content("arm64")));
    // the same again
    assert_eq!(
        pushed(&run(&mut installation.image(&["push", &name])), &registry),
        digest
    );
}

#[test]
fn pushed_agents_of_two_architectures_are_one_image_for_each_node() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let installation = Installation::new(&["amd64", "arm64"]);
    let name = format!("{}/agents/kinject:both", registry.name);
    pushed(&run(&mut installation.image(&["push", &name])), &registry);
    let index = registry.manifest("both");
    for (position, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        let entry = &index["manifests"][position];
        assert_eq!(entry["platform"]["architecture"], architecture);
        let manifest = registry.manifest(entry["digest"].as_str().unwrap());
        assert_eq!(
            registry.agent(&manifest),
            (architecture.to_owned(), content(architecture))
        );
    }
}

#[test]
fn registry_that_wants_a_login_gets_the_one_that_docker_keeps() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let installation = Installation::new(&["amd64"]);
    let name = format!("{}/agents/kinject:1", registry.name);
    let refused = |outcome: Outcome| {
        outcome
            .exited(125)
            .complains(&format!("kinject: error: cannot push {name}: "))
            .complains(&format!("\n\nhint: run `docker login {}`", registry.name));
    };
    refused(run(&mut installation.image(&["push", &name])));

    installation.docker_config("{");
    run(&mut installation.image(&["push", &name]))
        .exited(125)
        .complains("docker/config.json cannot be used: ");

    // user:wrong and user:secret
    for (login, is_right) in [("dXNlcjp3cm9uZw==", false), ("dXNlcjpzZWNyZXQ=", true)] {
        installation.docker_config(&format!(
            r#"{{"auths": {{"{}": {{"auth": "{login}"}}}}}}"#,
            registry.name
        ));
        let outcome = run(&mut installation.image(&["push", &name]));
        if is_right {
            pushed(&outcome, &registry);
        } else {
            assert!(!outcome.stderr.contains("wrong"), "{outcome}");
            refused(outcome);
        }
    }
}

#[test]
fn registry_that_wants_a_login_gets_the_one_of_dockers_credential_helper() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let installation = Installation::new(&["amd64"]);
    let name = format!("{}/agents/kinject:1", registry.name);
    let helper = installation.folder.path().join("docker-credential-test");
    let script = |body: &str| {
        let text = installation.folder.path().join("helper");
        fs::write(&text, format!("#!/bin/sh\nread server\n{body}\n")).unwrap();
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
        program::copy(&text, &helper);
        let path = format!(
            "{}:{}",
            installation.folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        run(installation.image(&["push", &name]).env("PATH", path))
    };
    installation.docker_config(r#"{"credsStore": "test"}"#);
    let outcome = script(r#"echo '{"ServerURL": "'$server'", "Username": "user", "Secret": "secret"}'"#);
    pushed(&outcome, &registry);
    script("echo locked >&2; exit 1")
        .exited(125)
        .complains("kinject: error: docker-credential-test failed: locked\n\nhint: run `docker login ");
    script("echo credentials not found in native keychain; exit 1")
        .exited(125)
        .complains(&format!("cannot push {name}: "));
}

#[test]
fn registry_that_does_not_answer_is_named_with_what_to_do() {
    let installation = Installation::new(&["amd64"]);
    // bound and not listening
    let socket = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    run(&mut installation.image(&["push", &format!("{socket}/agents/kinject:1")]))
        .exited(125)
        .complains(&format!(
            "kinject: error: cannot push {socket}/agents/kinject:1: "
        ))
        .complains("Connection refused")
        .complains(&format!("\n\nhint: check that {socket} can be reached"));
}

#[test]
fn manifest_shows_the_objects_of_a_session_with_the_carried_agent() {
    let installation = Installation::new(&["amd64"]);
    let manifest = |arguments: &[&str]| {
        let mut command = Command::new(&installation.kinject);
        command
            .args(["agent", "manifest"])
            .args(arguments)
            .env_remove("KINJECT_AGENT_IMAGE");
        run(&mut command)
    };
    let outcome = manifest(&["--host-image", "busybox:1"]);
    outcome
        .succeeded()
        .shows("kind: Job\n")
        .shows("kind: ConfigMap\n")
        .shows("kind: Secret\n")
        .shows("image: busybox:1\n")
        .shows("# left out: the ");
    assert!(manifest(&["--data"]).succeeded().stdout.len() > outcome.stdout.len());
    let outcome = manifest(&["--agent-image", "registry.example/agent:1"]);
    outcome.succeeded().shows("image: registry.example/agent:1\n");
    assert!(!outcome.stdout.contains("ConfigMap"), "{outcome}");
}
