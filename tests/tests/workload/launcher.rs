//! What programs and users get of a workload by `kinject` itself.

use std::fs;
use std::process::Command;

use kinject_tests::running::run;
use serde_json::{Value, json};

use crate::environment::{OF_ONE_POD, Variables, assert_equal, parsed};
use crate::home::Home;
use crate::image::NodeImage;
use crate::sources::{APP, deployment, sources};

/// A namespace with the workload that has variables from every source, and the name of its running pod.
fn home(image: &str) -> Option<(Home, NodeImage, String)> {
    let home = Home::new("restricted")?;
    let image = NodeImage::load(&home.cluster, image);
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let pod = home.running_pod(APP);
    Some((home, image, pod))
}

/// A command of kinject in the place of the workload, with a variable of the workload's on this machine as well.
fn kinject(home: &Home, command: &str) -> Command {
    let mut kinject = home.kinject(command);
    kinject
        .args(["--target", APP])
        .env("PASSWORD", "of the machine")
        .env_remove("SSL_CERT_FILE")
        .env_remove("REQUESTS_CA_BUNDLE")
        .env("OF_THE_MACHINE", "1");
    kinject
}

fn env(home: &Home, format: &str, flags: &[&str]) -> kinject_tests::running::Outcome {
    run(kinject(home, "env")
        .args(["--quiet", "--output", format])
        .args(flags))
}

#[test]
fn kinject_env_prints_the_variables_of_the_container_and_nothing_else() {
    let Some((home, _image, pod)) = home("printed") else {
        return;
    };
    let bare = parsed(&home.exec(&pod, APP, &["env", "-0"]));
    let outcome = env(&home, "null", &["--env-include", "*"]);
    assert_equal(
        parsed(outcome.succeeded().stdout.as_bytes()),
        bare.clone(),
        &OF_ONE_POD,
    );
    assert_eq!(outcome.stderr, "");

    let outcome = env(
        &home,
        "json",
        &["--env-exclude", "MANY_*", "--unset", "EMPTY", "-e", "PASSWORD"],
    );
    let object: Value = serde_json::from_str(&outcome.succeeded().stdout).unwrap();
    let printed: Variables = object
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                name.clone().into_bytes(),
                value.as_str().unwrap().as_bytes().to_vec(),
            )
        })
        .collect();
    let mut expected = bare;
    expected.retain(|name, _| {
        !name.starts_with(b"MANY_") && ![&b"EMPTY"[..], b"PATH", b"HOME"].contains(&name.as_slice())
    });
    expected.insert(b"PASSWORD".to_vec(), b"of the machine".to_vec());
    assert_equal(printed, expected, &OF_ONE_POD);

    let outcome = env(&home, "docker", &[]);
    outcome
        .exited(1)
        .shows("\nEQUALS=a=b=c\n")
        .complains("the format docker cannot hold all variables: NEWLINES (a line break), ");
    assert!(!outcome.stdout.contains("NEWLINES"), "{outcome}");
}

#[test]
fn program_has_the_workloads_variables_in_the_session_and_the_machines_outside() {
    let Some((home, _image, _pod)) = home("programs") else {
        return;
    };
    let show = r#"printf '%s|' "$PASSWORD" "${FROM_IMAGE-}" "${OF_THE_MACHINE-}" "${HOSTNAME-}""#;
    let line = format!(
        "{show}; '{}' outside -- sh -c '{}'",
        home.program().display(),
        show.replace('\'', r"'\''")
    );
    let mut command = kinject(&home, "run");
    command.env_remove("HOSTNAME").args(["--", "sh", "-c", &line]);
    let outcome = run(&mut command);
    let fields: Vec<&str> = outcome.succeeded().stdout.split('|').collect();
    let [password, image, machine, hostname, outside @ ..] = &fields[..] else {
        panic!("{outcome}");
    };
    assert_eq!([*password, *image, *machine], ["hunter2", "of the image", "1"]);
    assert!(hostname.starts_with("kinject-agent-"), "{outcome}");
    assert_eq!(outside, ["of the machine", "", "1", "", ""]);
}

#[test]
fn certificates_that_are_not_on_this_machine_are_left_out_and_named() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "certificates");
    home.apply(&sources());
    let mut workload = deployment(&image.name);
    let variables = workload["spec"]["template"]["spec"]["containers"][1]["env"]
        .as_array_mut()
        .unwrap();
    for (name, value) in [
        ("SSL_CERT_FILE", "/etc/config/key"),
        ("REQUESTS_CA_BUNDLE", "/bin/busybox.pem"),
    ] {
        variables.push(json!({ "name": name, "value": value }));
    }
    home.apply(&[workload]);
    let show = r#"printf '%s|' "${SSL_CERT_FILE-}" "${REQUESTS_CA_BUNDLE-}""#;
    let program = |flags: &[&str]| run(kinject(&home, "run").args(flags).args(["--", "sh", "-c", show]));
    program(&["-v"])
        .succeeded()
        .complains(
            "REQUESTS_CA_BUNDLE is left out, since /bin/busybox.pem is not on this machine: `--remote-path ",
        )
        .prints("/etc/config/key||");
    program(&["--remote-path", "/bin/*.pem"])
        .succeeded()
        .prints("/etc/config/key|/bin/busybox.pem|");
    // without the container's files, both
    let outcome = run(kinject(&home, "env").args(["--output", "null"]));
    outcome.succeeded().complains(
        "SSL_CERT_FILE is left out, since /etc/config/key is not on this machine: `--env-include ",
    );
    assert!(!outcome.stdout.contains("_CA_BUNDLE="), "{outcome}");
    let outcome = env(&home, "null", &["--env-include", "*_CA_*"]);
    outcome.succeeded().shows("REQUESTS_CA_BUNDLE=/bin/busybox.pem\0");
}

#[test]
fn folders_of_this_machine_that_mounts_take_the_place_of_are_named_once() {
    let Some((home, _image, _pod)) = home("hidden") else {
        return;
    };
    let hidden = |flags: &[&str]| {
        let mut command = kinject(&home, "run");
        command.env("HOME", "/etc/config").args(flags);
        run(command.args(["--", "true"])).succeeded().stderr.clone()
    };
    let said = "mounts of the container take the place of this machine's /etc/config (the home folder)";
    assert_eq!(hidden(&[]).matches(said).count(), 1, "{}", hidden(&[]));
    assert_eq!(hidden(&["--local-path", "/etc/config"]), "");
    assert_eq!(hidden(&["--quiet"]), "");
}

#[test]
fn environment_files_are_private_and_there_only_while_the_program_runs() {
    let Some((home, _image, _pod)) = home("files-of-variables") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let [dotenv, json, copy] = ["web.env", "web.json", "copy.json"].map(|name| folder.path().join(name));
    let line = format!(
        "stat -c %a '{0}' '{1}'; grep -c ^PASSWORD= '{0}'; cp '{1}' '{2}'",
        dotenv.display(),
        json.display(),
        copy.display()
    );
    let mut command = kinject(&home, "run");
    command
        .arg("--env-file")
        .arg(&dotenv)
        .arg("--env-json")
        .arg(&json);
    run(command.args(["--quiet", "--", "sh", "-c", &line]))
        .succeeded()
        .prints("600\n600\n1\n");
    let object: Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    assert_eq!(object["NEWLINES"], "one\ntwo\n");
    assert_eq!(object["PASSWORD"], "hunter2");
    assert_eq!(object.get("OF_THE_MACHINE"), None);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["copy.json"]);
}
