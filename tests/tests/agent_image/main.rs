//! `kinject agent image`: the carried agent as an image, written to a file and pushed to a real registry.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod answers;
mod certificate;
mod credentials;
mod installation;
mod interruption;
mod registry;
mod stand_in;
mod tls;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use kinject_test_support::program;
use kinject_tests::running::{Outcome, run};
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries};
use serde_json::Value;

use self::certificate::certificate;
use self::installation::{Installation, content};
use self::registry::{Registry, pushed, unpack};

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
