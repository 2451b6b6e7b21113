//! Options about a workload that cannot be right: they are refused before anything is made in a cluster.

use std::fs;
use std::path::Path;
use std::process::Command;

use kinject_tests::running::{Outcome, run};
use kinject_tests::{binaries, ordinary};

/// kinject with a kubeconfig that is not there: an error about the command line comes before one about the cluster.
fn kinject(arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::kinject());
    command
        .args(arguments)
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .env("HOME", "/nonexistent");
    command
}

#[track_caller]
fn refused(arguments: &[&str], error: &str, hint: &str) -> Outcome {
    let outcome = run(&mut kinject(arguments));
    outcome.exited(125).prints("");
    assert!(
        outcome.stderr.starts_with(&format!("kinject: error: {error}"))
            && outcome.stderr.contains(&format!("\n\nhint: {hint}")),
        "{outcome}"
    );
    outcome
}

#[test]
fn unknown_type_of_workload_is_named_with_the_known_ones() {
    for command in [&["run"][..], &["trace"], &["shell"], &["env"]] {
        let mut words = [command, &["-t", "service/web"]].concat();
        if !matches!(command, ["shell"] | ["env"]) {
            words.extend(["--", "true"]);
        }
        refused(
            &words,
            "--target service/web: \"service\" is no type of workload\n",
            "use one of deployment, statefulset, daemonset, replicaset, job, cronjob, rollout, pod\n",
        );
    }
}

#[test]
fn option_that_needs_a_workload_is_named_where_none_is_given() {
    for (option, value) in [
        ("--container", Some("app")),
        ("--env", Some("none")),
        ("--env-include", Some("JAVA_*")),
        ("--env-file", Some("/nonexistent/env")),
        ("--files", Some("none")),
        ("--remote-path", Some("/app")),
        ("--hostname", Some("pod")),
        ("--exec-env", None),
        ("--remote-exec", None),
    ] {
        let mut words = vec!["run", option];
        words.extend(value);
        words.extend(["--", "true"]);
        refused(
            &words,
            &format!("{option} needs a workload\n"),
            "name it with --target",
        );
    }
    refused(
        &["env"],
        "no workload given\n",
        "name it with --target, as in `kinject env --target ",
    );
}

#[test]
fn agent_that_runs_elsewhere_and_a_workload_exclude_each_other() {
    refused(
        &[
            "run",
            "--agent",
            "unix:/a",
            "--agent-key",
            "/k",
            "-t",
            "web",
            "true",
        ],
        "--agent ENDPOINT and --target TYPE/NAME exclude each other\n",
        "leave one of them out\n",
    );
}

#[test]
fn impossible_path_pattern_is_refused() {
    for (option, glob, why) in [
        ("--remote-path", "app/config.yaml", "not an absolute path"),
        ("--local-path", "~/x", "not an absolute path"),
        (
            "--remote-path",
            "/a:b",
            "a colon cannot stand in a path of a session",
        ),
        (
            "--local-path",
            "/a/../b",
            "`.` and `..` are no part of a path's name",
        ),
        ("--remote-path", "/**", "all paths match"),
    ] {
        refused(
            &["run", "-t", "web", option, glob, "true"],
            &format!("{option} {glob}: {why}\n"),
            "",
        );
    }
}

#[test]
fn variables_of_the_linker_and_of_kinject_are_refused() {
    refused(
        &["run", "-t", "web", "--env-include", "LD_PRELOAD", "true"],
        "--env-include LD_PRELOAD: the workload's LD_* variables never reach a program here\n",
        "leave it out",
    );
    for option in ["-e", "--unset"] {
        refused(
            &["run", option, "KINJECT_SOCKET", "true"],
            &format!("{option} KINJECT_SOCKET: variables KINJECT_* are kinject's own\n"),
            "leave it out",
        );
    }
}

#[test]
fn environment_file_that_would_be_lost_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    fs::write(&file, "MINE=1\n").unwrap();
    let refuse = |option: &str, path: &Path, why: &str| {
        let path = path.to_str().unwrap();
        refused(
            &["run", "-t", "web", option, path, "true"],
            &format!("{option} {path}{why}\n"),
            "name ",
        );
    };
    for option in ["--env-file", "--env-json"] {
        refuse(option, &file, " is there already, and kinject has not written it");
        refuse(option, folder.path(), " is a folder");
        refuse(option, Path::new("/dev/stdout"), " is no regular file");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "MINE=1\n");
    if ordinary::user().is_some() {
        std::os::unix::fs::chown(&file, Some(1), Some(1)).unwrap();
        refuse("--env-file", &file, " belongs to another user");
    }
    let missing = folder.path().join("missing/env");
    refused(
        &[
            "run",
            "-t",
            "web",
            "--env-json",
            missing.to_str().unwrap(),
            "true",
        ],
        &format!("cannot write --env-json {}: ", missing.display()),
        "name a file in a folder that can be written to",
    );
    refused(
        &["env", "-t", "web", "--env-file", "/nonexistent/env"],
        "--env-file is for a session with a program\n",
        "write `kinject env -o dotenv > FILE`",
    );
}

#[test]
fn value_of_a_variable_is_in_no_error() {
    let outcome = refused(
        &["run", "-e", "KINJECT_X=hunter2", "--", "true"],
        "-e KINJECT_X: variables KINJECT_* are kinject's own\n",
        "leave it out",
    );
    assert!(!outcome.stderr.contains("hunter2"), "{outcome}");
}
